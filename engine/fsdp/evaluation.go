package fsdp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Evaluation says when a run measures its loss on held-out rows, and in which slots. They are given out like the slots of a step;
// a result is a few numbers that fit a control message. Results are added in the order of the slots, so the sum does not
// depend on which tab computed what.
type Evaluation struct {
	Every   int   `json:"every,omitempty"`   // steps from one evaluation to the next; 0: none after the first step
	First   bool  `json:"first,omitempty"`   // also before the first step
	Tokens  []int `json:"tokens"`            // counted tokens of each slot; rows for a classification. A tab that counts others has other data
	Classes int   `json:"classes,omitempty"` // of a classification
}

// MaxConfusionCounts is the most entries of a confusion matrix in a slot's result.
const MaxConfusionCounts = 1024

// Due reports whether a version is evaluated. A nil Evaluation is a run without evaluations.
func (e *Evaluation) Due(version uint64) bool {
	if e == nil {
		return false
	}
	if version == 0 {
		return e.First
	}
	return e.Every > 0 && version%uint64(e.Every) == 0
}

// check reports what is wrong with the settings.
func (e *Evaluation) check() error {
	switch {
	case e == nil:
		return nil
	case e.Every < 0 || e.Every == 0 && !e.First:
		return fmt.Errorf("fsdp: an evaluation every %d steps, want 1 or more, or one before the first", e.Every)
	case len(e.Tokens) < 1 || len(e.Tokens) > MaxSlots:
		return fmt.Errorf("fsdp: an evaluation in %d slots, want 1 to %d", len(e.Tokens), MaxSlots)
	case slices.Min(e.Tokens) < 0 || slices.Max(e.Tokens) > math.MaxInt32:
		return errors.New("fsdp: an evaluation whose slots count less than no tokens, or beyond all measure")
	case e.Classes < 0 || e.Classes > math.MaxInt32:
		return fmt.Errorf("fsdp: an evaluation of %d classes", e.Classes)
	}
	return nil
}

// Fault says why a slot's result must be wrong, "" if it may be right. Rounding may make a cross-entropy near 0 negative, by much
// less than one nat a token, so losses down to -tokens are accepted.
func (e *Evaluation) Fault(r Ready) string {
	if r.Invalid || math.IsNaN(r.Loss-r.Loss) || r.Loss >= TooLarge {
		return "its loss is not a finite number"
	}
	if want := e.Tokens[r.Slot]; r.Tokens != want {
		return fmt.Sprintf("it counts %d tokens where there are %d", r.Tokens, want)
	}
	if r.Loss < -float64(r.Tokens) {
		return "its loss is less than any can be"
	}
	rows := 0
	for _, v := range r.Confusion {
		if v.Truth < 0 || v.Truth >= e.Classes || v.Predicted < 0 || v.Predicted >= e.Classes || v.Rows < 1 || v.Rows > r.Tokens {
			return fmt.Sprintf("it has %d rows of class %d taken for class %d", v.Rows, v.Truth, v.Predicted)
		}
		rows += v.Rows
	}
	if e.Classes > 0 && rows != r.Tokens || e.Classes == 0 && rows > 0 {
		return fmt.Sprintf("it judges %d rows of %d", rows, r.Tokens)
	}
	return ""
}

// Evaluated is the result of an evaluation.
type Evaluated struct {
	Version  uint64   `json:"version"` // of the parameters: the steps that have led to them
	Loss     float64  `json:"loss"`    // the mean over all counted tokens
	Tokens   int      `json:"tokens"`
	Invalid  bool     `json:"invalid,omitempty"` // the loss is not finite; Loss is 0, as JSON knows no NaN
	Accuracy *float64 `json:"accuracy,omitempty"`
	F1       *float64 `json:"f1,omitempty"`
	// The lowest loss after a step so far, this one included; BestStep is 0 where there was none.
	Best     float64 `json:"best,omitempty"`
	BestStep uint64  `json:"best_step,omitempty"`
}

// Sum adds the results of all slots in their order. before is the previous evaluation, zero if there is none.
func (e *Evaluation) Sum(version uint64, slots []Ready, before Evaluated) Evaluated {
	sum, confusion := Evaluated{Version: version, Best: before.Best, BestStep: before.BestStep}, Confusion{}
	for k, r := range slots {
		sum.Loss, sum.Tokens, sum.Invalid = sum.Loss+r.Loss, sum.Tokens+e.Tokens[k], sum.Invalid || r.Invalid
		for _, v := range r.Confusion {
			confusion[ClassPair{v.Truth, v.Predicted}] += v.Rows
		}
	}
	if sum.Loss /= float64(sum.Tokens); sum.Invalid || math.IsNaN(sum.Loss-sum.Loss) { // no tokens are no loss
		sum.Invalid, sum.Loss = true, 0
		return sum
	}
	if e.Classes > 0 {
		accuracy, f1 := confusion.Scores()
		sum.Accuracy, sum.F1 = &accuracy, &f1
	}
	if version > 0 && (sum.BestStep == 0 || sum.Loss < sum.Best) {
		sum.Best, sum.BestStep = sum.Loss, version
	}
	return sum
}

// ClassPair is the true class of a row and the class that a classifier predicted for it.
type ClassPair struct{ Truth, Predicted int }

// Confusion is a confusion matrix: the number of rows of each pair of classes. Pairs without rows are left out.
type Confusion map[ClassPair]int

// ConfusionCount is an entry of a confusion matrix.
type ConfusionCount struct {
	Truth     int `json:"truth"`
	Predicted int `json:"said"`
	Rows      int `json:"rows"`
}

// List returns the entries, sorted by their true class and then by their predicted class.
func (c Confusion) List() (list []ConfusionCount) {
	for pair, rows := range c {
		list = append(list, ConfusionCount{pair.Truth, pair.Predicted, rows})
	}
	slices.SortFunc(list, func(a, b ConfusionCount) int {
		return cmp.Or(a.Truth-b.Truth, a.Predicted-b.Predicted)
	})
	return list
}

// Scores returns the accuracy and the macro F1 as scikit-learn's f1_score(average="macro") computes it. F1 of a class is
// the harmonic mean 2·hits/(true+predicted) of precision and recall. Macro F1 is its mean over the classes that occur as
// truth or as prediction. Both scores are 0 without rows.
func (c Confusion) Scores() (accuracy, f1 float64) {
	right, rows := 0, 0
	hits, seen := map[int]int{}, map[int]int{} // by class; seen counts rows of that truth and rows of that prediction
	for pair, n := range c {
		rows += n
		seen[pair.Truth] += n
		seen[pair.Predicted] += n
		if pair.Truth == pair.Predicted {
			right += n
			hits[pair.Truth] += n
		}
	}
	classes := slices.Sorted(maps.Keys(seen)) // a fixed order, because the sum below rounds
	for _, class := range classes {
		f1 += 2 * float64(hits[class]) / float64(seen[class])
	}
	return float64(right) / float64(max(rows, 1)), f1 / float64(max(len(classes), 1))
}

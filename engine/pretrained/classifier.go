package pretrained

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/weights"
)

// Classifies tells whether a run asks for a classification of its rows, whatever its model was made for.
func Classifies(cfg *config.Config) bool {
	return cfg.PEFT != nil && cfg.PEFT.TaskType == config.SeqCls ||
		slices.ContainsFunc(cfg.Parts(), func(p config.Part) bool {
			return p.Select == config.Score || p.Head != nil && p.Head.At == string(nn.OnTop)
		})
}

// AddScore makes a language model a classifier with a head of its own, which starts at random.
func (m *Model) AddScore(classes int) {
	m.Decoder.Classify(classes)
	m.Decoder.Head.Weight.Fresh = true
}

// ScoreOf finds what an adapter's file says of the head that was trained with it: how many classes it has and, where
// this program wrote it, their names.
func ScoreOf(fsys fs.FS) (classes int, names []string) {
	if fsys == nil {
		return 0, nil
	}
	c, err := weights.OpenFile(fsys, adapterFile)
	if err != nil {
		return 0, nil // whoever loads it says so
	}
	defer c.Close()
	for _, name := range c.Names() {
		if t, _ := c.Tensor(name); strings.HasSuffix(name, "."+nn.ScorePath+".weight") && len(t.Shape) == 2 {
			classes = t.Shape[0]
		}
	}
	if err := json.Unmarshal([]byte(c.Files[0].Metadata[classesKey]), &names); err != nil || len(names) != classes {
		names = nil
	}
	return classes, names
}

// classesKey is where the metadata of an adapter's file holds the names of the classes, as a JSON list: PEFT's own files
// have no place for them.
const classesKey = "classes"

// labelKeys are the keys of config.json that tell the classes of a classifier.
func labelKeys(names []string) map[string]any {
	id2label, label2id := map[string]string{}, map[string]int{}
	for i, name := range names {
		id2label[strconv.Itoa(i)], label2id[name] = name, i
	}
	return map[string]any{"id2label": id2label, "label2id": label2id, "num_labels": len(names), "problem_type": "single_label_classification"}
}

// ClassName is the name of a class, as transformers has it where the model does not name its classes.
func (m *Model) ClassName(class int) string {
	if class < len(m.Classes) {
		return m.Classes[class]
	}
	return fmt.Sprintf("LABEL_%d", class)
}

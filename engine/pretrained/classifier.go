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

// Classifies reports whether a config makes its model a classifier.
func Classifies(cfg *config.Config) bool {
	return cfg.PEFT != nil && cfg.PEFT.TaskType == config.SeqCls ||
		slices.ContainsFunc(cfg.Parts(), func(p config.Part) bool {
			return p.Select == config.Score || p.Head != nil && p.Head.At == string(nn.OnTop)
		})
}

// AddScore makes a language model a classifier with a new head, whose values are drawn.
func (m *Model) AddScore(classes int) {
	m.Decoder.Classify(classes)
	m.Decoder.Head.Weight.New = true
}

// ScoreOf returns the number of classes of the head in an adapter's file, 0 for none, and their names if the file has them,
// which only this program writes.
func ScoreOf(fsys fs.FS) (classes int, names []string) {
	if fsys == nil {
		return 0, nil
	}
	c, err := weights.OpenFile(fsys, adapterFile)
	if err != nil {
		return 0, nil // loading the adapter reports the error
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

// classesKey is the metadata key of an adapter's file with the names of the classes, as a JSON list. PEFT has no key for them.
const classesKey = "classes"

// labelKeys are the keys of config.json with the classes of a classifier.
func labelKeys(names []string) map[string]any {
	id2label, label2id := map[string]string{}, map[string]int{}
	for i, name := range names {
		id2label[strconv.Itoa(i)], label2id[name] = name, i
	}
	return map[string]any{"id2label": id2label, "label2id": label2id, "num_labels": len(names), "problem_type": "single_label_classification"}
}

// ClassName is the name of a class, LABEL_n as in transformers if the model does not name its classes.
func (m *Model) ClassName(class int) string {
	if class < len(m.Classes) {
		return m.Classes[class]
	}
	return fmt.Sprintf("LABEL_%d", class)
}

package config

import "slices"

// SeqCls is the task_type of a classification of whole rows.
const SeqCls = "SEQ_CLS"

// HeadNames are the names that models have for their classification head. PEFT saves a head whole in a classification, and
// lists both names in modules_to_save, of which a model has one.
var HeadNames = []string{"classifier", "score"}

// saveHead adds the head of a classification to modules_to_save, as PEFT does.
func (p *PEFT) saveHead() {
	if p.TaskType != SeqCls {
		return
	}
	for _, name := range HeadNames {
		if !slices.Contains(p.ModulesToSave, name) {
			p.ModulesToSave = append(p.ModulesToSave, name)
		}
	}
}

// BesideHead are the modules saved whole that are not the head of a classification.
func (p *PEFT) BesideHead() Strings {
	return slices.DeleteFunc(slices.Clone(p.ModulesToSave), func(name string) bool {
		return p.TaskType == SeqCls && slices.Contains(HeadNames, name)
	})
}

package pretrained

import (
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/weights"
)

// Source is where a parameter's first values come from.
type Source struct {
	File    *weights.Checkpoint // nil if Model.FirstValues makes them
	Name    string              // of the tensor in the file
	Adapter *Adapter            // that the parameter belongs to, nil for a parameter of the base model
}

// Bytes is the size of the values in the file.
func (s Source) Bytes() int64 {
	if s.File == nil {
		return 0
	}
	t, _ := s.File.Tensor(s.Name)
	return t.Bytes
}

// Sources finds the source of each parameter: the adapters' files, the added head's file, a checkpoint's trained tensors or
// the base checkpoint, in this order of preference.
func (m *Model) Sources() func(p *nn.Param) Source {
	tensors, owner := map[*nn.Param]peft.Tensor{}, map[*nn.Param]*Adapter{}
	for _, a := range m.Adapters {
		for _, t := range a.tensors() {
			tensors[t.Param], owner[t.Param] = t, a
		}
	}
	return func(p *nn.Param) Source {
		a := owner[p]
		if a != nil {
			if c := a.File(tensors[p]); c != nil {
				if _, there := c.Tensor(tensors[p].Key); there {
					return Source{c, tensors[p].Key, a}
				}
			}
		}
		if m.head != nil && p.Unit == nn.AddedHeadUnit {
			if _, there := m.head.Tensor(p.Name); there {
				return Source{m.head, p.Name, a}
			}
		}
		if m.overlay != nil {
			if _, there := m.overlay.Tensor(p.Name); there {
				return Source{m.overlay, p.Name, a}
			}
		}
		if p.New || a != nil && tensors[p].Key == p.Name { // a new head, or a parameter that only the adapter has
			return Source{Adapter: a}
		}
		return Source{m.Base, p.From(), a}
	}
}

package pretrained

import (
	"cmp"

	"llamatab/engine/graph"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// ResultBytes is the size of a run's result: the weights of the adapter, or of the whole model, and those of an added head.
func (m *Model) ResultBytes() (int64, error) {
	var n int64
	add := func(specs []weights.Spec, metadata map[string]string) error {
		size, err := weights.FileBytes(specs, metadata)
		n += size
		return err
	}
	var head []weights.Spec
	for _, p := range m.Decoder.Added.Params() {
		head = append(head, weights.Spec{Name: p.Name, DType: tensor.F32, Shape: p.Shape})
	}
	if head != nil {
		metadata, err := m.headSpec.metadata(m.Name)
		if err == nil {
			err = add(head, metadata)
		}
		if err != nil {
			return 0, err
		}
	}
	if m.Method != nil {
		err := m.adapterFiles(add)
		return n, err
	}
	var specs []weights.Spec
	for _, p := range m.SavedParams() {
		spec := weights.Spec{Name: p.Name, DType: tensor.F32, Shape: p.FileShape()}
		if m.Base != nil && !p.Trainable && !p.New {
			t, _ := m.Base.Tensor(p.From())
			spec.DType = t.DType
		}
		specs = append(specs, spec)
	}
	for _, shard := range weights.Split(specs, weights.ShardBytes) {
		if err := add(shard.Specs, nil); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// adapterFiles calls add for each file of weights in the adapter's folder.
func (m *Model) adapterFiles(add func([]weights.Spec, map[string]string) error) error {
	metadata, err := m.classNames()
	if err != nil {
		return err
	}
	files := map[string][]weights.Spec{}
	for _, t := range m.AdapterTensors() {
		spec := weights.Spec{Name: t.Key, DType: tensor.F32}
		if t.Param != nil {
			spec.Shape = t.Param.FileShape()
		} else if err := graph.Record(func() { spec.Shape = t.Computed(graph.NewInferenceTape()).Shape }); err != nil {
			return err
		}
		file := cmp.Or(t.File, adapterFile)
		files[file] = append(files[file], spec)
	}
	for _, specs := range files {
		if err := add(specs, metadata); err != nil {
			return err
		}
	}
	return nil
}

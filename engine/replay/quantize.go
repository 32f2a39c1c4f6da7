package replay

import (
	"fmt"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/quant"
	"llamatab/engine/report"
)

// quantize chooses the matrices that the device stores in the format of the config: the frozen weights of the linear layers in the
// blocks, as bitsandbytes does. Embeddings, norms and the head stay as they are, and so does a weight that trains at some time of
// the run, or whose shape is not whole blocks, which a remark names.
func (s *Setup) quantize(cfg *config.Config) error {
	if cfg.Quantization == nil {
		return nil
	}
	format, err := quant.ParseFormat(cfg.Quantization.Type, cfg.Quantization.DoubleQuant)
	if err != nil {
		return report.Fail("config", report.ExitConfig, "", err)
	}
	packed, frozen, first := 0, 0, ""
	for _, l := range s.Model.Decoder.Linears() {
		p := l.Weight
		if l == s.Model.Decoder.Head || p.Trainable {
			continue
		}
		frozen++
		if !format.Fits(p.Shape[0], p.Shape[1]) {
			if first == "" {
				first = p.Name
			}
			continue
		}
		p.Quant = format
		packed++
	}
	if packed == 0 {
		if frozen > 0 {
			return report.Fail("config", report.ExitConfig, "Use int8 or nf4, which more shapes fit, or set quantization to null.",
				fmt.Errorf("quantization: no linear weight of the blocks has a shape of whole blocks of %v", format))
		}
		return report.Fail("config", report.ExitConfig, "Set quantization to null, or train an adapter.",
			fmt.Errorf("quantization: %v is for frozen weights, and all linear weights of the blocks train", format))
	}
	if first != "" {
		s.Model.Remarks = append(s.Model.Remarks, message.NewRemark("not_quantized",
			"{count} of {total} frozen linear weights are not quantised, because {format} does not fit their shapes: {name} is the first",
			"count", frozen-packed, "total", frozen, "format", format.String(), "name", first))
	}
	return nil
}

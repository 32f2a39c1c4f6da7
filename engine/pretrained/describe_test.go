package pretrained

import (
	"slices"
	"strings"
	"testing"

	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/nn"
)

// A made-up family is registered with one call, and is then read, described and named in errors.
func TestFamilyIsRegisteredOnce(t *testing.T) {
	made := &nn.Decoder{Dims: nn.Dims{Hidden: 8}}
	model.Register(model.Family{Prefix: "Acme", ModelType: "acme", Build: func([]byte) (*nn.Decoder, []message.Remark, error) { return made, nil, nil }})
	for _, config := range []string{`{"architectures": ["AcmeForCausalLM"]}`, `{"model_type": "acme"}`} {
		if d, err := model.New([]byte(config)); err != nil || d != made {
			t.Errorf("%s is read as %v, %v", config, d, err)
		}
	}
	if name, err := model.ClassifierOf([]byte(`{"model_type": "acme"}`)); err != nil || name != "AcmeForSequenceClassification" {
		t.Errorf("its classifier is %q, %v", name, err)
	}
	if d := Describe(); !slices.Equal(d.Models, []string{"Acme", "Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM3"}) || len(d.Methods) == 0 {
		t.Errorf("the families are described as %v, with %d methods", d.Models, len(d.Methods))
	}
	if _, err := model.New([]byte(`{"architectures": ["OtherForCausalLM"]}`)); err == nil || !strings.Contains(err.Error(), "AcmeForCausalLM, AcmeForSequenceClassification, LlamaForCausalLM") {
		t.Errorf("another architecture is refused with %v", err)
	}
}

package plan

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// Known is a published model, of which a plan needs no file.
type Known struct {
	Name       string          `json:"name"`
	Repo       string          `json:"repo"`       // where its weights are
	Parameters int64           `json:"parameters"` // as published
	DType      string          `json:"dtype"`      // of its files, as torch_dtype spells it
	Config     json.RawMessage `json:"config"`     // what its config.json says
}

//go:embed models.json
var modelsJSON []byte

// Models are the known models, the test model last, the others from the smallest on.
var Models = func() (all []Known) {
	if err := json.Unmarshal(modelsJSON, &all); err != nil {
		panic(fmt.Sprintf("plan: models.json: %v", err))
	}
	return all
}()

// FindModel is the known model of a name, in whatever case and with or without its owner on the hub.
func FindModel(name string) (Known, bool) {
	for _, m := range Models {
		if strings.EqualFold(name, m.Name) || strings.EqualFold(name, m.Repo) {
			return m, true
		}
	}
	return Known{}, false
}

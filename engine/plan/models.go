package plan

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// Known is a published model. A plan for it needs none of its files.
type Known struct {
	Name       string          `json:"name"`
	Repo       string          `json:"repo"`       // where its weights are
	Parameters int64           `json:"parameters"` // as published
	DType      string          `json:"dtype"`      // of its files, as in torch_dtype
	Config     json.RawMessage `json:"config"`     // its config.json
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

// FindModel finds a known model by name, in upper or lower case, with or without the owner's name.
func FindModel(name string) (Known, bool) {
	for _, m := range Models {
		if strings.EqualFold(name, m.Name) || strings.EqualFold(name, m.Repo) {
			return m, true
		}
	}
	return Known{}, false
}

// Describe makes a Known of the config.json of a model that is not published.
func Describe(name string, config []byte) (Known, error) {
	m := Known{Name: name, Repo: name, DType: "float32", Config: config}
	var keys struct {
		Old string `json:"torch_dtype"`
		New string `json:"dtype"`
	}
	if err := json.Unmarshal(config, &keys); err != nil {
		return m, fmt.Errorf("config.json: %w", err)
	}
	if keys.Old == "bfloat16" || keys.New == "bfloat16" {
		m.DType = "bfloat16"
	}
	return m, nil
}

// Layers is the number of decoder blocks in the model's config.json.
func (m Known) Layers() int {
	var keys struct {
		Layers int `json:"num_hidden_layers"`
	}
	if json.Unmarshal(m.Config, &keys) != nil {
		return 0 // building the decoder reports the error
	}
	return keys.Layers
}

// ModelNames are the names of the known models.
func ModelNames() (names []string) {
	for _, m := range Models {
		names = append(names, m.Name)
	}
	return names
}

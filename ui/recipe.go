package ui

import "github.com/vugu/vugu"

// recipe is a ready answer to "what should I do?".
type recipe struct {
	Name   string            `json:"name"`
	Title  map[string]string `json:"title"` // by language
	Why    map[string]string `json:"why"`
	Config Tree              `json:"config"`
}

// Take takes the recipe that is looked at. Model and data stay.
func (s *Studio) Take(vugu.DOMEvent) {
	r := s.recipe()
	if r == nil {
		return
	}
	config := r.Config.Clone()
	delete(config, "model")
	config.Delete("dataset.path")
	s.reset(config)
	s.changed()
}

func (s *Studio) recipe() *recipe {
	for i := range s.Recipes {
		if s.Recipes[i].Name == s.Recipe {
			return &s.Recipes[i]
		}
	}
	return nil
}

func (s *Studio) RecipeTitle(r recipe) Text { return Text(r.Title[s.Lang()]) }

// RecipeWhy says for what the recipe is that is looked at.
func (s *Studio) RecipeWhy() Text {
	if r := s.recipe(); r != nil {
		return Text(r.Why[s.Lang()])
	}
	return ""
}

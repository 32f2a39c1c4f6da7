package ui

import (
	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// recipe is a set of settings for a purpose.
type recipe struct {
	message.Recipe
	Config Tree `json:"config"`
}

// UseRecipe takes over the settings of the recipe that is selected. Model and data stay.
func (s *Studio) UseRecipe(vugu.DOMEvent) {
	r := s.selectedRecipe()
	if r == nil {
		return
	}
	config := r.Config.Clone()
	delete(config, "model")
	config.Delete("dataset.path")
	s.reset(config)
	s.changed()
}

func (s *Studio) selectedRecipe() *recipe {
	for i := range s.Recipes {
		if s.Recipes[i].Name == s.Recipe {
			return &s.Recipes[i]
		}
	}
	return nil
}

func (s *Studio) RecipeTitle(r recipe) Text { return Text(r.Title.In(s.Lang())) }

// RecipeWhy says what the selected recipe is for.
func (s *Studio) RecipeWhy() Text {
	if r := s.selectedRecipe(); r != nil {
		return Text(r.Why.In(s.Lang()))
	}
	return ""
}

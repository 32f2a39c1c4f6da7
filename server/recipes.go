package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"llamatab/engine/recipe"
)

// recipes is the command recipes.
func recipes(_ context.Context, args []string) error {
	f := newFlagSet("recipes")
	asJSON := f.Bool("json", false, "print name, settings, and title and reason in English and Chinese, as JSON")
	if err := f.parse(args); err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(recipe.All)
	}
	listRecipes(os.Stdout)
	return nil
}

// listRecipes prints the recipes for people.
func listRecipes(w io.Writer) {
	for i, r := range recipe.All {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: %s (%s)\n%s\n  %s\n", r.Name, r.Title.En, r.Title.Zh, wrap(r.Why.En, 100), r.Config)
	}
}

// wrap breaks a paragraph into indented lines of most bytes. A longer word gets a line of its own.
func wrap(text string, most int) string {
	var b strings.Builder
	line := " "
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > most {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	return b.String() + line
}

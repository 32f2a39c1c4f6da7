package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// maxClasses bounds what a config.json may ask for.
const maxClasses = 1 << 20

// Classes are the names of a classifier's classes, by their numbers, as transformers reads them from config.json:
// id2label, else num_labels of them, else 2. Any loss but cross-entropy over one class a row is refused by name.
func Classes(config []byte) ([]string, error) {
	var c struct {
		Names   map[string]string `json:"id2label"`
		Number  *int              `json:"num_labels"`
		Problem *string           `json:"problem_type"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", TypeError(err))
	}
	if c.Problem != nil && *c.Problem != "single_label_classification" {
		return nil, fmt.Errorf("config.json: problem_type %q is not supported, want single_label_classification", *c.Problem)
	}
	n := 2
	if c.Number != nil {
		n = *c.Number
	}
	if c.Names != nil {
		n = len(c.Names)
	}
	if n < 2 || n > maxClasses {
		return nil, fmt.Errorf("config.json: %d classes, want 2 to %d: one alone is a regression, which is not supported", n, maxClasses)
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("LABEL_%d", i)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Names)) {
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= n {
			return nil, fmt.Errorf("config.json: id2label has the key %q among %d classes", key, n)
		}
		names[i] = c.Names[key]
	}
	return names, nil
}

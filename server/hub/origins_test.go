package hub

import (
	"slices"
	"testing"
)

func TestOrigins(t *testing.T) {
	for endpoint, want := range map[string][]string{
		"":                                   {"https://huggingface.co", "https://*.huggingface.co", "https://*.hf.co"},
		"https://huggingface.co/":            {"https://huggingface.co", "https://*.huggingface.co", "https://*.hf.co"},
		"http://huggingface.co":              {"http://huggingface.co", "http://*.huggingface.co"},
		"https://models.school.example/hub":  {"https://models.school.example", "https://*.models.school.example"},
		"https://models.school.example:8443": {"https://models.school.example:8443", "https://*.models.school.example:8443"},
		"http://127.0.0.1:8080":              {"http://127.0.0.1:8080"},
		"http://[::1]:8080":                  nil,
		"https://a;script-src":               nil,
		"https://a,b":                        nil,
		"https://*":                          nil,
		"https://a'b":                        nil,
	} {
		c, err := NewClient(endpoint, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Origins(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", endpoint, got, want)
		}
	}
}

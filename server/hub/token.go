package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Token is the person's access token of the hub, "" for none: HF_TOKEN, or the file that `hf auth login` writes.
func Token() (string, error) {
	for _, variable := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := strings.TrimSpace(os.Getenv(variable)); token != "" {
			return checkedToken(token, variable)
		}
	}
	file := tokenFile()
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("the hub's access token: %w", err)
	}
	return checkedToken(strings.TrimSpace(string(data)), file)
}

func tokenFile() string {
	if file := os.Getenv("HF_TOKEN_PATH"); file != "" {
		return file
	}
	home := os.Getenv("HF_HOME")
	if home == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return ""
			}
			cache = filepath.Join(user, ".cache")
		}
		home = filepath.Join(cache, "huggingface")
	}
	return filepath.Join(home, "token")
}

// checkedToken refuses what cannot be sent in a header. Its error does not contain the token.
func checkedToken(token, from string) (string, error) {
	for _, c := range token {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("the access token of %s has a character that no token has", from)
		}
	}
	return token, nil
}

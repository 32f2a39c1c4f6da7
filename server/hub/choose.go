package hub

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Content is what a repository holds: a model or an adapter.
type Content string

// Contents of a repository.
const (
	Model   Content = "model"
	Adapter Content = "adapter"
	Any     Content = "" // whichever it holds, a model where it holds both
)

// Files of a repository.
const (
	configFile        = "config.json"
	singleFile        = "model.safetensors"
	indexFile         = "model.safetensors.index.json"
	adapterConfigFile = "adapter_config.json"
	adapterFile       = "adapter_model.safetensors"
)

// besideWeights are the files that are fetched where a repository has them: settings, tokenizer and chat templates.
var besideWeights = []string{
	"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
}

var (
	extraTemplate = regexp.MustCompile(`^additional_chat_templates/[A-Za-z0-9_-]{1,100}\.jinja$`)
	license       = regexp.MustCompile(`(?i)^(license|notice|use_policy)[A-Za-z0-9._-]{0,40}$`)
	shardName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.safetensors$`)
)

// maxSmall bounds a file that is not weights, in bytes.
const maxSmall = 1 << 30

// maxIndex bounds the index of a sharded model, in bytes.
const maxIndex = 64 << 20

// contentOf says what a repository holds and whether that is what is wanted.
func (l *listing) contentOf(want Content, name Name) (Content, error) {
	isModel, isAdapter := l.has(configFile), l.has(adapterConfigFile)
	switch {
	case want != Adapter && isModel:
		return Model, l.modelWeights(name)
	case want == Model && isAdapter:
		return "", fail(Unsuitable, "give it as the adapter, and its base model as the model", "%s is an adapter, not a model", name)
	case want == Adapter && !isAdapter && isModel:
		return "", fail(Unsuitable, "give it as the model", "%s is a model, not an adapter", name)
	case isAdapter:
		if !l.has(adapterFile) {
			return "", fail(Unsuitable, "convert its weights to safetensors with PEFT", "%s is an adapter without %s", name, adapterFile)
		}
		return Adapter, nil
	}
	if err := l.modelWeights(name); err != nil && l.hasSuffix(".gguf") {
		return "", err
	}
	return "", fail(Unsuitable, "", "%s holds neither %s nor %s, so it is neither a model nor an adapter", name, configFile, adapterConfigFile)
}

// modelWeights reports that a model has no weights that can be read.
func (l *listing) modelWeights(name Name) error {
	switch {
	case l.has(singleFile), l.has(indexFile):
		return nil
	case l.hasSuffix(".gguf"):
		return fail(Unsuitable, "take the repository from which it was converted", "%s holds weights as GGUF only, which is not available in this version", name)
	case l.hasSuffix(".bin"), l.hasSuffix(".pth"), l.hasSuffix(".pt"):
		return fail(Unsuitable, "look for a revision with safetensors, such as refs/pr/1, or convert it with transformers", "%s holds weights as Python pickles only, which can run code of their own and are not read", name)
	}
	return fail(Unsuitable, "", "%s holds no %s and no %s", name, singleFile, indexFile)
}

func (l *listing) hasSuffix(suffix string) bool {
	for _, f := range l.Files {
		if strings.HasSuffix(strings.ToLower(f.Path), suffix) {
			return true
		}
	}
	return false
}

// needed lists the files of a repository that its content needs. index is the text of the index of a sharded model, nil for
// none.
func (l *listing) needed(content Content, index []byte, name Name) ([]File, error) {
	paths := []string{configFile}
	if content == Adapter {
		paths = []string{adapterConfigFile, adapterFile}
	} else if l.has(singleFile) {
		paths = append(paths, singleFile)
	} else {
		shards, err := shardsOf(index, name)
		if err != nil {
			return nil, err
		}
		paths = append(append(paths, indexFile), shards...)
	}
	paths = append(paths, besideWeights...)
	required := len(paths) - len(besideWeights)
	var files []File
	folded := map[string]string{}
	add := func(f File) error {
		if err := f.check(); err != nil {
			return err
		}
		if !strings.HasSuffix(f.Path, ".safetensors") && f.Size > maxSmall {
			return fail(Broken, "", "%s of %s has %d bytes, which no such file has", f.Path, name, f.Size)
		}
		key := strings.ToLower(f.Path)
		if other, clash := folded[key]; clash {
			return fail(Broken, "", "%s holds %s and %s, which are one file on some systems", name, other, f.Path)
		}
		folded[key] = f.Path
		files = append(files, f)
		return nil
	}
	for i, path := range paths {
		f, found := l.find(path)
		if !found && i < required {
			return nil, fail(Unsuitable, "", "%s is incomplete: it has no %s", name, path)
		}
		if found {
			if err := add(f); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range l.Files {
		if extraTemplate.MatchString(f.Path) || license.MatchString(f.Path) {
			if err := add(f); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// shardsOf lists the files that the index of a sharded model names, sorted.
func shardsOf(index []byte, name Name) ([]string, error) {
	var parsed struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &parsed); err != nil {
		return nil, fail(Broken, "", "%s of %s cannot be read: %v", indexFile, name, err)
	}
	seen := map[string]bool{}
	for _, file := range parsed.WeightMap {
		if !shardName.MatchString(file) || strings.Contains(file, "..") {
			return nil, fail(Broken, "", "%s of %s names a file that can be none of its weights: %.200q", indexFile, name, file)
		}
		seen[file] = true
	}
	if len(seen) == 0 {
		return nil, fail(Broken, "", "%s of %s names no files", indexFile, name)
	}
	return sortedKeys(seen), nil
}

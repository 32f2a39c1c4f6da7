package chat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// builtins are templates for models that bring none. What the assistant writes, with the end of its turn, stands between
// generation tags.
var builtins = map[string]string{
	// The form of Qwen and SmolLM.
	"chatml": `{% for message in messages %}{{ '<|im_start|>' ~ message['role'] ~ '\n' }}` +
		`{% if message['role'] == 'assistant' %}{% generation %}{{ (message['content'] or '') ~ '<|im_end|>' }}{% endgeneration %}` +
		`{% else %}{{ (message['content'] or '') ~ '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`,
	// The form of Llama 3, without its line about dates.
	"llama3": `{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' ~ message['role'] ~ '<|end_header_id|>\n\n' }}` +
		`{% if message['role'] == 'assistant' %}{% generation %}{{ (message['content'] or '')|trim ~ '<|eot_id|>' }}{% endgeneration %}` +
		`{% else %}{{ (message['content'] or '')|trim ~ '<|eot_id|>' }}{% endif %}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}`,
	// The form of Zephyr and TinyLlama's chat model.
	"zephyr": `{% for message in messages %}{{ '<|' ~ message['role'] ~ '|>\n' }}` +
		`{% if message['role'] == 'assistant' %}{% generation %}{{ (message['content'] or '') ~ eos_token }}{% endgeneration %}` +
		`{% else %}{{ (message['content'] or '') ~ eos_token }}{% endif %}{{ '\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}`,
	// A form that needs no special token but EOS, for models that were never trained to chat.
	"plain": `{{ bos_token }}{% for message in messages %}{{ '### ' ~ message['role']|capitalize ~ ':\n' }}` +
		`{% if message['role'] == 'assistant' %}{% generation %}{{ (message['content'] or '') ~ eos_token }}{% endgeneration %}` +
		`{% else %}{{ message['content'] or '' }}{% endif %}{{ '\n\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}`,
}

// withoutTools refuses what the built-in templates have no form for, as it would be left out without a word.
const withoutTools = `{% if tools or messages|selectattr('tool_calls', 'defined')|selectattr('tool_calls')|list %}` +
	`{{ raise_exception('the built-in chat templates have no form for tools: use a model with a template of its own') }}{% endif %}`

// BuiltinNames are the names of the built-in templates.
func BuiltinNames() []string { return slices.Sorted(maps.Keys(builtins)) }

// needs are the tokens without which a built-in template makes no sense for a model.
var needs = map[string][]string{
	"chatml": {"<|im_start|>", "<|im_end|>"},
	"llama3": {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
}

// Builtin is the built-in template of a name, with the special tokens of a model.
func Builtin(name string, tokens Tokens) (*Template, error) {
	text, ok := builtins[name]
	if !ok {
		return nil, fmt.Errorf("there is no built-in chat template %q: the names are %s", name, strings.Join(BuiltinNames(), ", "))
	}
	return parse(name, "", withoutTools+text, map[string]any{"bos_token": tokens.BOS, "eos_token": tokens.EOS})
}

// BuiltinFor is the name of the built-in template that suits a model without one of its own: the first whose special tokens
// it has, else the plain one. has tells whether the model knows a token.
func BuiltinFor(has func(token string) bool) string {
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		if !slices.ContainsFunc(needs[name], func(token string) bool { return !has(token) }) {
			return name
		}
	}
	return "plain"
}

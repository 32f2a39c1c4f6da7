package data

import (
	"strconv"

	"llamatab/engine/config"
	"llamatab/engine/message"
)

func init() { Register(alpacaFormat) }

// alpacaFormat is {"instruction": …, "input": …, "output": …}; input may be empty or absent.
var alpacaFormat = Format{
	Config: config.Format{Name: "alpaca", Place: 20, Title: message.Both("instruction and output", "instruction 与 output"), Columns: []string{"instruction", "input", "output"}, Optional: []string{"input"}},
	Turn:   20,
	Detect: has("instruction", "output"),
	Rows: func(r *Record, e *Encoder) error {
		instruction, err := r.String("instruction")
		if err != nil {
			return err
		}
		if instruction == "" {
			return fault("row_instruction_empty", "the instruction is empty")
		}
		input := ""
		if r.Has("input") {
			if input, err = r.String("input"); err != nil {
				return err
			}
		}
		output, err := r.String("output")
		if err != nil {
			return err
		}
		for _, key := range []string{"system", "history"} {
			if raw := string(r.fields[key]); r.Has(key) && raw != `""` && raw != "[]" {
				return fault("row_key_unknown", "{key} is not available in this version: fold it into the instruction", "key", strconv.Quote(key))
			}
		}
		return e.Pair(AlpacaPrompt(instruction, input), output)
	},
}

// AlpacaPrompt is the prompt that models of the Alpaca family were trained with (Taori et al. 2023). The answer follows
// it directly.
func AlpacaPrompt(instruction, input string) string {
	if input == "" {
		return "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n" +
			"### Instruction:\n" + instruction + "\n\n### Response:"
	}
	return "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request.\n\n" +
		"### Instruction:\n" + instruction + "\n\n### Input:\n" + input + "\n\n### Response:"
}

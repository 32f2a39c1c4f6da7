package data

// promptCompletion is {"prompt": …, "completion": …}, put together as they stand.
var promptCompletion = Format{
	Name:   "prompt_completion",
	Detect: has("prompt", "completion"),
	Rows: func(r *Record, e *Encoder) error {
		prompt, err := r.String("prompt")
		if err != nil {
			return err
		}
		completion, err := r.String("completion")
		if err != nil {
			return err
		}
		return e.pair(prompt, completion)
	},
}

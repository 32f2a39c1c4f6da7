// Package message holds the values that page, worker and server send to each other. It imports no package of the engine.
//
// The host sends a Job and then Controls. The engine sends Envelopes, the last of which has a Done or a Failed.
package message

import (
	"encoding/json"
	"strconv"
)

// Command is the kind of a Job.
type Command string

const (
	Train    Command = "train"
	Eval     Command = "eval"
	Generate Command = "generate"
	Chat     Command = "chat" // answer conversations until nobody asks any more
	Export   Command = "export"
	Bench    Command = "bench"
	// Jobs of the page while a person configures a run or opens one. None needs a device.
	Plan    Command = "plan"    // forecast memory, traffic and time of the run of Config
	Preview Command = "preview" // show rows of Config's dataset as tokens
	// Template tells by which chat template conversations are put to the model, and whether the rows of Config's dataset, where
	// there is one, are conversations. The result is a ChatTemplate.
	Template Command = "template"
)

// Job is one piece of work for the engine. Files are reached through mounts: named roots that the host serves,
// over HTTP ranges in a headless run, or from File objects that the person chose in the page.
type Job struct {
	Command Command `json:"command"`
	// Config is the resolved run.json (train), whose paths have been replaced by mounts.
	Config json.RawMessage `json:"config,omitempty"`
	// Mounts lists the mounts that exist: "model", "dataset", "adapter", "adapter-0" and so on, "resume", "tokenizer", "head"
	// and "base". Over HTTP a mount NAME is a folder served below the job's files/NAME/.
	// "dataset" holds one file.
	Mounts map[string]string `json:"mounts,omitempty"`

	// Compare names adapters of one base model that eval and generate compare with it and with each other. The folder of the
	// i-th is the mount "adapter-i".
	Compare []string `json:"compare,omitempty"`

	Eval     *EvalJob     `json:"eval,omitempty"`
	Generate *GenerateJob `json:"generate,omitempty"`
	Chat     *ChatJob     `json:"chat,omitempty"`
	Export   *ExportJob   `json:"export,omitempty"`
	Plan     *PlanJob     `json:"plan,omitempty"`
	Preview  *PreviewJob  `json:"preview,omitempty"`

	// Samples, for Train, are prompts to continue while the model learns.
	Samples *SampleJob `json:"samples,omitempty"`
	// Room makes a training job one tab's part of a run in a room.
	Room *RoomJob `json:"room,omitempty"`
	// Spans makes such a tab send a Span for each thing that it does. It then waits for its GPU after each, which slows the run.
	Spans bool `json:"spans,omitempty"`

	// MemoryBudget is the largest plan of device memory in bytes, 0 for the adapter's limit.
	MemoryBudget int64 `json:"memory_budget,omitempty"`

	// AdapterBackend is "", "default" or "swiftshader". The browser was started with it, and the engine only reports it.
	AdapterBackend string `json:"adapter_backend,omitempty"`
}

// EvalJob asks for the mean loss over a dataset.
type EvalJob struct {
	Format        string   `json:"format"`
	MaxLength     int      `json:"max_length,omitempty"`
	BatchSize     int      `json:"batch_size,omitempty"`
	DumpLogits    string   `json:"dump_logits,omitempty"`    // output path, "" for none
	DumpGradients string   `json:"dump_gradients,omitempty"` // output path, "" for none
	Trainable     []string `json:"trainable,omitempty"`
}

// GenerateJob asks for a continuation of a prompt, or, of a classifier, for its class.
type GenerateJob struct {
	Prompt string `json:"prompt"`
	// Messages is a conversation, a JSON list of {"role", "content"}, that the assistant continues instead of Prompt: the model's
	// chat template makes the prompt, and the answer ends where a turn ends.
	Messages     json.RawMessage `json:"messages,omitempty"`
	MaxNewTokens int             `json:"max_new_tokens"`
	Temperature  float64         `json:"temperature"`
	TopP         float64         `json:"top_p"`
	TopK         int             `json:"top_k"`
	Seed         uint64          `json:"seed"`

	// Labels make a language model a classifier with these classes and an untrained head, whose weights are those of a run with
	// training.seed Seed before its first step.
	Labels []string `json:"labels,omitempty"`
}

// ChatJob says how conversations are put to the model. The host hands them over one by one while the job runs.
type ChatJob struct {
	Template string `json:"template,omitempty"` // a chat template's name, "" for the model's own
	Context  int    `json:"context"`            // tokens of a conversation at most
	// Base: the job also answers with the model as it was before training, see Ask.Base. That is the model without its adapter,
	// or, of a model whose own weights were trained, the model of the mount "base".
	Base bool `json:"base,omitempty"`
}

// ChatTemplate is the result of a Template job: how conversations are put to a model.
type ChatTemplate struct {
	Name string `json:"name"` // of the template
	Own  bool   `json:"own"`  // the model has a chat template; otherwise a built-in one stands in
	// Trained: the rows of the job's dataset are conversations. False where the job has no dataset.
	Trained bool `json:"trained"`
}

// Ask is a conversation that waits for the assistant's next turn. Sampling says how the answer is sampled; its Prompt is
// not read.
type Ask struct {
	Number       int             `json:"number"`         // by which Cancel names it
	Base         bool            `json:"base,omitempty"` // the base model answers, see ChatJob.Base
	Conversation json.RawMessage `json:"conversation"`   // {"messages": […], "tools": […]}, a row of the format messages
	Stop         []string        `json:"stop,omitempty"` // texts at which the answer ends, before them
	Sampling     GenerateJob     `json:"sampling"`
}

// Reply ends an answer. Its text came in Tokens before.
type Reply struct {
	Text         string  `json:"text"`
	Finish       string  `json:"finish"`           // "stop": the model ended its turn or wrote a stop text; "length": there was no room for more; "cancelled"
	PromptTokens int     `json:"prompt_tokens"`    // of the conversation, as the template writes it
	CachedTokens int     `json:"cached_tokens"`    // of them, computed for an earlier answer
	Tokens       int     `json:"tokens"`           // of the answer
	Failed       *Failed `json:"failed,omitempty"` // why there is no answer; the job goes on
}

// Classification is the result of generate for a classifier.
type Classification struct {
	Prompt    string  `json:"prompt"`
	PromptIDs []int   `json:"prompt_ids"`
	Label     string  `json:"label"`  // of the class with the highest probability
	Scores    []Score `json:"scores"` // of all classes, the highest probability first
}

// Score is the probability of a class.
type Score struct {
	Class int    `json:"class"` // its number
	Label string `json:"label"`
	Score Float  `json:"score"`
}

// ExportJob asks for another form of a trained result.
type ExportJob struct {
	Format     string `json:"format"`                // "peft", "merged", "gguf", "gguf-lora" or "mlx"
	DType      string `json:"dtype,omitempty"`       // of the weights, "" for the usual one of the format
	Name       string `json:"name,omitempty"`        // of the result, for its files and its card
	SplitBytes int64  `json:"split_bytes,omitempty"` // above which a GGUF file is written in parts, 0 for one file
}

// SampleJob asks for continuations every so many steps, and before the first. They are greedy, so that they differ only as the
// model does. In a run on conversations a prompt is a message of the user, and the continuation the assistant's turn.
type SampleJob struct {
	Prompts      []string `json:"prompts"` // none: a run on conversations begins some of its own, other runs write no samples
	Every        int      `json:"every"`   // steps
	MaxNewTokens int      `json:"max_new_tokens"`
}

// Sample is one continuation.
type Sample struct {
	Step   int    `json:"step"` // updates done
	Prompt string `json:"prompt"`
	Text   string `json:"text"` // the continuation, or of a classifier the class with its probability
	// Chat: Prompt is a message of the user, and Text the assistant's answer to it.
	Chat bool `json:"chat,omitempty"`
}

// RoomJob is the room that a tab trains in.
type RoomJob struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"` // admits a tab without a seat
	Name string `json:"name,omitempty"` // of the tab, as the roster shows it

	// The tab's seat, if it has one.
	Tab   uint32 `json:"tab,omitempty"`
	Token string `json:"token,omitempty"`
}

// Span is something that a tab of a room did, for a picture of the run.
type Span struct {
	What  string           `json:"what"` // "compute", "forward", "backward", "pack", "apply": on the GPU; "gather", "send", "reduced", "publish": by the network; "load", "reduce", "reshard": a unit is put where compute reads it, its gradient is taken, all are let go; "memory"
	Step  int              `json:"step"` // 1-based
	Slot  int              `json:"slot,omitempty"`
	Unit  string           `json:"unit,omitempty"`
	From  int64            `json:"from"` // microseconds since 1970
	To    int64            `json:"to"`
	Bytes int64            `json:"bytes,omitempty"`
	Usage map[string]int64 `json:"usage,omitempty"` // of "memory": bytes on the device by kind
}

// PlanJob says what a planned run is to be held against. Zero values leave a question out.
type PlanJob struct {
	MaxBuffer  int64 `json:"max_buffer"` // bytes; with MaxBinding the device's limits, else WebGPU's defaults
	MaxBinding int64 `json:"max_binding"`

	// Model is a known model to plan for in place of the job's files; rows are then as long as dataset.max_length.
	Model string `json:"model,omitempty"`
	// Compare asks for every method side by side, instead of the one of Config.
	Compare bool `json:"compare,omitempty"`

	Tabs       int     `json:"tabs,omitempty"`      // compares the strategies of so many
	LinkRate   float64 `json:"link_rate,omitempty"` // bytes a second between them
	LinkShared bool    `json:"link_shared,omitempty"`
	FLOPS      float64 `json:"flops,omitempty"` // floating-point operations of a device a second
}

// Choice is a way to make a run take less memory: values of run.json that would be others.
type Choice struct {
	Code    string   `json:"code"` // stable: "checkpointing", "micro_batch", "max_length", "bf16", "fewer_layers", "lora", "smaller_model", "together"
	Changes []Change `json:"changes"`
	Bytes   int64    `json:"planned_bytes"` // of the run with the changes
	Fits    bool     `json:"fits"`
	Text    string   `json:"text"`
}

// Change puts another value at a path of run.json.
type Change struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// Envelope carries one message of the engine to its host. Exactly one field besides Type is set.
type Envelope struct {
	Type     string          `json:"type"` // the set field's JSON name
	Progress *Progress       `json:"progress,omitempty"`
	Step     *Step           `json:"step,omitempty"`
	Event    *Event          `json:"event,omitempty"`
	Token    *Token          `json:"token,omitempty"`
	Reply    *Reply          `json:"reply,omitempty"`
	Sample   *Sample         `json:"sample,omitempty"`
	Span     *Span           `json:"span,omitempty"`
	Config   json.RawMessage `json:"config,omitempty"`  // run.json as resolved, with the kernel table: keep it beside the results
	Summary  json.RawMessage `json:"summary,omitempty"` // summary.json
	Result   json.RawMessage `json:"result,omitempty"`  // eval.json, the generation, the bench or doctor report
	Failed   *Failed         `json:"failed,omitempty"`
	Done     *Done           `json:"done,omitempty"`
}

// Progress is how far a phase of the job is.
type Progress struct {
	Phase      string  `json:"phase"` // "open", "load", "compile", "tune", "train", "eval", "save", …
	Detail     string  `json:"detail,omitempty"`
	Done       int64   `json:"done"`
	Total      int64   `json:"total"` // 0: unknown
	Unit       string  `json:"unit,omitempty"`
	ETASeconds float64 `json:"eta_seconds,omitempty"`
}

// Step is one line of metrics.jsonl: one optimizer update.
type Step struct {
	Step               int     `json:"step"` // 1-based
	Epoch              float64 `json:"epoch"`
	Loss               Float   `json:"loss"`
	LearningRate       float64 `json:"learning_rate"`
	GradNorm           Float   `json:"grad_norm"` // before clipping
	Tokens             int     `json:"tokens"`    // counted tokens of this step
	NumInputTokensSeen int64   `json:"num_input_tokens_seen"`
	StepSeconds        float64 `json:"step_seconds"`
	TokensPerSecond    float64 `json:"tokens_per_second"`
	GPUBytes           int64   `json:"gpu_bytes"`            // allocated now
	LossScale          float64 `json:"loss_scale,omitempty"` // for the next step, in float16
	Units              []Unit  `json:"units,omitempty"`
	EvalLoss           *Float  `json:"eval_loss,omitempty"`
	Perplexity         *Float  `json:"perplexity,omitempty"`
	EvalAccuracy       *Float  `json:"eval_accuracy,omitempty"` // of a classification
	EvalF1             *Float  `json:"eval_f1,omitempty"`       // macro: the mean over the classes
	// Of a run that unfreezes: the entry of unfreeze, counted from 1, and how many parameters train now.
	Stage     int   `json:"stage,omitempty"`
	Trainable int64 `json:"trainable_parameters,omitempty"`
	// Of a run over tabs, by rank: what the step moved on the rank's sockets, headers and control messages included, and the
	// seconds of it in which the rank did not compute, encode, send or apply.
	BytesSent     []int64   `json:"bytes_sent,omitempty"`
	BytesReceived []int64   `json:"bytes_received,omitempty"`
	WaitSeconds   []float64 `json:"wait_seconds,omitempty"`
}

// Unit are norms of parameters that are used together: a block, the embedding, the head. A run of more than 20,000 of them
// records those of every so many steps.
type Unit struct {
	Name        string `json:"name"`
	GradNorm    Float  `json:"grad_norm"` // of the mean loss, before clipping
	WeightNorm  Float  `json:"weight_norm"`
	UpdateRatio Float  `json:"update_ratio"` // norm of what the update has added ÷ norm of the weights
}

// Event is a line of events.jsonl: something that happened besides steps.
type Event struct {
	Time    string         `json:"time"`
	Level   string         `json:"level"` // "info", "warning", "error"
	Code    string         `json:"code"`
	Step    int            `json:"step,omitempty"`
	Message string         `json:"message"`
	Data    map[string]any `json:"data,omitempty"`
}

// Token is one generated token, for streaming.
type Token struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

// Failed ends a job. Every failure names its cause and the next step.
type Failed struct {
	Code    string `json:"code"`           // stable, e.g. "device_lost", "does_not_fit", "config", "data"
	Message string `json:"message"`        // cause, with file, line or tensor
	Next    string `json:"next"`           // what to do about it
	Path    string `json:"path,omitempty"` // JSON path of the setting at fault, where there is one
	// Kind is what is wrong with the setting, stable, such as "range", that it is a "row" of the data, or a "fault" of another
	// thing, which has a code of its own; About is what that is about, by name.
	Kind  string         `json:"kind,omitempty"`
	About map[string]any `json:"about,omitempty"`
	Exit  int            `json:"exit"` // the program's exit code: 1 the run failed, 2 usage or config, 3 no usable browser or adapter

	Choices []Choice `json:"choices,omitempty"` // with "does_not_fit": what would, the least harm first
}

// CheckpointPrefix begins the name of a checkpoint's folder; the number of its steps follows.
const CheckpointPrefix = "checkpoint-"

// StateFile is the file of a checkpoint that holds the position in the run. A folder without it is no checkpoint.
const StateFile = "trainer_state.json"

// Done ends a job that ran to its end, or that was stopped and saved on request.
type Done struct {
	Stopped bool     `json:"stopped,omitempty"` // ended early on request
	Files   []string `json:"files,omitempty"`   // what was written, relative to the output folder
}

// Control is a command of the person to a running job.
type Control string

const (
	Pause  Control = "pause"
	Resume Control = "resume"
	Single Control = "single" // take one step, then pause
	Save   Control = "save"   // save a checkpoint and go on
	Back   Control = "back"   // go back to the last checkpoint, and on from there at half the learning rate
	Stop   Control = "stop"   // finish the step, save a checkpoint, end
)

// Cancel ends the answer to the Ask with this number, while it is being written.
func Cancel(ask int) Control { return Control("cancel " + strconv.Itoa(ask)) }

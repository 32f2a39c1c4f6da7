// Package bench measures an adapter, and this engine against what it measured: what the adapter can do at best, the
// engine's kernels, what a dispatch costs, and whole training steps. Every number is of the machine at hand and of
// this moment; nothing is compared with numbers from elsewhere.
//
// Only its report is built for all systems, since measuring takes a browser.
package bench

import "llamatab/engine/device"

// Report is what the command bench prints.
type Report struct {
	Adapter        device.Info      `json:"adapter"`
	AdapterBackend string           `json:"adapter_backend"`
	Limits         device.Limits    `json:"limits"`
	Peak           Peak             `json:"peak"`
	Kernels        []Kernel         `json:"kernels"`
	Dispatch       Dispatch         `json:"dispatch"`
	Training       []Training       `json:"training"`
	Wasm           map[string]int64 `json:"wasm,omitempty"` // bytes of the engine: plain, gz, zst
	Seconds        float64          `json:"seconds"`        // that measuring took
}

// Peak is what the adapter does at best, measured by programs that do nothing else.
type Peak struct {
	MultiplyAdd float64 `json:"multiply_add_gflops"` // fma on vec4<f32> in registers; an fma counts as two
	ShaderCopy  float64 `json:"shader_copy_gbps"`    // y = x on vec4<f32> by the best of several shaders, bytes read and written
	BufferCopy  float64 `json:"buffer_copy_gbps"`    // copyBufferToBuffer, bytes read and written
	CopyBytes   int64   `json:"copy_bytes"`          // size of the buffers of both
}

// Kernel is one variant of one launch.
type Kernel struct {
	Op      string  `json:"op"`     // "linear", "attention", …
	Shape   string  `json:"shape"`  // of the op
	Kernel  string  `json:"kernel"` // "matmul_nt"
	Variant string  `json:"variant,omitempty"`
	Chosen  bool    `json:"chosen"`           // a run on this adapter takes it
	Error   string  `json:"error,omitempty"`  // why it could not be measured
	Seconds float64 `json:"seconds"`          // one launch among many
	GFLOPS  float64 `json:"gflops,omitempty"` // where the kernel counts its operations
	GBPS    float64 `json:"gbps"`             // each argument counted once, twice where it is read and written
	// OfLimit is the larger of GFLOPS over the peak multiply-add rate and GBPS over the rate of the shader copy: 1 is as good
	// as it gets. Copies of buffers may be faster, but no shader reaches them. Arguments that stay in a cache can take it above 1.
	OfLimit float64 `json:"of_limit"`
}

// Dispatch is what the smallest launches cost, in microseconds each, in one executable of Count.
type Dispatch struct {
	Count     int     `json:"count"`
	Go        float64 `json:"go_us"`     // on the Go side
	Encode    float64 `json:"encode_us"` // on the JavaScript side: WebGPU's own calls
	All       float64 `json:"all_us"`    // wall time, until the device is done
	PerSecond float64 `json:"per_second"`
}

// Training is a run of a Llama with random weights.
type Training struct {
	Method          string  `json:"method"` // "full" or "lora"
	Model           string  `json:"model"`
	Parameters      int64   `json:"parameters"`
	Trainable       int64   `json:"trainable_parameters"`
	Rows            int     `json:"rows"`    // of a batch
	Columns         int     `json:"columns"` // tokens a row
	Steps           int     `json:"steps"`   // that were timed
	StepSeconds     float64 `json:"step_seconds"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Dispatches      int     `json:"dispatches"` // launches, copies and clears not counted
	// GPUSeconds is the time of the step's own programs replayed back to back, without batches, read-back or waiting.
	GPUSeconds float64 `json:"gpu_seconds"`
	// Idle is the share of a step that is not GPU work: 1 − GPUSeconds over the time of the fastest step, for GPUSeconds
	// is the least of several too. It is 0 where noise makes it negative.
	Idle float64 `json:"idle"`
	// FirstStep is the time from nothing but files to the first step's loss: reading, planning, random weights,
	// compiling and tuning. The second method finds the pipelines that it shares with the first compiled.
	FirstStep float64 `json:"seconds_to_first_step"`
	// Utilisation is model operations per second over the peak. A token's operations are 4 for each parameter (forward,
	// and the gradient of the inputs), 2 more for each that trains, and 12·layers·heads·head_dim·(columns+1)/2 for
	// attention.
	Utilisation float64 `json:"utilisation"`
}

package message

import "encoding/json"

// Forecast is the memory, traffic and work of a run, computed before a device is opened.
type Forecast struct {
	Trainable  int64            `json:"trainable_parameters"`
	Total      int64            `json:"total_parameters"`
	Bytes      map[string]int64 `json:"planned_bytes"`
	Units      []PlanUnit       `json:"units"` // in the order of use; together they are Bytes
	Logits     int64            `json:"logits_chunk_bytes"`
	Unshared   int64            `json:"activations_without_sharing_bytes"`
	Recomputed int              `json:"recomputed_blocks"` // whose activations are not kept
	Largest    int64            `json:"largest_buffer_bytes"`
	Result     int64            `json:"result_bytes"` // of the adapter's or the model's weights on disk
	Steps      int              `json:"steps"`
	Launches   int              `json:"launches_per_micro_batch"` // of the longest rows
	Flops      float64          `json:"flops_per_step"`           // all micro-batches, all with the longest rows
	Seconds    float64          `json:"seconds_per_step,omitempty"`
	RowLengths []int            `json:"row_lengths"` // that programs are made for
	Dataset    DatasetStats     `json:"dataset"`
	Sharding   []ShardPlan      `json:"sharding,omitempty"`
	Fits       bool             `json:"fits"`              // in the budget, or where there is none in WebGPU's default limits
	Misfit     *Remark          `json:"misfit,omitempty"`  // why not
	Choices    []Choice         `json:"choices,omitempty"` // what to change so that it fits, the least harm first
	Remarks    []Remark         `json:"remarks,omitempty"`
}

// MarshalJSON adds the English texts of the remarks and of why the run does not fit.
func (f *Forecast) MarshalJSON() ([]byte, error) {
	type plain Forecast
	out := struct {
		*plain
		Reason   string   `json:"reason,omitempty"`
		Warnings []string `json:"warnings,omitempty"`
	}{plain: (*plain)(f)}
	if f.Misfit != nil {
		out.Reason = f.Misfit.Message
	}
	for _, r := range f.Remarks {
		out.Warnings = append(out.Warnings, r.Message)
	}
	return json.Marshal(out)
}

// PlanUnit is the memory of one unit of the model: the embedding, a block, the head. "shared" are activations that several units
// use in turn, and "run" is the memory that belongs to no unit.
type PlanUnit struct {
	Name      string           `json:"name"`
	Trainable int64            `json:"trainable_parameters"`
	Total     int64            `json:"total_parameters"`
	Bytes     map[string]int64 `json:"planned_bytes"`
}

// ShardPlan is the memory and the traffic of one rank under a sharding strategy.
type ShardPlan struct {
	Strategy string           `json:"sharding_strategy"`
	Ranks    int              `json:"world_size"`
	Group    int              `json:"shard_group_size"` // ranks that hold one whole set of shards
	Bytes    map[string]int64 `json:"planned_bytes"`
	Up       float64          `json:"bytes_sent"` // a step and rank, framing not counted
	Down     float64          `json:"bytes_received"`
	Wire     float64          `json:"wire_seconds"` // a step, if nothing overlaps
	Seconds  float64          `json:"seconds_per_step,omitempty"`
	Fits     bool             `json:"fits"`
}

// DatasetStats are the counts of a dataset.
type DatasetStats struct {
	Rows       int `json:"rows"`
	Tokens     int `json:"tokens"`         // kept
	Trained    int `json:"trained_tokens"` // counted in the loss
	Truncated  int `json:"truncated_rows"`
	Lost       int `json:"lost_tokens"`              // cut off by truncation
	Dropped    int `json:"dropped_rows"`             // left out because nothing in them is trained: Empty + Masked + CutOff
	Empty      int `json:"empty_rows"`               // dropped: without a text to learn
	Masked     int `json:"masked_rows"`              // dropped: none of their tokens is trained
	CutOff     int `json:"cut_off_rows"`             // dropped: what is trained in them stands behind the length to which rows are cut
	Untrained  int `json:"untrained_rows,omitempty"` // rows of ids that are kept although none of their tokens is trained
	Bad        int `json:"bad_rows"`                 // malformed and left out
	Duplicates int `json:"duplicate_rows"`           // equal to an earlier one; kept
	Packed     int `json:"packed_rows,omitempty"`    // rows of several samples, if they are packed
}

// DataFile says how a data file was read.
type DataFile struct {
	Layout    string            `json:"layout"`              // "json lines", "json", "table" or "text"
	Packed    string            `json:"packed,omitempty"`    // "gzip" or "zip"
	Member    string            `json:"member,omitempty"`    // the file that was read in an archive
	Encoding  string            `json:"encoding,omitempty"`  // "UTF-8", "UTF-16" or "GB18030"
	Separator string            `json:"separator,omitempty"` // of a table with several columns
	Header    bool              `json:"header,omitempty"`    // the first row of a table names the columns
	Columns   map[string]string `json:"columns,omitempty"`   // the format's own key → the key that the file uses
}

// MethodPlan is one row of a comparison: a way and what the run takes with it.
type MethodPlan struct {
	Name     string    `json:"name"`
	Trains   string    `json:"trains"`
	Settings []Change  `json:"settings"`
	Forecast *Forecast `json:"forecast,omitempty"`
	Refused  string    `json:"refused,omitempty"` // why this program does not offer it
}

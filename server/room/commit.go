package room

import (
	"cmp"
	"math"
	"slices"

	"llamatab/engine/fsdp"
)

// begin begins the evaluation of the current version if it is due; else the current step, or the last checkpoint after all
// steps. The last checkpoint waits for the last evaluation, so a run whose last version is saved is over.
func (r *Room) begin() {
	r.dirtyAll()
	if r.evaluationDue() {
		r.resetSlots(len(r.run.Eval.Tokens), 0)
		r.phase = Evaluating
		return
	}
	r.resetSlots(r.run.Slots, len(r.all.Pieces))
	r.phase = Computing
	last := r.step == uint64(r.run.Steps)
	if last {
		r.phase = Saving
	}
	if r.saving == nil && r.step > r.base.version && (last || r.step%uint64(r.run.Checkpoint) == 0) {
		r.saving = &saving{version: r.step}
	}
	if !last {
		r.chooseAudits()
	}
}

// decide decides the step once the gradients of all slots are added, no audit is open and no checkpoint is being pulled.
//
//	norm = ‖Σ gradients‖ / tokens    clip = min(1, max_grad_norm / (norm + 1e-6))    factor = clip / tokens
func (r *Room) decide() {
	for r.nextAudit() {
		r.runAudit()
	}
	for _, s := range r.slots {
		if !s.done() {
			return
		}
	}
	if r.audit != nil || r.saving != nil || r.auditOutlier() {
		return
	}
	rec := Record{Kind: Committed, Step: r.step, Epoch: r.epoch, Updates: r.updates, Applied: true}
	for _, s := range r.slots {
		rec.Applied = rec.Applied && !s.poison
		rec.Loss, rec.Tokens = rec.Loss+s.result.Loss, rec.Tokens+s.result.Tokens
		rec.Slots = append(rec.Slots, s.from)
	}
	square := 0.0
	for _, v := range r.sums {
		square += v
	}
	tokens := float64(max(rec.Tokens, 1))
	rec.Loss /= tokens
	rec.Norm = math.Sqrt(square) / tokens
	if !rec.Applied || math.IsNaN(rec.Norm-rec.Norm) || math.IsNaN(rec.Loss-rec.Loss) {
		rec.Applied, rec.Norm, rec.Loss = false, 0, 0
		r.phase = Deciding
		r.do(Append{rec})
		return
	}
	rec.Factor = r.factor(rec.Norm, tokens)
	rec.Updates++
	r.phase = Deciding
	data := r.shardMajor()
	r.reduced[r.step] = data
	r.commits[r.step] = rec // no commit yet: the hash of its blob is missing, and r.step has not moved
	r.do(Store{Tag: tagReduced, Data: data})
}

// factor is what the summed gradient of a step is multiplied by.
func (r *Room) factor(norm, tokens float64) float32 {
	clip := 1.0
	if r.run.MaxGradNorm > 0 { // torch.nn.utils.clip_grad_norm_ has the same 1e-6
		clip = min(1, r.run.MaxGradNorm/(norm+1e-6))
	}
	return float32(clip / tokens)
}

const tagReduced, tagState = "reduced", "state"

// shardMajor is the sum as it is stored and sent: shard after shard, float32.
func (r *Room) shardMajor() []byte {
	out := make([]byte, 0, 4*r.table.Len)
	for i := range r.table.Shards {
		v := r.table.Shard(i)
		for _, s := range v.Spans {
			out = append(out, fsdp.Bytes(r.acc[s.Off:s.Off+s.Len])...)
		}
	}
	return out
}

func (r *Room) stored(e Stored) {
	if e.Err != nil {
		r.fail(e.Err)
		return
	}
	delete(r.bad, e.Hash) // it has been written again
	switch e.Tag {
	case tagReduced:
		rec := r.commits[r.step]
		rec.Reduced = e.Hash
		r.do(Append{rec})
	case tagState:
		r.stateStored(e.Hash)
	}
}

func (r *Room) logged(e Logged) {
	if e.Err != nil {
		r.fail(e.Err)
		return
	}
	r.chain = e.Record.Hash
	switch rec := e.Record; rec.Kind {
	case Committed:
		r.take(rec)
		r.noteCommit(rec, false)
		r.Stats.Commits++
		r.moment(Commits, 0, "step %d is decided", rec.Step)
		if !rec.Applied {
			r.Stats.Skips++
			r.note("skipped", 0, "step %d changes nothing: its gradient is not finite", rec.Step)
		}
		if rec.Step >= 1 {
			delete(r.reduced, rec.Step-1)
		}
		r.step++
		r.begin()
	case Evaluated:
		r.evals[rec.Step] = *rec.Eval
		r.Stats.Evaluations++
		r.begin()
	case Rewound:
		r.rewind(rec.Step, r.commits[rec.Step])
		r.Stats.Rewound++
		r.note("rewound", 0, "the run goes on from version %d again", rec.Step)
		r.begin()
	case Saved:
		r.rebase(rec)
		r.saving = nil
		r.note("saved", 0, "checkpoint of version %d", rec.Step)
		if rec.Step == uint64(r.run.Steps) {
			r.phase = Done
			r.note("done", 0, "all %d steps are done", r.run.Steps)
		}
		r.dirtyAll()
	}
}

// take applies a commit.
func (r *Room) take(rec Record) {
	r.commits[rec.Step] = rec
	r.updates = rec.Updates
}

// auditOutlier begins an audit of a slot whose gradient is more than ten times as large as the median of the slots. If a second
// tab computes the same gradient, the data is the reason and the gradient counts.
func (r *Room) auditOutlier() bool {
	const fewest, factor = 5, 10.0
	if len(r.slots) < fewest {
		return false
	}
	squares := make([]float64, len(r.slots))
	for k, s := range r.slots {
		squares[k] = s.square
	}
	slices.SortFunc(squares, cmp.Compare[float64])
	median := squares[len(squares)/2]
	for k, s := range r.slots {
		if s.square > factor*factor*median && !s.audited && !s.poison {
			r.audit = &audit{slot: k, since: r.now, why: "its gradient is far larger than the others'"}
			s.audited = true
			r.runAudit()
			return r.audit != nil
		}
	}
	return false
}

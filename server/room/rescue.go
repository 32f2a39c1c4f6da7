package room

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is stored may rot. A blob that cannot be read whole is replaced, in this order:
//
//  1. by a checkpoint of the current version, where every shard is held at it: with that nothing older is needed;
//  2. a state by the one of the checkpoint before, from which a tab replays the gradients since;
//  3. by computing again: the run goes back to the last version that can still be made from what is whole. Not in a run with
//     SumFirst: it would compute other bits, and a tab that comes back later could hold a version of the same number.
//
// Where none of these is possible the room fails and names what is lost.

// rescueWithin is how long tabs may take to come back with shards before the run goes back or fails.
const rescueWithin = 20 * time.Second

// damaged notes that a blob cannot be read.
func (r *Room) damaged(e Damaged) {
	what, needed := r.blobName(e.Hash)
	if !needed || r.bad[e.Hash] { // a checkpoint may have made it superfluous
		return
	}
	if len(r.bad) == 0 {
		r.alarm = r.now
	}
	r.bad[e.Hash] = true
	r.Stats.Lost++
	r.note("blob_damaged", 0, "%s is lost: %v", what, e.Err)
	r.dirtyAll()
}

// blobName says what a blob is, and whether it may still be needed.
func (r *Room) blobName(hash string) (string, bool) {
	for _, s := range []saved{r.base, r.before} {
		if i := slices.Index(s.hashes, hash); i >= 0 {
			return fmt.Sprintf("the state of shard %d at version %d", i, s.version), true
		}
	}
	for step, c := range r.commits {
		if c.Reduced == hash {
			return fmt.Sprintf("the gradient of step %d", step), true
		}
	}
	return "", false
}

// whole tells whether a checkpoint has the state of a shard.
func (r *Room) whole(s saved, shard int) bool { return s.version == 0 || !r.bad[s.hashes[shard]] }

// baseOf is the version that shard i is made again from.
func (r *Room) baseOf(i int) uint64 {
	if !r.whole(r.base, i) && r.whole(r.before, i) {
		return r.before.version
	}
	return r.base.version
}

// oldest is the step from which on all gradients can still be pulled.
func (r *Room) oldest() uint64 {
	oldest := r.before.version
	for step, c := range r.commits {
		if r.bad[c.Reduced] && step < r.step {
			oldest = max(oldest, step+1)
		}
	}
	return oldest
}

// reach is the last version that can be made from a checkpoint of all shards and the gradients since.
func (r *Room) reach(s saved) (version uint64, ok bool) {
	for i := range r.table.Shards {
		if !r.whole(s, i) {
			return 0, false
		}
	}
	for version = s.version; version < r.step; version++ {
		if c, ok := r.commits[version]; !ok || r.bad[c.Reduced] {
			break
		}
	}
	return version, true
}

// rescue replaces what is damaged.
func (r *Room) rescue() {
	for hash := range r.bad {
		if _, needed := r.blobName(hash); !needed {
			delete(r.bad, hash)
		}
	}
	if len(r.bad) == 0 || !r.started || r.phase == Deciding {
		return
	}
	back, ok := r.reach(r.base)
	if ok && back == r.step { // what is damaged is older
		return
	}
	held, remade := true, true // every shard: by a tab; by a tab or in the making
	for i := range r.table.Shards {
		holds := r.holder(i, r.step, 0) != nil
		held, remade = held && holds, remade && (holds || r.canRemake(i))
	}
	last := r.step == uint64(r.run.Steps) && r.evaluationDue() // a run whose last version is saved is over
	if held && r.saving == nil && !last {
		r.note("rescued", 0, "the tabs hold all of version %d, which becomes a checkpoint now", r.step)
		r.saving = &saving{version: r.step}
	}
	if held || remade || r.saving != nil && r.saving.storing || !r.attended() || r.now.Sub(r.alarm) < rescueWithin {
		return
	}
	if earlier, fits := r.reach(r.before); fits && (!ok || earlier > back) {
		back, ok = earlier, true
	}
	if !ok || back >= r.step || r.phase == Done || r.run.SumFirst {
		r.fail(r.loss())
		return
	}
	if c := r.saving; c != nil {
		r.saving = nil
		r.letGo(c.hashes)
	}
	r.phase = Deciding
	r.note("rewinding", 0, "what is whole suffices for version %d of %d only: the run goes back to it and computes those steps again", back, r.step)
	r.do(Append{Record{Kind: Rewound, Step: back, Epoch: r.epoch}})
}

// canRemake tells whether a tab can make shard i again from what is stored.
func (r *Room) canRemake(i int) bool {
	return (r.whole(r.base, i) || r.whole(r.before, i)) && r.oldest() <= r.baseOf(i)
}

// attended tells whether a tab is there, so that others have had the time to come as well.
func (r *Room) attended() bool {
	return slices.ContainsFunc(r.inOrder(), func(t *tab) bool { return t.attached && !t.leaving })
}

// loss says what is lost and what is still there.
func (r *Room) loss() error {
	var lost []string
	for hash := range r.bad {
		what, _ := r.blobName(hash)
		lost = append(lost, what)
	}
	slices.Sort(lost)
	kept := 0
	for i := range r.table.Shards {
		if r.whole(r.base, i) {
			kept++
		}
	}
	return fmt.Errorf("%s: damaged, and no tab holds what they are needed for; of the checkpoint of version %d the states of %d of %d shards are whole",
		strings.Join(lost, ", "), r.base.version, kept, r.table.Shards)
}

// rewind makes version the current one again. c is the commit that led on from it.
func (r *Room) rewind(version uint64, c Record) {
	var dead []string
	r.updates = c.Updates
	if c.Applied {
		r.updates--
	}
	for step, c := range r.commits {
		if step >= version {
			dead = append(dead, c.Reduced)
			delete(r.commits, step)
			delete(r.reduced, step)
		}
	}
	for evaluated := range r.evals {
		if evaluated > version {
			delete(r.evals, evaluated)
		}
	}
	if version < r.base.version {
		dead = append(dead, r.base.hashes...)
		r.base = r.before
	}
	r.step = version
	r.forgetUnchecked(version)
	r.letGo(dead)
}

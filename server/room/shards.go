package room

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"llamatab/engine/fsdp"
)

// place says who holds a shard in a group of tabs.
type place struct {
	owner uint32 // 0: nobody
	next  uint32 // takes over once it has the shard at the current version; 0: nobody
}

// place gives shards to tabs. Under NO_SHARD every tab holds everything; otherwise each group of tabs holds every shard once,
// spread evenly. A shard whose owner is gone goes to a tab that has a copy, else to the tab with the fewest shards. A shard
// that moves for balance stays with its old owner until the new one has it.
func (r *Room) place() {
	want := map[uint32]map[int]bool{}
	keep := func(id uint32, i int) {
		if want[id] == nil {
			want[id] = map[int]bool{}
		}
		want[id][i] = true
	}
	if r.run.Strategy == fsdp.NoShard {
		for id, t := range r.tabs {
			if t.attached && !t.leaving {
				keep(id, 0)
			}
		}
	} else {
		for group, members := range r.groups() {
			p := r.places[group]
			if p == nil {
				p = make([]place, r.table.Shards)
				r.places[group] = p
			}
			r.settlePlaces(p, members)
			for i, at := range p {
				for _, id := range []uint32{at.owner, at.next} {
					if id != 0 {
						keep(id, i)
					}
				}
			}
		}
		maps.DeleteFunc(r.places, func(_ string, p []place) bool {
			return !slices.ContainsFunc(p, func(at place) bool { return at.owner != 0 })
		})
	}
	for id, t := range r.tabs {
		if !maps.Equal(t.keep, want[id]) {
			for i := range want[id] {
				if _, has := t.held[i]; !t.keep[i] && !has && r.step > 0 {
					r.Stats.Restored++
				}
			}
			t.keep, t.dirty = want[id], true
		}
	}
}

// groups lists the connected tabs by group, in the order of their numbers. A group without connected tabs stays while one of
// them may come back.
func (r *Room) groups() map[string][]*tab {
	groups := map[string][]*tab{}
	for group := range r.places {
		groups[group] = nil
	}
	for _, t := range r.inOrder() {
		if t.attached && !t.leaving {
			g := ""
			if r.run.Strategy == fsdp.HybridShard {
				g = t.group
			}
			groups[g] = append(groups[g], t)
		}
	}
	return groups
}

// smallestGroup is the group that a tab without a group joins under HYBRID_SHARD: the first that is not full, else a new one.
func (r *Room) smallestGroup() string {
	members := map[string]int{}
	for _, t := range r.tabs {
		if r.stays(t.id) {
			members[t.group]++
		}
	}
	for i := 1; ; i++ {
		if name := fmt.Sprintf("group %d", i); members[name] < r.table.Shards {
			return name
		}
	}
}

// stays reports whether a tab is connected, or has been away for less than graceAfter.
func (r *Room) stays(id uint32) bool {
	t := r.tabs[id]
	return t != nil && !t.leaving && (t.attached || r.now.Sub(t.away) < graceAfter)
}

func (r *Room) settlePlaces(p []place, members []*tab) {
	load := map[uint32]int{}
	for i := range p {
		at := &p[i]
		if at.next != 0 && !r.stays(at.next) {
			at.next = 0
		}
		if at.owner != 0 && !r.stays(at.owner) {
			at.owner, at.next = at.next, 0
		}
		if at.next != 0 {
			if v, ok := r.tabs[at.next].held[i]; ok && v == r.step {
				at.owner, at.next = at.next, 0
			}
		}
		load[at.owner]++
		load[at.next]++
	}
	if len(members) == 0 {
		return
	}
	least := func() *tab {
		return slices.MinFunc(members, func(a, b *tab) int { return load[a.id] - load[b.id] })
	}
	for i := range p {
		if p[i].owner != 0 {
			continue
		}
		best := least()
		newest := uint64(0)
		for _, t := range members {
			if v, ok := t.held[i]; ok && v+1 > newest {
				best, newest = t, v+1
			}
		}
		p[i].owner = best.id
		load[best.id]++
	}
	for { // one shard at a time from the tab with the most to the one with the least
		most := slices.MaxFunc(members, func(a, b *tab) int { return load[a.id] - load[b.id] })
		to := least()
		if load[most.id] < load[to.id]+2 {
			return
		}
		i := slices.IndexFunc(p, func(at place) bool { return at.owner == most.id && at.next == 0 })
		if i < 0 {
			return
		}
		if r.started {
			p[i].next = to.id
			load[most.id]--
			load[to.id]++
		} else {
			p[i].owner = to.id
			load[most.id]--
			load[to.id]++
		}
	}
}

// holder is a connected tab that holds shard i at a version and is to keep it, nil if there is none. last is preferred.
func (r *Room) holder(i int, version uint64, last uint32) *tab {
	has := func(t *tab) bool {
		v, ok := t.held[i]
		return ok && v == version && t.attached && t.keep[i]
	}
	if t := r.tabs[last]; t != nil && has(t) {
		return t
	}
	for _, t := range r.inOrder() {
		if has(t) && !r.suspect(t) {
			return t
		}
	}
	return nil
}

// from is a pull of a shard from one tab. Pieces of two tabs are never mixed: tabs of two classes may differ in bits.
type from struct {
	source uint32
	pull   *fsdp.Puller
	data   []byte
}

// advance continues the pull of shard i at a version. It begins again when its tab is gone.
func (r *Room) advance(f *from, kind fsdp.Type, i int, version uint64) {
	if f.pull != nil && f.pull.Done() {
		return
	}
	t := r.holder(i, version, f.source)
	if t == nil {
		f.source, f.pull = 0, nil
		return
	}
	if f.source != t.id || f.pull == nil {
		v := r.table.Shard(i)
		n, size := len(v.Pieces), r.run.Param().Size()
		if kind == fsdp.TypeState {
			n, size = fsdp.StatePieces(v), 3*4
		}
		f.source, f.data = t.id, make([]byte, v.Len*size)
		f.pull = fsdp.NewPuller(fsdp.Pull{Kind: kind, Epoch: r.nextEpoch(), Step: version, Slot: i, To: n})
	}
	if q := f.pull.Quiet(r.now); q >= stallAfter && (r.idle(t) || q >= stuckAfter) { // a tab that computes answers later
		r.note("stalled", t.id, "%s has sent nothing of shard %d for %v", t.label(), i, q.Round(time.Second))
		r.expel(t, fsdp.Bye{Code: "slow", Reason: "pieces that were asked for did not come", Again: true})
		f.source, f.pull = 0, nil
		return
	}
	after := retryAfter
	if !r.idle(t) { // a tab that computes answers between two slots
		after = retryBusy
	}
	f.pull.Retry(r.now, after)
	r.askFor(t.id, f.pull, nil)
}

// put stores a piece of a pulled shard. It reports whether the room had asked for it.
func (r *Room) put(f *from, t *tab, frame fsdp.Frame) bool {
	if f.pull == nil || f.source != t.id || f.pull.Want.Epoch != frame.Epoch || f.pull.Want.Step != frame.Step || f.pull.Want.Slot != int(frame.Slot) {
		return false
	}
	v, size, part, d := r.table.Shard(int(frame.Slot)), r.run.Param().Size(), 0, r.run.Param()
	if int(frame.Chunk) >= f.pull.Want.To {
		return false
	}
	piece := v.Pieces[int(frame.Chunk)%len(v.Pieces)]
	if frame.Type == fsdp.TypeState {
		part, piece = fsdp.StatePiece(v, int(frame.Chunk))
		size, d = 4, 0
	}
	if len(frame.Body) != size*piece.Len || frame.Flags&^fsdp.FlagCRC != fsdp.Flag(d) {
		return false
	}
	if !fsdp.Finite(frame.Body, d) {
		r.Stats.NotFinite++
		r.note("unsound", t.id, "shard %d of %s has infinities, NaNs or numbers of 2^62 or more", frame.Slot, t.label())
		r.expel(t, fsdp.Bye{Code: "unsound", Reason: "its parameters are not finite"})
		return true
	}
	if !f.pull.Got(r.now, int(frame.Chunk)) {
		return false
	}
	copy(f.data[size*(part*v.Len+piece.Off):], frame.Body)
	if code := map[fsdp.Type]string{fsdp.TypeState: Saves, fsdp.TypeParam: Publishes}[frame.Type]; frame.Chunk == 0 {
		r.moment(code, t.id, "a first piece of shard %d is here from %s", frame.Slot, t.label())
	}
	return true
}

// params are a shard's parameters in param_dtype.
type params struct {
	from
	version uint64
}

// sealed reports whether the room has all parameters of the current version, so that tabs can gather them.
func (r *Room) sealed() bool {
	if !r.run.Strategy.Sharded() || !r.started {
		return false
	}
	for i := range r.params {
		p := &r.params[i]
		if p.version != r.step || p.pull == nil || !p.pull.Done() {
			return false
		}
	}
	return true
}

func (r *Room) pullParams() {
	if !r.run.Strategy.Sharded() || r.phase == Saving || r.phase == Done || r.sealed() { // no slot is computed with the last version
		return
	}
	for i := range r.params {
		p := &r.params[i]
		if p.version != r.step {
			*p = params{version: r.step}
		}
		r.advance(&p.from, fsdp.TypeParam, i, r.step)
	}
	if r.sealed() {
		r.changed = true
		r.dirtyAll()
	}
}

// saving is a checkpoint that is being pulled: the states of all shards at a version, one after another.
type saving struct {
	from
	version uint64
	shard   int
	storing bool
	hashes  []string
}

// saved is a checkpoint.
type saved struct {
	version uint64
	hashes  []string // of the shards' states
}

func (r *Room) pullState() {
	c := r.saving
	if c == nil || c.storing {
		return
	}
	r.advance(&c.from, fsdp.TypeState, c.shard, c.version)
	if c.pull != nil && c.pull.Done() {
		c.storing = true
		r.do(Store{Tag: tagState, Data: c.data})
	}
}

func (r *Room) stateStored(hash string) {
	c := r.saving
	c.hashes = append(c.hashes, hash)
	c.from, c.shard = from{}, c.shard+1
	if c.shard < r.table.Shards {
		c.storing = false
		return
	}
	r.do(Append{Record{Kind: Saved, Step: c.version, Epoch: r.epoch, Blobs: c.hashes}})
}

// rebase takes a finished checkpoint in. The one before it stays, with the gradients since: somebody may be reading, and it
// takes the place of one that is damaged. A checkpoint of the same version is another copy.
func (r *Room) rebase(rec Record) {
	dead := r.base.hashes
	if rec.Step != r.base.version {
		dead = slices.Clone(r.before.hashes)
		for step, c := range r.commits {
			if step < r.base.version {
				dead = append(dead, c.Reduced)
				delete(r.commits, step)
			}
		}
		r.before = r.base
	}
	r.base = saved{rec.Step, rec.Blobs}
	r.letGo(dead)
}

// letGo deletes those of some blobs that are not needed any more.
func (r *Room) letGo(hashes []string) {
	live := r.Live()
	dead := slices.DeleteFunc(slices.Clone(hashes), func(hash string) bool { _, needed := live[hash]; return hash == "" || needed })
	if len(dead) > 0 {
		slices.Sort(dead)
		r.do(Delete{slices.Compact(dead)})
	}
}

// Live are the blobs that the room may still need, and their bytes.
func (r *Room) Live() map[string]int64 {
	live := map[string]int64{}
	for _, s := range []saved{r.before, r.base} {
		for i, hash := range s.hashes {
			live[hash] = int64(12 * r.table.Shard(i).Len)
		}
	}
	for _, c := range r.commits {
		if c.Reduced != "" {
			live[c.Reduced] = int64(4 * r.table.Len)
		}
	}
	return live
}

// Final are the blobs of the state after the last step, by shard, once the room is done.
func (r *Room) Final() []string {
	if r.phase != Done {
		return nil
	}
	return r.base.hashes
}

// load is a piece that is being read from a blob for a tab.
type load struct {
	tab   uint32
	hash  string
	frame fsdp.Frame
}

// serve answers a tab's pull. A pull of something that is not there, or of a shard that the tab does not hold, gets no answer:
// the tab asks again, or new orders make it superfluous.
func (r *Room) serve(t *tab, p fsdp.Pull) {
	if p.Slot >= r.table.Shards || !t.attached {
		return
	}
	v := r.table.Shard(p.Slot)
	n, d := len(v.Pieces), r.run.Param()
	data, hash := []byte(nil), ""
	at := func(i int) (off, length int) { return 4 * (r.starts[p.Slot] + v.Pieces[i].Off), 4 * v.Pieces[i].Len }
	switch p.Kind {
	case fsdp.TypeReduced:
		if p.Step >= r.step || !t.keep[p.Slot] {
			return
		}
		data, hash, d = r.reduced[p.Step], r.commits[p.Step].Reduced, 0
	case fsdp.TypeState:
		switch {
		case !t.keep[p.Slot]:
			return
		case p.Step == r.base.version && p.Step > 0:
			hash = r.base.hashes[p.Slot]
		case p.Step == r.before.version && p.Step > 0:
			hash = r.before.hashes[p.Slot]
		}
		n, d = fsdp.StatePieces(v), 0
		at = func(i int) (off, length int) {
			part, piece := fsdp.StatePiece(v, i)
			return 4 * (part*v.Len + piece.Off), 4 * piece.Len
		}
	case fsdp.TypeMaster: // the masters are the first third of a state
		if r.phase != Done || p.Step != r.base.version {
			return
		}
		hash, d = r.base.hashes[p.Slot], 0
		at = func(i int) (off, length int) { return 4 * v.Pieces[i].Off, 4 * v.Pieces[i].Len }
	case fsdp.TypeParam:
		if p.Step != r.step || !r.sealed() {
			return
		}
		data = r.params[p.Slot].data
		at = func(i int) (off, length int) { return d.Size() * v.Pieces[i].Off, d.Size() * v.Pieces[i].Len }
	default:
		return
	}
	if data == nil && (hash == "" || r.bad[hash]) {
		return
	}
	switch last := min(p.To, p.From+r.run.Window, n); {
	case p.Kind == fsdp.TypeReduced && last == n:
		r.moment(Updates, t.id, "%s is sent the last of the reduced gradient of step %d, shard %d", t.label(), p.Step, p.Slot)
	case p.Kind == fsdp.TypeState && p.From == 0:
		r.moment(Recovering, t.id, "%s is sent a first piece of shard %d at version %d", t.label(), p.Slot, p.Step)
	case p.Kind == fsdp.TypeParam && p.From == 0:
		r.moment(Gathers, t.id, "%s is sent parameters of shard %d", t.label(), p.Slot)
	}
	for i := p.From; i < min(p.To, p.From+r.run.Window, n); i++ {
		_, piece := fsdp.StatePiece(v, i)
		f := fsdp.Frame{Header: fsdp.Header{Type: p.Kind, Flags: fsdp.Flag(d), Slot: uint16(p.Slot), Epoch: p.Epoch, Step: p.Step,
			Unit: uint16(piece.Unit), Chunk: uint32(i), Chunks: uint32(n)}}
		off, length := at(i)
		if data != nil {
			f.Body = data[off : off+length : off+length]
			r.sendBulk(t, f)
			continue
		}
		tag := fmt.Sprintf("%v/%d/%d/%d/%d", p.Kind, t.id, p.Step, p.Slot, i)
		if _, under := r.loads[tag]; !under && len(r.loads) < maxLoads {
			r.loads[tag] = load{t.id, hash, f}
			r.do(Load{Tag: tag, Hash: hash, Off: int64(off), Len: int64(length)})
		}
	}
}

// maxLoads bounds the reads that wait for the disk; a tab that gets no answer asks again.
const maxLoads = 256

func (r *Room) loaded(e Loaded) {
	l, ok := r.loads[e.Tag]
	delete(r.loads, e.Tag)
	if !ok {
		return
	}
	if e.Err != nil {
		r.damaged(Damaged{l.hash, e.Err})
		return
	}
	if t := r.tabs[l.tab]; t != nil && t.attached {
		l.frame.Body = e.Data
		r.sendBulk(t, l.frame)
	}
}

func (r *Room) sendBulk(t *tab, f fsdp.Frame) {
	r.Stats.BytesOut += int64(len(f.Body))
	t.out += int64(len(f.Body))
	r.do(SendBulk{t.id, f})
}

// bulk handles a frame from a tab's data socket.
func (r *Room) bulk(t *tab, f fsdp.Frame) {
	r.Stats.BytesIn += int64(len(f.Body))
	t.in += int64(len(f.Body))
	took := false
	switch f.Type {
	case fsdp.TypeGradient:
		took = r.audit.gradient(r, t, f) || r.gradient(t, f)
	case fsdp.TypeParam:
		took = int(f.Slot) < len(r.params) && r.params[f.Slot].version == f.Step && r.put(&r.params[f.Slot].from, t, f)
	case fsdp.TypeState:
		took = r.saving != nil && !r.saving.storing && r.put(&r.saving.from, t, f)
	}
	if took {
		r.Stats.Frames++
		t.took++
		return
	}
	r.Stats.Refused++
	if t.refused++; t.refused > t.took+refusedMost { // some pieces come late or twice, but never most of them
		r.note("flooding", t.id, "%s sends frames that nobody asked for", t.label())
		r.expel(t, fsdp.Bye{Code: "protocol", Reason: "it sends frames that nobody asked for"})
	}
}

// refusedMost is how many more useless frames than useful ones a tab may send.
const refusedMost = 256

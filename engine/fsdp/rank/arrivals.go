package rank

import (
	"time"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/tensor"
)

// image is a unit's parameters on their way, as its segments have them.
type image struct {
	unit     int
	master   bool                  // float32 values after the last step
	parts    map[int][]device.Part // of each segment, by number
	segments map[int]device.Bytes  // once all is here
	own      []int                 // shards that are not fetched: the tab has them itself
	bytes    int64                 // that came
	came     func(bytes int64)
	ready    chan struct{}
}

// size is the number of bytes of an element.
func (im *image) size(run *fsdp.Run) int {
	if im.master {
		return tensor.F32.Size()
	}
	return run.Param().Size()
}

// fill adds a piece of a shard. A segment's elements lie at the places that they have in the segment.
func (im *image) fill(at places, size int, v *fsdp.View, p fsdp.Piece, body device.Bytes) {
	v.Flat(p.Off, p.Len, func(from int, s fsdp.Span) {
		at.each(s.Off, s.Len, func(in int, to place) error {
			im.parts[to.segment] = append(im.parts[to.segment], device.Part{At: size * to.off, Bytes: body.Slice(size*(from+in), size*to.n)})
			return nil
		})
	})
}

// arrivals are the units that are on their way from the room. Only the talker uses them: it asks the room, takes in what
// comes, and closes image.ready when a unit is complete. From then on the image is the worker goroutine's.
type arrivals struct {
	m      *member
	wanted map[int]*image // by unit
}

// want asks the room for a unit.
func (a *arrivals) want(im *image) {
	a.wanted[im.unit] = im
	im.came = a.m.spans.carry(message.Span{What: "gather", Step: int(a.m.worker.Version()) + 1, Unit: a.m.table.Units[im.unit].Name})
	a.m.worker.Gather(time.Now(), im.unit, im.own)
}

// put takes in a piece that came.
func (a *arrivals) put(h fsdp.Header, body device.Bytes) {
	if im := a.wanted[int(h.Unit)]; im != nil {
		v := a.m.table.Shard(int(h.Slot))
		im.fill(a.m.places, im.size(a.m.run), v, v.Pieces[h.Chunk], body)
		im.bytes += int64(body.Len())
	}
}

// complete hands a unit over to the worker goroutine.
func (a *arrivals) complete(unit int) {
	if im := a.wanted[unit]; im != nil {
		delete(a.wanted, unit)
		im.came(im.bytes)
		close(im.ready)
	}
}

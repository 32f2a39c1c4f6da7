package rank

import (
	"time"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// image is the parameters of a unit in the layout of its segments, in the host's memory. The computer makes it and passes it
// to the communicator, which adds what comes from the room and closes ready. From then on it is the computer's again.
type image struct {
	unit     int
	master   bool                  // the float32 masters after the last step, else the values that tabs compute with
	own      []int                 // shards that are not asked for, because the tab has them itself
	parts    map[int][]device.Part // of each segment, by its number
	segments map[int]device.Bytes  // of the complete image, by the number of the segment
	bytes    int64                 // that came from the room
	span     func(bytes int64)     // ends the span of the gather
	ready    chan struct{}         // closed when all pieces from the room are here
}

// fill adds a piece of a shard. size is the number of bytes of an element.
func (im *image) fill(at places, size int, v *fsdp.View, p fsdp.Piece, body device.Bytes) {
	v.Flat(p.Off, p.Len, func(from int, s fsdp.Span) {
		at.each(s.Off, s.Len, func(in int, to place) error {
			im.parts[to.segment] = append(im.parts[to.segment], device.Part{At: size * to.off, Bytes: body.Slice(size*(from+in), size*to.n)})
			return nil
		})
	})
}

// arrivals are the units that were asked for and are not complete. The communicator owns them.
type arrivals struct {
	c      *communicator
	wanted map[int]*image // by unit
}

// want asks the room for the shards of a unit.
func (a *arrivals) want(im *image) {
	a.wanted[im.unit] = im
	im.span = a.c.spans.carry(message.Span{What: "gather", Step: int(a.c.worker.Version()) + 1, Unit: a.c.table.Units[im.unit].Name})
	a.c.worker.Gather(time.Now(), im.unit, im.own)
}

// put adds a piece that came.
func (a *arrivals) put(h fsdp.Header, body device.Bytes) {
	if im := a.wanted[int(h.Unit)]; im != nil {
		v := a.c.table.Shard(int(h.Slot))
		im.fill(a.c.places, elementSize(a.c.run, im.master), v, v.Pieces[h.Chunk], body)
		im.bytes += int64(body.Len())
	}
}

// complete passes a complete unit to the computer.
func (a *arrivals) complete(unit int) {
	if im := a.wanted[unit]; im != nil {
		delete(a.wanted, unit)
		im.span(im.bytes)
		close(im.ready)
	}
}

package room

import (
	"fmt"
	"sync"
)

// LocalBus is a Bus inside one program.
type LocalBus struct {
	mu    sync.Mutex
	boxes map[string]*box
}

// NewLocalBus makes a bus.
func NewLocalBus() *LocalBus { return &LocalBus{boxes: map[string]*box{}} }

// Listen implements Bus.
func (b *LocalBus) Listen(address string, limit int) (Inbox, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.boxes[address] != nil {
		return nil, fmt.Errorf("room: somebody listens at %s already", address)
	}
	x := &box{bus: b, address: address, limit: limit, ready: make(chan struct{}, 1), closed: make(chan struct{})}
	b.boxes[address] = x
	return x, nil
}

// Send implements Bus.
func (b *LocalBus) Send(address string, p Parcel) error {
	b.mu.Lock()
	x := b.boxes[address]
	b.mu.Unlock()
	if x == nil {
		return ErrNobody
	}
	return x.put(p)
}

type box struct {
	bus     *LocalBus
	address string
	limit   int
	ready   chan struct{}
	closed  chan struct{}

	mu      sync.Mutex
	parcels []Parcel
	bytes   int
	shut    bool
}

// parcelCost is what a parcel counts besides its bytes, so that small ones are bounded as well.
const parcelCost = 256

func (x *box) put(p Parcel) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.shut {
		return ErrNobody
	}
	cost := len(p.Frame) + parcelCost
	if x.bytes > 0 && x.bytes+cost > x.limit {
		return ErrFull
	}
	x.parcels, x.bytes = append(x.parcels, p), x.bytes+cost
	wake(x.ready)
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (x *box) Take() (Parcel, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.parcels) == 0 {
		return Parcel{}, false
	}
	p := x.parcels[0]
	x.parcels[0] = Parcel{}
	x.parcels, x.bytes = x.parcels[1:], x.bytes-len(p.Frame)-parcelCost
	if len(x.parcels) > 0 {
		wake(x.ready)
	}
	return p, true
}

func (x *box) Ready() <-chan struct{}  { return x.ready }
func (x *box) Closed() <-chan struct{} { return x.closed }

func (x *box) Close() {
	x.bus.mu.Lock()
	if x.bus.boxes[x.address] == x {
		delete(x.bus.boxes, x.address)
	}
	x.bus.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.shut {
		x.shut, x.parcels = true, nil
		close(x.closed)
	}
}

//go:build js

package webgpu

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/hack-pad/safejs"
)

// The words of scripts and programs, as in wasm/engine/replay.js.
const (
	scriptWrite = 0
	scriptRun   = 1

	programDispatch = 0
	programCopy     = 1
	programClear    = 2
	programSplit    = 3
)

const (
	packedWrite = 64 << 10 // bytes of data up to which a write goes into the script
	writeChunk  = 4 << 20  // bytes that a larger one hands over at a time
)

// replay is the Go side of wasm/engine/replay.js.
type replay struct {
	object safejs.Value
	inbox  safejs.Value // the Uint8Array that both sides see
	room   int          // its length
	script []byte       // what flush will send
}

// add registers a WebGPU object under an id.
func (r *replay) add(object any) (int, error) {
	id, err := r.object.Call("add", object)
	if err != nil {
		return -1, err
	}
	return id.Int()
}

// drop makes an id free for another object.
func (r *replay) drop(id int) {
	r.object.Call("drop", id) // can fail only after Close, when there is nothing to drop
}

// program registers a list of commands with the bind groups they number, and has WebGPU validate it.
func (r *replay) program(words []int32, groups []any) (int, error) {
	code, err := binary.Append(nil, binary.LittleEndian, words)
	if err != nil {
		return -1, err
	}
	class, err := safejs.Global().Get("Uint8Array")
	if err != nil {
		return -1, err
	}
	array, err := class.New(len(code))
	if err != nil {
		return -1, err
	}
	if _, err := safejs.CopyBytesToJS(array, code); err != nil {
		return -1, err
	}
	v, err := r.object.Call("program", array, groups)
	if err != nil {
		return -1, err
	}
	id, err := v.Int()
	if err != nil {
		return -1, err
	}
	if _, err := r.object.Call("check", id); err != nil {
		r.drop(id)
		return -1, err
	}
	return id, nil
}

func (r *replay) words(words ...int) {
	for _, w := range words {
		r.script = binary.LittleEndian.AppendUint32(r.script, uint32(w))
	}
}

// run adds the replay of a program to the script.
func (r *replay) run(id int) { r.words(scriptRun, id) }

// write adds a write of data, zero-padded to whole words, at byte off of a buffer. Much data is handed over at once.
func (r *replay) write(id int, off int64, data []byte) error {
	if len(data) > packedWrite {
		if err := r.flush(); err != nil {
			return err
		}
		for len(data) >= 4 {
			n := min(len(data)&^3, writeChunk)
			if err := r.send(data[:n]); err != nil {
				return err
			}
			if _, err := r.object.Call("write", id, off/4, n); err != nil {
				return err
			}
			off, data = off+int64(n), data[n:]
		}
	}
	if len(data) == 0 {
		return nil
	}
	r.words(scriptWrite, id, int(off/4), (len(data)+3)/4)
	r.script = append(r.script, data...)
	for len(r.script)%4 != 0 {
		r.script = append(r.script, 0)
	}
	return nil
}

// flush has the script executed and starts an empty one.
func (r *replay) flush() error {
	if len(r.script) == 0 {
		return nil
	}
	err := r.send(r.script)
	if err == nil {
		_, err = r.object.Call("submit", len(r.script)/4)
	}
	r.script = r.script[:0]
	return err
}

// send leaves data in the array that both sides see.
func (r *replay) send(data []byte) error {
	if len(data) > r.room {
		room := max(packedWrite, 1<<bits.Len(uint(len(data)-1)))
		inbox, err := r.object.Call("reserve", room)
		if err != nil {
			return fmt.Errorf("no memory to hand over %d bytes: %w", len(data), err)
		}
		r.inbox, r.room = inbox, room
	}
	_, err := safejs.CopyBytesToJS(r.inbox, data)
	return err
}

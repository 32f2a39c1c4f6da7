//go:build js

package webgpu

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/hack-pad/safejs"

	"llamatab/engine/device"
)

// errStopped is what waiting ends with when the wait was called off.
var errStopped = errors.New("stopped waiting for the browser")

// settled is how a promise ended.
type settled struct {
	value safejs.Value
	err   error
}

// promise is a JavaScript promise that a goroutine can wait for.
type promise chan settled

// watch takes what a call returned, a promise or an error. It listens from now on, so that no rejection goes unhandled.
func watch(v safejs.Value, err error) promise {
	p := make(promise, 1)
	if err == nil {
		err = then(v, func(s settled) { p <- s })
	}
	if err != nil {
		p <- settled{err: err}
	}
	return p
}

// then calls f once, when the promise has settled.
func then(v safejs.Value, f func(settled)) error {
	var done, failed safejs.Func
	end := func(s settled) any {
		done.Release()
		failed.Release()
		f(s)
		return nil
	}
	done, err := safejs.FuncOf(func(_ safejs.Value, args []safejs.Value) any { return end(settled{value: args[0]}) })
	if err != nil {
		return err
	}
	failed, err = safejs.FuncOf(func(_ safejs.Value, args []safejs.Value) any { return end(settled{err: reason(args[0])}) })
	if err != nil {
		return err
	}
	_, err = v.Call("then", done, failed)
	return err
}

// wait blocks until the promise has settled or stop is closed.
func (p promise) wait(stop <-chan struct{}) (safejs.Value, error) {
	select {
	case s := <-p:
		return s.value, s.err
	case <-stop:
		return safejs.Undefined(), errStopped
	}
}

// reason is a rejection, or an error that the device reports, as an error. A GPUError's name is that of its class.
func reason(v safejs.Value) error {
	name := text(v, "name")
	if class, err := v.Get("constructor"); name == "" && err == nil {
		name = text(class, "name")
	}
	if name == "GPUOutOfMemoryError" {
		return fmt.Errorf("%w: %s", device.ErrOutOfMemory, text(v, "message"))
	}
	return fmt.Errorf("%s: %s", name, text(v, "message"))
}

// try runs f and returns what JavaScript throws in it.
func try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			panic(r)
		case error: // js.Error, *js.ValueError
			err = r
		default: // syscall/js panics with a string where a method is missing
			err = fmt.Errorf("%v", r)
		}
	}()
	f()
	return nil
}

// text is a property that is a string, or "".
func text(v safejs.Value, name string) string {
	p, err := v.Get(name)
	if err != nil || p.Type() != safejs.TypeString {
		return ""
	}
	s, _ := p.String()
	return s
}

// number is a property that is a number, or 0.
func number(v safejs.Value, name string) float64 {
	p, err := v.Get(name)
	if err != nil {
		return 0
	}
	n, _ := p.Float()
	return n
}

// truth is a property that is true.
func truth(v safejs.Value, name string) bool {
	p, err := v.Get(name)
	if err != nil {
		return false
	}
	b, _ := p.Truthy()
	return b
}

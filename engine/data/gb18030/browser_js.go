//go:build js

// Package gb18030 decodes GB18030: natively with golang.org/x/text, in a browser with its TextDecoder.
package gb18030

import (
	"io"
	"syscall/js"
)

// NewReader decodes GB18030 to UTF-8 with the browser's TextDecoder, so that its tables are not part of the program. What is no
// GB18030 becomes U+FFFD.
func NewReader(r io.Reader) io.Reader {
	return &browserDecoder{in: r, decoder: js.Global().Get("TextDecoder").New("gb18030")}
}

// browserDecoder is a TextDecoder as a reader.
type browserDecoder struct {
	in      io.Reader
	decoder js.Value
	rest    string
	done    bool
}

func (d *browserDecoder) Read(p []byte) (int, error) {
	for d.rest == "" && !d.done {
		buffer := make([]byte, 64<<10)
		n, err := d.in.Read(buffer)
		if err != nil && err != io.EOF {
			return 0, err
		}
		d.done = err == io.EOF
		bytes := js.Global().Get("Uint8Array").New(n)
		js.CopyBytesToJS(bytes, buffer[:n])
		d.rest = d.decoder.Call("decode", bytes, map[string]any{"stream": !d.done}).String()
	}
	if d.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

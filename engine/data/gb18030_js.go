//go:build js

package data

import (
	"io"
	"syscall/js"
)

// gb18030 decodes GB18030 to UTF-8 with the browser's TextDecoder, so that its tables are not part of the program. What is no
// GB18030 becomes U+FFFD.
func gb18030(r io.Reader) io.Reader {
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
		buffer := make([]byte, sniffed)
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

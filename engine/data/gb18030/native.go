//go:build !js

// Package gb18030 decodes GB18030: natively with golang.org/x/text, in a browser with its TextDecoder.
package gb18030

import (
	"io"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"
)

// NewReader decodes GB18030 to UTF-8. What is none becomes U+FFFD.
func NewReader(r io.Reader) io.Reader {
	return transform.NewReader(r, simplifiedchinese.GB18030.NewDecoder())
}

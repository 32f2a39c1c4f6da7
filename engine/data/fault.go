package data

import (
	"errors"
	"fmt"

	"llamatab/engine/message"
)

// Fault is what is wrong with a row, in English and as a code with what it is about.
type Fault = message.Fault

func fault(code, text string, pairs ...any) error { return message.NewFault(code, text, pairs...) }

// BadRow is a malformed row.
type BadRow struct {
	Line  int // of the file, from 1
	Cause error
}

func (b *BadRow) Error() string { return fmt.Sprintf("line %d: %v", b.Line, b.Cause) }

// Unwrap is the cause.
func (b *BadRow) Unwrap() error { return b.Cause }

// Why is the cause for who speaks another language: a remark, or where it has no code its text.
func (b *BadRow) Why() any {
	if f, ok := errors.AsType[*Fault](b.Cause); ok {
		return f.Remark
	}
	return b.Cause.Error()
}

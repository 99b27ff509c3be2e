// Package fault is the one shape of error that lowkey shows to people: what was wrong, with which value, against which limit, and the way out.
//
// It will not wrap every internal error: errors that a person can act on become a *fault.Error, the rest pass through with %w.
package fault

import (
	"errors"
	"strings"
)

// Kind says what sort of trouble an Error is, so that callers can act on it without reading text.
type Kind uint8

const (
	Unsupported Kind = iota + 1 // a combination, model family, tensor type or option this version does not do
	BadFile                     // a truncated, corrupt, hostile or malformed file
	OverBudget                  // more memory, context or time than was allowed
	Mismatch                    // two things that must agree (a session file and a model, say) do not
	BadInput                    // a flag, prompt, template argument or request that cannot be used
)

func (k Kind) String() string {
	switch k {
	case Unsupported:
		return "unsupported"
	case BadFile:
		return "bad file"
	case OverBudget:
		return "over budget"
	case Mismatch:
		return "mismatch"
	case BadInput:
		return "bad input"
	}
	return "error"
}

// Error names the thing, its value, the limit it broke and the way out. Empty parts are left out of the text.
type Error struct {
	Kind   Kind
	Thing  string // "model.gguf", "--kv k=q3", "tensor blk.0.attn_q.weight"
	Value  string // "type 39", "9000 tokens"
	Limit  string // "known types are ...", "the model's context is 8192 tokens"
	WayOut string // "use --ctx 8192 or less"
	Err    error  // the cause, if another error caused this one
}

// Error prints one line: "thing: value; limit; way out".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Thing)
	sep := ": "
	for _, part := range []string{e.Value, e.Limit, e.WayOut} {
		if part == "" {
			continue
		}
		b.WriteString(sep)
		b.WriteString(part)
		sep = "; "
	}
	if e.Err != nil {
		b.WriteString(" (")
		b.WriteString(e.Err.Error())
		b.WriteString(")")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an Error; pass "" for a part that does not apply.
func New(kind Kind, thing, value, limit, wayOut string) *Error {
	return &Error{Kind: kind, Thing: thing, Value: value, Limit: limit, WayOut: wayOut}
}

// Is reports whether err, or an error it wraps, is an Error of this kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// Because adds the error that caused this one; nil adds nothing.
func (e *Error) Because(cause error) *Error {
	e.Err = cause
	return e
}

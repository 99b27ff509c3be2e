package kernel

// Memory outside the Go heap: page-aligned, in huge pages where the system has them, given back to the byte.

import "github.com/lowkeylm/lowkey/fault"

// Mem is one reservation.
type Mem struct{ buf []byte }

// Bytes is the memory itself, zeroed at first.
func (m *Mem) Bytes() []byte { return m.buf }

// Alloc reserves bytes; memory is taken from the system when it is written. Zero bytes are legal.
func Alloc(bytes int64) (*Mem, error) {
	if bytes < 0 || bytes != int64(int(bytes)) {
		return nil, fault.New(fault.OverBudget, "memory", "more bytes than this machine can address", "", "lower --ctx")
	}
	return reserve(int(max(bytes, 1)))
}

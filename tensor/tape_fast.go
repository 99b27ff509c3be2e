// The tape's float32 loops on package kernel.
package tensor

import "github.com/lowkeylm/lowkey/kernel"

// NewTape records in float32 on the vector kernels, with the threads of pool.
func NewTape(pool *kernel.Pool) *Tape[float32] { return newTape[float32](plain[float32]{}, loops{pool}) }

package kernel

// What this machine can do at most: bytes read and operations done a second, so that a benchmark can print the share it reaches. Measured, not looked up; nothing here
// computes a result.

import (
	"fmt"
	"time"

	"github.com/lowkeylm/lowkey/fault"
)

// MeasureReadBandwidth reads `bytes` of memory (in huge pages where the system has them) with all threads of the pool, over and over for at least d, and returns the best
// pass in GB/s. Take the size of what will be read: a working set that fits a cache reads faster than one that does not.
func MeasureReadBandwidth(p *Pool, bytes int64, d time.Duration) (float64, error) {
	const piece = 1 << 18
	n := int(max(bytes, piece) &^ (piece - 1))
	m, err := Alloc(int64(n))
	if err != nil {
		return 0, err
	}
	defer m.Free()
	buf := m.Bytes()
	fill := func(i, _ int) {
		b := buf[i*piece:][:piece]
		for j := range b {
			b[j] = byte(i) // pages that were never written share one page of zeros
		}
	}
	p.Run(n/piece, fill)
	read := func(i, _ int) { readBytes(buf[i*piece:][:piece]) }
	best := 0.0
	for start := time.Now(); ; {
		t := time.Now()
		p.Run(n/piece, read)
		best = max(best, float64(n)/time.Since(t).Seconds()/1e9)
		if time.Since(start) >= d {
			return best, nil
		}
	}
}

// MeasurePeak returns what all threads of the pool reach together on registers alone, in 10^9 operations a second (a multiply-add counts two): "f32" for fused
// multiply-adds, "int8" for products of bytes summed in integers, each with the instructions of the level in use.
func MeasurePeak(p *Pool, what string) (float64, error) {
	round, ops := peakRound(what)
	if round == nil {
		return 0, fault.New(fault.BadInput, "peak", what, "f32 and int8 can be measured", "")
	}
	const rounds = 1 << 13 // some tens of us a call
	work := func(_, _ int) { round(rounds) }
	parts := p.Threads() * 40
	best := 0.0
	for range 20 {
		t := time.Now()
		p.Run(parts, work)
		best = max(best, float64(parts)*rounds*ops/time.Since(t).Seconds()/1e9)
	}
	return best, nil
}

// KernelName says which kernel multiplies m rows by a weight of format f in arithmetic a at the level in use: the format it is packed in, the instructions, and the largest
// tile, rows by columns.
func KernelName(f Format, a Arith, m int) string {
	packed := packedFormat(f, a)
	return fmt.Sprintf("%s %s", packed, kernelShape(packed, m))
}

// peakPlain is the f32 and int8 round in Go: 8 chains.
func peakPlain(what string) (func(n int), float64) {
	switch what {
	case "f32":
		return func(n int) {
			var a [8]float32
			x := float32(n)
			for range n {
				for i := range a {
					a[i] += float32(x * x)
				}
			}
			sinkFloat(a[0])
		}, 16
	case "int8":
		return func(n int) {
			var a [8]int32
			x := int8(n)
			for range n {
				for i := range a {
					a[i] += int32(x) * int32(x)
				}
			}
			sinkInt(a[0])
		}, 16
	}
	return nil, 0
}

//go:noinline
func sinkFloat(float32) {}

//go:noinline
func sinkInt(int32) {}

func readPlain(b []byte) {
	var sum byte
	for i := 0; i < len(b); i += 64 {
		sum += b[i]
	}
	sinkInt(int32(sum))
}

package bench

// The machine: what it can read and compute at most, measured by the kernels' own loops on the threads that the model gets.

import (
	"bufio"
	"math"
	"os"
	"runtime"
	"sort"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kernel"
)

// Machine describes the machine and what was measured on it.
type Machine struct {
	CPU      string      `json:"cpu"`
	Cores    int         `json:"cores"` // that the system lets this program use
	System   string      `json:"system"`
	Go       string      `json:"go"`
	Level    string      `json:"level"` // instruction level of the kernels
	Threads  int         `json:"threads"`
	PeakF32  float64     `json:"peak_f32_gops"` // multiply-adds in registers, counting two, in 10^9 a second
	PeakInt8 float64     `json:"peak_int8_gops"`
	Read     []Bandwidth `json:"read"` // by working set, smallest first

	pool  *kernel.Pool
	room  int64 // most that is read at once, where a memory budget bounds it; 0 = as much as is asked for
	short bool  // less was read than was asked for
}

// Bandwidth is the rate of reading a working set over and over, in huge pages where the system has them.
type Bandwidth struct {
	Bytes    int64   `json:"bytes"`
	GBPerSec float64 `json:"gb_per_sec"`
}

// readTime is how long one size is read for: long enough for a few passes, and for the clock to settle.
const readTime = 300 * time.Millisecond

// NewMachine measures the peaks; bandwidths are measured when asked for.
func NewMachine(threads int) (*Machine, error) {
	m := &Machine{CPU: cpuName(), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Level: kernel.Level(), Threads: threads,
		pool: kernel.NewPool(threads)}
	var err error
	if m.PeakF32, err = kernel.MeasurePeak(m.pool, "f32"); err == nil {
		m.PeakInt8, err = kernel.MeasurePeak(m.pool, "int8")
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close ends the threads; what was measured stays.
func (m *Machine) Close() {
	if m.pool != nil {
		m.pool.Close()
		m.pool = nil
	}
}

// Measure reads a working set, unless that was done before.
func (m *Machine) Measure(bytes int64) (float64, error) {
	i := sort.Search(len(m.Read), func(i int) bool { return m.Read[i].Bytes >= bytes })
	if i < len(m.Read) && m.Read[i].Bytes == bytes {
		return m.Read[i].GBPerSec, nil
	}
	v, err := kernel.MeasureReadBandwidth(m.pool, bytes, readTime)
	if err != nil {
		return 0, err
	}
	m.Read = append(m.Read, Bandwidth{})
	copy(m.Read[i+1:], m.Read[i:])
	m.Read[i] = Bandwidth{bytes, v}
	return v, nil
}

// within keeps what is read within half of what a model's memory budget leaves; the other half is the heap's.
func (m *Machine) within(l *lowkey.Model) {
	if l.Options.Memory > 0 {
		m.room = max(1<<20, l.Spare()/2)
	}
}

// Bandwidth is the rate for a working set of so many bytes: between the two powers of two around it, in proportion to the logarithm of the size.
func (m *Machine) Bandwidth(bytes int64) (float64, error) {
	low := int64(1 << 20)
	for low*2 <= bytes && (m.room == 0 || low*2 <= m.room) {
		low *= 2
	}
	a, err := m.Measure(low)
	if err != nil || bytes <= low {
		return a, err
	}
	if m.room > 0 && 2*low > m.room {
		m.short = true
		return a, nil
	}
	b, err := m.Measure(2 * low)
	if err != nil {
		return 0, err
	}
	t := math.Log2(float64(bytes) / float64(low))
	return a + t*(b-a), nil
}

// MachineFloor measures the bandwidth at sizes from 1 MiB up to most, on one thread and on all.
func MachineFloor(threads int, most int64, progress func(string)) ([]*Machine, error) {
	counts := []int{1}
	if threads > 1 {
		counts = append(counts, threads)
	}
	var out []*Machine
	for _, n := range counts {
		m, err := NewMachine(n)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		for size := int64(1 << 20); size <= most; size *= 4 {
			if progress != nil {
				progress("reading memory")
			}
			if _, err := m.Measure(size); err != nil {
				return nil, err
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// cpuName asks the system; "" if it does not tell.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

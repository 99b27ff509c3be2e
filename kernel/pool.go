package kernel

// Pool: persistent workers that share out the parts of one job at a time. Workers spin for some tens of microseconds after a job, because the next one of a token
// usually follows at once, and then park. Run waits for parts, not for workers: a worker that the system has put aside holds up nobody unless it is inside a part.

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is a set of threads with worker numbers 0 .. Threads-1; the caller of Run is worker 0. One Run at a time.
type Pool struct {
	threads int
	round   uint32 // number of the last job; Run's own
	job     func(part, worker int)
	parts   uint32

	// Words that threads write stand a cache line apart.
	_      [cacheLine]byte
	state  atomic.Uint64 // round << 32 | parts that nobody has taken
	_      [cacheLine]byte
	done   atomic.Uint32 // parts that are finished
	_      [cacheLine]byte
	parked atomic.Int32
	closed atomic.Bool
	mu     sync.Mutex
	wake   *sync.Cond
}

const (
	cacheLine = 64
	spinTime  = 50 * time.Microsecond
	spinCheck = 32 // pauses from one look at the clock to the next
)

// NewPool starts threads-1 workers.
func NewPool(threads int) *Pool {
	p := &Pool{threads: max(1, threads)}
	p.wake = sync.NewCond(&p.mu)
	for w := 1; w < p.threads; w++ {
		go p.work(w)
	}
	return p
}

// Threads is the number of workers, the caller included.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// Close ends the workers; the pool then works on the caller alone.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed.Store(true)
	p.mu.Unlock()
	p.wake.Broadcast()
}

// Run calls f for every part in [0, parts), each once, on whichever worker is free, and returns when all are done. A nil pool runs them in order. f must not call Run.
func (p *Pool) Run(parts int, f func(part, worker int)) {
	if parts <= 0 {
		return
	}
	if p == nil || p.threads == 1 || parts == 1 {
		for i := 0; i < parts; i++ {
			f(i, 0)
		}
		return
	}
	p.job, p.parts = f, uint32(parts)
	p.done.Store(0)
	p.round++
	p.state.Store(uint64(p.round)<<32 | uint64(parts))
	if p.parked.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
	p.take(p.round, 0)
	for spins := 1; p.done.Load() < p.parts; spins++ {
		pause()
		if spins%(1<<10) == 0 {
			runtime.Gosched()
		}
	}
	p.job = nil
}

// take works on parts of a round until none is left. Whoever has taken a part may read job and parts: Run does not return before it is done.
func (p *Pool) take(round uint32, worker int) {
	n := uint32(0)
	for {
		s := p.state.Load()
		if uint32(s>>32) != round || uint32(s) == 0 {
			break
		}
		if p.state.CompareAndSwap(s, s-1) {
			p.job(int(p.parts-uint32(s)), worker)
			n++
		}
	}
	if n > 0 {
		p.done.Add(n)
	}
}

// waiting reports whether there is nothing new since the round seen.
func (p *Pool) waiting(seen uint32) bool {
	return uint32(p.state.Load()>>32) == seen && !p.closed.Load()
}

func (p *Pool) work(worker int) {
	seen := uint32(0)
	for {
		start := time.Now()
		for spins := 1; p.waiting(seen); spins++ {
			pause()
			if spins%spinCheck == 0 && time.Since(start) > spinTime {
				p.park(seen)
			}
		}
		if p.closed.Load() {
			return
		}
		seen = uint32(p.state.Load() >> 32)
		p.take(seen, worker)
	}
}

func (p *Pool) park(seen uint32) {
	p.mu.Lock()
	p.parked.Add(1)
	for p.waiting(seen) {
		p.wake.Wait()
	}
	p.parked.Add(-1)
	p.mu.Unlock()
}

package kernel

// Pool: persistent workers that share out the parts of one job at a time. Workers spin for some tens of microseconds after a job, because the next one of a token
// usually follows at once, and then park.

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool is a set of threads with worker numbers 0 .. Threads-1; the caller of Run is worker 0. One Run at a time.
type Pool struct {
	threads int
	job     func(part, worker int)
	parts   int64
	next    atomic.Int64  // next part to take
	round   atomic.Uint32 // changes when a job is posted
	busy    atomic.Int32  // workers still inside the job
	parked  atomic.Int32
	mu      sync.Mutex
	wake    *sync.Cond
	closed  bool
}

const spinRounds = 20000 // some tens of us

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

// Close ends the workers.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.round.Add(1)
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
	p.job, p.parts = f, int64(parts)
	p.next.Store(0)
	p.busy.Store(int32(p.threads - 1))
	p.round.Add(1)
	if p.parked.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
	p.take(0)
	for spins := 0; p.busy.Load() > 0; spins++ {
		pause()
		if spins > spinRounds {
			runtime.Gosched()
		}
	}
	p.job = nil
}

func (p *Pool) take(worker int) {
	for {
		i := p.next.Add(1) - 1
		if i >= p.parts {
			return
		}
		p.job(int(i), worker)
	}
}

func (p *Pool) work(worker int) {
	seen := uint32(0)
	for {
		for spins := 0; p.round.Load() == seen; spins++ {
			if spins < spinRounds {
				pause()
				continue
			}
			p.park(seen)
		}
		seen++
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		p.take(worker)
		p.busy.Add(-1)
	}
}

func (p *Pool) park(seen uint32) {
	p.mu.Lock()
	p.parked.Add(1)
	for p.round.Load() == seen {
		p.wake.Wait()
	}
	p.parked.Add(-1)
	p.mu.Unlock()
}

//go:noinline
func pause() {}

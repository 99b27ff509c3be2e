package kvcache

// Recurrent state: numbers that a design keeps of a sequence however long it is, as the last columns of a convolution or a moving average, in f32.
//
// A record holds the states of all layers, side by side, and lies in the arena like a page. A sequence holds one record: the state after its committed rows. While a step
// runs it has a second one, which Commit makes the first and Rollback gives back; a step in parts turns between two. A record is never written once it is committed, so prefix blocks and sequences share it.
//
// A prefix block keeps the state after its page: without it, its rows cannot be continued. These snapshots lie in a size class of their own, so that their chunks come back
// when the blocks are forgotten, and are taken only where the budget has room left: a step never fails for the lack of one.
//
// It does not go back: a sequence is cut only where a block has kept the state, or where it is spent: that of a layer whose rows cover several tokens belongs to the open row.

import (
	"fmt"
	"unsafe"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// noRecord stands where there is none: an empty sequence, whose state is zeros.
const noRecord = ^uint32(0)

// stateSize is how the states of all layers lie in a record.
type stateSize struct {
	from   []int // by layer: its first number; one more for the end
	record int   // bytes of a record, rounded up to kernel.PageUnit; 0 = no layer has a state
}

func stateSizeOf(layers []Layout) stateSize {
	z := stateSize{from: make([]int, 1, len(layers)+1)}
	n := 0
	for _, l := range layers {
		n += l.State
		z.from = append(z.from, n)
	}
	z.record = (4*n + kernel.PageUnit - 1) / kernel.PageUnit * kernel.PageUnit
	return z
}

// bytes is what the states take, without the record's end.
func (z stateSize) bytes() int { return 4 * z.from[len(z.from)-1] }

// snapshot is the state after so many rows, kept for the prefix block that ends there.
type snapshot struct {
	rows   int
	record uint32
}

// record is the numbers of all layers' states.
func (s *Store) record(r uint32) []float32 {
	b := s.arena.page(r, s.states.record)
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// State is the layer's state after the committed rows; zeros for an empty sequence. Not to be changed.
func (q *Sequence) State(layer int) []float32 {
	s := q.store
	from, to := s.states.from[layer], s.states.from[layer+1]
	if q.state == noRecord {
		return s.zeros[from:to]
	}
	return s.record(q.state)[from:to]
}

// KeepsState reports whether the state after a row that is not the step's last is wanted too: it ends a prefix block.
func (q *Sequence) KeepsState(row int) bool { return (row+1)%q.store.block == 0 }

// PutState gives the layer's state after row `row`, which must be reserved: of the step's last row, and before it of each row that KeepsState asks for.
func (q *Sequence) PutState(layer, row int, src []float32) {
	s := q.store
	from, to := s.states.from[layer], s.states.from[layer+1]
	copy(s.record(q.next)[from:to], src)
	if q.KeepsState(row) {
		if r := q.keep(row + 1); r != noRecord {
			copy(s.record(r)[from:to], src)
		}
	}
}

// keep finds or takes the record for a snapshot; noRecord where the budget has none left.
func (q *Sequence) keep(rows int) uint32 {
	for _, k := range q.kept {
		if k.rows == rows {
			return k.record
		}
	}
	r, ok := q.store.arena.take(q.store.snapshots)
	if !ok {
		r = noRecord
	}
	q.kept = append(q.kept, snapshot{rows, r})
	return r
}

// wantsState reports whether n more rows need a record that the sequence does not have, and wantsSpare whether they need a second one: where they are committed in parts, each part
// writes a record while it reads another, and the one before cannot serve again.
func (q *Sequence) wantsState(n int) bool {
	return q.store.states.record > 0 && n > 0 && q.next == noRecord
}

func (q *Sequence) wantsSpare(n int) bool {
	return q.store.states.record > 0 && q.Step(n) < n && q.spare == noRecord && (q.state == noRecord || q.store.arena.shared(q.state))
}

func (q *Sequence) wantedStates(n int) (records int) {
	if q.wantsState(n) {
		records++
	}
	if q.wantsSpare(n) {
		records++
	}
	return records
}

// reserveState takes the records of a step.
func (q *Sequence) reserveState(n int) {
	if q.wantsState(n) {
		q.next, _ = q.store.arena.get(q.store.states.record)
	}
	if q.wantsSpare(n) {
		q.spare, _ = q.store.arena.get(q.store.states.record)
	}
}

// commitState makes the step's state the sequence's. Where more rows are reserved their state goes to the spare record, or to that which the sequence has just given back.
func (q *Sequence) commitState() {
	if q.next == noRecord {
		return
	}
	q.setState(q.next)
	q.next = noRecord
	if q.room > q.rows {
		if q.next, q.spare = q.spare, noRecord; q.next == noRecord {
			q.next, _ = q.store.arena.get(q.store.states.record)
		}
	}
}

// publishState gives a block that ends at so many rows the snapshot taken there, if it has none yet.
func (q *Sequence) publishState(b *block, rows int) {
	for i := range q.kept {
		if k := &q.kept[i]; k.rows == rows && b.state == noRecord {
			b.state, k.record = k.record, noRecord
		}
	}
}

// dropSnapshots gives back those that no block wanted, and dropState all that a step took.
func (q *Sequence) dropSnapshots() {
	for _, k := range q.kept {
		q.store.release(&k.record)
	}
	q.kept = q.kept[:0]
}

func (q *Sequence) dropState() {
	q.dropSnapshots()
	q.store.release(&q.next)
	q.store.release(&q.spare)
}

// setState changes the committed record; the reference to r becomes the sequence's.
func (q *Sequence) setState(r uint32) {
	q.store.release(&q.state)
	q.state = r
}

// shareState makes the state after a block the sequence's.
func (q *Sequence) shareState(b *block) {
	if q.store.states.record > 0 {
		q.store.arena.share(b.state)
		q.setState(b.state)
	}
}

// release gives one reference to a record back.
func (s *Store) release(r *uint32) {
	if *r != noRecord {
		s.arena.put(*r)
		*r = noRecord
	}
}

// cutState says why the state cannot go back to what it was after so many tokens.
func (q *Sequence) cutState(rows int) error {
	s := q.store
	if rows == q.rows || rows == 0 || s.spent(rows) || rows%s.block == 0 && q.blockAt(rows).state != noRecord {
		return nil
	}
	return fault.New(fault.Unsupported, "truncate", fmt.Sprintf("%d tokens", rows),
		fmt.Sprintf("layers keep a state that runs on; it is kept at the ends of published blocks of %d tokens alone", s.block), "start the sequence again")
}

// truncateState goes back; cutState allows it.
func (q *Sequence) truncateState(rows int) {
	switch s := q.store; {
	case rows == 0:
		s.release(&q.state)
	case rows == q.rows || s.spent(rows): // what is there will not be read
	default:
		q.shareState(q.blockAt(rows))
	}
}

// blockAt is the sequence's prefix block that ends at so many tokens.
func (q *Sequence) blockAt(rows int) *block {
	b := q.chain
	for end := q.hashed; end > rows; end -= q.store.block {
		b = b.parent
	}
	return b
}

// spent reports whether no layer reads its state after so many tokens: rows that cover several tokens are whole there, and other layers have none.
func (s *Store) spent(rows int) bool {
	for i, ln := range s.lanes {
		if s.cfg.Layers[i].State > 0 && (ln.rowTokens == 1 || rows%ln.rowTokens != 0) {
			return false
		}
	}
	return true
}

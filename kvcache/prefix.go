package kvcache

// Prefix sharing: blocks of one page of tokens (of as many as fill whole pages of every lane, where rows cover several tokens), found by a chained hash over owner, model, numerics and tokens, and by comparing the tokens themselves. A
// block holds its pages of each lane and, where layers have a recurrent state, that after its tokens. It can be found only once its rows are committed.
//
// Sliding lanes keep pages for the last window of each chain alone; a prefix that ends elsewhere is a hit only as far as its sliding lanes have their window.

import (
	"container/list"
	"crypto/sha256"
	"slices"
)

type block struct {
	parent *block
	hash   [sha256.Size]byte
	tokens []int32
	pages  []uint32 // by Store.slots
	has    []bool   // the page is held
	state  uint32   // record of the state after the block
	use    *list.Element
}

type prefixIndex struct {
	blocks map[[sha256.Size]byte]*block
	recent *list.List // front = most recently used
}

func newPrefixIndex() *prefixIndex {
	return &prefixIndex{blocks: map[[sha256.Size]byte]*block{}, recent: list.New()}
}

// root is what the hashes of a sequence's blocks begin with.
func (q *Sequence) root() string {
	if q.digest == "" {
		return q.owner
	}
	return q.owner + "\x00" + q.digest
}

func (s *Store) blockHash(parent *block, owner string, tokens []int32) [sha256.Size]byte {
	buf := make([]byte, 0, 2*sha256.Size+len(owner)+4*len(tokens))
	if parent != nil {
		buf = append(buf, parent.hash[:]...)
	} else {
		buf = append(append(buf, s.root[:]...), owner...)
	}
	return sha256.Sum256(appendTokens(buf, tokens))
}

// publish makes the full pages since the last call findable.
func (q *Sequence) publish() {
	s, p := q.store, q.store.block
	for q.hashed+p <= q.rows {
		tokens := q.tokens[q.hashed:][:p]
		hash := s.blockHash(q.chain, q.root(), tokens)
		b := s.prefix.blocks[hash]
		if b == nil {
			b = &block{parent: q.chain, hash: hash, tokens: slices.Clone(tokens), pages: make([]uint32, s.slots[len(s.lanes)]), has: make([]bool, s.slots[len(s.lanes)]), state: noRecord}
			b.use = s.prefix.recent.PushFront(b)
			s.prefix.blocks[hash] = b
		} else {
			s.prefix.recent.MoveToFront(b.use)
		}
		for i := range q.lanes {
			t, first := &q.lanes[i], q.hashed/s.lanes[i].tokens
			for slot := s.slots[i]; slot < s.slots[i+1]; slot++ {
				if n := first + slot - s.slots[i]; s.lanes[i].pageBytes > 0 && !b.has[slot] && n >= t.first {
					b.pages[slot], b.has[slot] = t.pages[n-t.first], true
					s.arena.share(b.pages[slot])
				}
			}
		}
		q.chain, q.hashed = b, q.hashed+p
		q.publishState(b, q.hashed)
		s.prefix.trimSliding(s, b)
	}
}

// trimSliding gives back, for sliding lanes, the pages of the block that lies just beyond the window that ends with block b.
func (x *prefixIndex) trimSliding(s *Store, b *block) {
	for i, ln := range s.lanes {
		if ln.window == 0 {
			continue
		}
		old := b
		for n := (ln.window+s.block-1)/s.block + 1; n > 0 && old != nil; n-- {
			old = old.parent
		}
		for slot := s.slots[i]; old != nil && slot < s.slots[i+1]; slot++ {
			old.forget(s, slot)
		}
	}
}

// forget gives one page of a block back.
func (b *block) forget(s *Store, slot int) {
	if b.has[slot] {
		s.arena.put(b.pages[slot])
		b.has[slot] = false
	}
}

// pageAt is where page n of lane i lies in a chain.
func (s *Store) pageAt(chain []*block, i, n int) (b *block, slot int) {
	each := s.slots[i+1] - s.slots[i]
	return chain[n/each], s.slots[i] + n%each
}

// pagesOf is which pages of lane i a sequence that ends with a chain of so many blocks holds: [first, last).
func (s *Store) pagesOf(blocks, i int) (first, last int) {
	ln := &s.lanes[i]
	if ln.pageBytes == 0 {
		return 0, 0
	}
	if ln.window > 0 {
		first = max(0, blocks*s.block+1-ln.window) / ln.tokens
	}
	return first, blocks * s.block / ln.tokens
}

// Adopt fills an empty sequence with the longest published prefix of tokens, leaving at least one token to compute. It returns the number of tokens taken over.
func (q *Sequence) Adopt(tokens []int32) int {
	s, p := q.store, q.store.block
	var chain []*block
	var at *block
	for n := 0; (n+1)*p < len(tokens); n++ {
		b := s.prefix.blocks[s.blockHash(at, q.root(), tokens[n*p:][:p])]
		if b == nil || !slices.Equal(b.tokens, tokens[n*p:][:p]) {
			break
		}
		chain, at = append(chain, b), b
	}
	for len(chain) > 0 && !s.whole(chain) {
		chain = chain[:len(chain)-1]
	}
	for n := len(chain) - 1; n >= 0; n-- { // parents end up more recent than their children
		s.prefix.recent.MoveToFront(chain[n].use)
	}
	rows := len(chain) * p
	for i := range q.lanes {
		t := &q.lanes[i]
		first, last := s.pagesOf(len(chain), i)
		t.first = first
		for n := first; n < last; n++ {
			b, slot := s.pageAt(chain, i, n)
			s.arena.share(b.pages[slot])
			t.pages = append(t.pages, b.pages[slot])
		}
	}
	q.rows, q.tokens, q.hashed, q.chain = rows, append(q.tokens, tokens[:rows]...), rows, nil
	if rows > 0 {
		q.chain = chain[len(chain)-1]
		q.shareState(q.chain)
	}
	return rows
}

// whole reports whether every lane has the pages that a sequence ending with this chain needs, and the state after it is kept.
func (s *Store) whole(chain []*block) bool {
	if s.states.record > 0 && chain[len(chain)-1].state == noRecord {
		return false
	}
	for i := range s.lanes {
		first, last := s.pagesOf(len(chain), i)
		for n := first; n < last; n++ {
			if b, slot := s.pageAt(chain, i, n); !b.has[slot] {
				return false
			}
		}
	}
	return true
}

// evict forgets the least recently used block and reports whether there was one. Pages that a sequence still uses live on.
func (x *prefixIndex) evict(s *Store) bool {
	last := x.recent.Back()
	if last == nil {
		return false
	}
	b := x.recent.Remove(last).(*block)
	delete(x.blocks, b.hash)
	for slot := range b.has {
		b.forget(s, slot)
	}
	s.release(&b.state)
	return true
}

// ForgetPrefixes drops every published prefix that no sequence uses.
func (s *Store) ForgetPrefixes() {
	for s.prefix.evict(s) {
	}
}

package kvcache

// Prefix sharing: blocks of one page of tokens, found by a chained hash over owner, model, numerics and tokens, and by comparing the tokens themselves. A
// block holds one page of each lane and, where layers have a recurrent state, that after its page. It can be found only once its rows are committed.
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
	pages  []uint32 // by lane
	has    []bool   // by lane: the page is held
	state  uint32   // record of the state after the page
	use    *list.Element
}

type prefixIndex struct {
	blocks map[[sha256.Size]byte]*block
	recent *list.List // front = most recently used
}

func newPrefixIndex() *prefixIndex {
	return &prefixIndex{blocks: map[[sha256.Size]byte]*block{}, recent: list.New()}
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
	s, p := q.store, q.store.cfg.PageRows
	for q.hashed+p <= q.rows {
		tokens := q.tokens[q.hashed:][:p]
		hash := s.blockHash(q.chain, q.owner, tokens)
		b := s.prefix.blocks[hash]
		if b == nil {
			b = &block{parent: q.chain, hash: hash, tokens: slices.Clone(tokens), pages: make([]uint32, len(s.lanes)), has: make([]bool, len(s.lanes)), state: noRecord}
			b.use = s.prefix.recent.PushFront(b)
			s.prefix.blocks[hash] = b
		} else {
			s.prefix.recent.MoveToFront(b.use)
		}
		for i := range q.lanes {
			t, n := &q.lanes[i], q.hashed/p
			if s.lanes[i].pageBytes > 0 && !b.has[i] && n >= t.first {
				b.pages[i], b.has[i] = t.pages[n-t.first], true
				s.arena.share(b.pages[i])
			}
		}
		q.chain, q.hashed = b, q.hashed+p
		q.publishState(b, q.hashed)
		s.prefix.trimSliding(s, b)
	}
}

// trimSliding gives back, for sliding lanes, the page that lies just beyond the window that ends with block b.
func (x *prefixIndex) trimSliding(s *Store, b *block) {
	for i, ln := range s.lanes {
		if ln.window == 0 {
			continue
		}
		old := b
		for n := (ln.window+s.cfg.PageRows-1)/s.cfg.PageRows + 1; n > 0 && old != nil; n-- {
			old = old.parent
		}
		if old != nil && old.has[i] {
			s.arena.put(old.pages[i])
			old.has[i] = false
		}
	}
}

// Adopt fills an empty sequence with the longest published prefix of tokens, leaving at least one token to compute. It returns the number of rows taken over.
func (q *Sequence) Adopt(tokens []int32) int {
	s, p := q.store, q.store.cfg.PageRows
	var chain []*block
	var at *block
	for n := 0; (n+1)*p < len(tokens); n++ {
		b := s.prefix.blocks[s.blockHash(at, q.owner, tokens[n*p:][:p])]
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
		if s.lanes[i].pageBytes == 0 {
			continue
		}
		t.first = 0
		if w := s.lanes[i].window; w > 0 {
			t.first = max(0, rows+1-w) / p
		}
		for _, b := range chain[min(t.first, len(chain)):] {
			s.arena.share(b.pages[i])
			t.pages = append(t.pages, b.pages[i])
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
	for i, ln := range s.lanes {
		if ln.pageBytes == 0 {
			continue
		}
		from := 0
		if ln.window > 0 {
			from = max(0, len(chain)*s.cfg.PageRows+1-ln.window) / s.cfg.PageRows
		}
		for _, b := range chain[min(from, len(chain)):] {
			if !b.has[i] {
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
	for i, has := range b.has {
		if has {
			s.arena.put(b.pages[i])
			b.has[i] = false
		}
	}
	s.release(&b.state)
	return true
}

// ForgetPrefixes drops every published prefix that no sequence uses.
func (s *Store) ForgetPrefixes() {
	for s.prefix.evict(s) {
	}
}

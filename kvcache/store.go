package kvcache

// The store and its sequences: page tables by lane, rows appended and attended, truncation, copy-on-write.

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// DefaultPageRows is the number of rows in a page unless the configuration says otherwise.
const DefaultPageRows = 64

// Config describes a store. Every layer has a layout; a layer without streams owns nothing.
type Config struct {
	Layers      []Layout
	Spec        Spec
	PageRows    int    // 0 = DefaultPageRows; a multiple of kernel.TileRows
	Budget      int64  // bytes for pages, hard
	MaxRows     int    // longest sequence: sizes the page tables, so that nothing on the heap grows with the context
	Vocab       int    // token ids in a saved file must be below; 0 = any
	Fingerprint string // of the model; goes into prefix hashes and saved files
	Numerics    string // how the rows were computed; goes into both as well
}

// Store holds the pages of all sequences of one model.
type Store struct {
	cfg    Config
	lanes  []lane
	arena  *arena
	prefix *prefixIndex
	code   []byte // scratch of one encoded row
	root   [sha256.Size]byte

	block int   // tokens of a prefix block: whole pages of every lane
	slots []int // by lane: where its pages begin in the list of a block's pages; one more for the end

	states    stateSize
	sealer    kernel.Sealer
	snapshots *class
	zeros     []float32 // the states of an empty sequence
}

// Resolve turns layouts and a spec into the types of each layer's streams; a name that no layer knows is refused.
func Resolve(layers []Layout, spec Spec) ([][]Type, error) {
	used := map[string]bool{}
	types := make([][]Type, len(layers))
	for i, l := range layers {
		t, err := spec.resolve(l, used)
		if err != nil {
			return nil, err
		}
		types[i] = t
	}
	for name := range spec.byName {
		if !used[name] {
			return nil, fault.New(fault.BadInput, "--kv "+spec.text, fmt.Sprintf("no stream is called %q", name), "this model's streams: "+streamNames(layers), "name one of them, or k and v")
		}
	}
	return types, nil
}

func streamNames(layers []Layout) string {
	names, seen := "", map[string]bool{}
	for _, l := range layers {
		for _, s := range l.Streams {
			if !seen[s.Name] {
				seen[s.Name] = true
				names += " " + s.Name
			}
		}
	}
	if names == "" {
		return "none"
	}
	return names[1:]
}

// New reserves the budget. Nothing is taken from the machine until pages are written.
func New(cfg Config) (*Store, error) {
	if cfg.PageRows == 0 {
		cfg.PageRows = DefaultPageRows
	}
	if cfg.PageRows%kernel.TileRows != 0 || cfg.PageRows&(cfg.PageRows-1) != 0 || cfg.PageRows < 0 {
		return nil, fault.New(fault.BadInput, "page size", fmt.Sprintf("%d rows", cfg.PageRows), fmt.Sprintf("a power of two, at least %d", kernel.TileRows), "leave it out for 64")
	}
	lanes, err := resolveLanes(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, lanes: lanes, states: stateSizeOf(cfg.Layers)}
	sizes, most := []int{}, 0
	s.block = cfg.PageRows
	for _, ln := range s.lanes {
		s.block = s.block / gcd(s.block, ln.tokens) * ln.tokens
	}
	s.slots = make([]int, 1, len(lanes)+1)
	for i, ln := range s.lanes {
		s.slots = append(s.slots, s.slots[i]+s.block/ln.tokens)
	}
	for _, ln := range s.lanes {
		if ln.pageBytes > 0 {
			sizes = append(sizes, ln.pageBytes)
		}
		for _, p := range ln.planes {
			most = max(most, kernel.RowBytes(p.Codec, p.Width), kernel.RowBytes(p.Codec.Staging(), p.Width))
		}
		if ln.stage > 0 {
			sizes = append(sizes, ln.stage)
		}
	}
	if len(sizes) == 0 {
		return nil, fault.New(fault.Unsupported, "model", "no layer owns a cache", "", "give a layer_map in which some layer reads its own rows")
	}
	if s.states.record > 0 {
		sizes = append(sizes, s.states.record)
	}
	if s.arena, err = newArena(cfg.Budget, sizes); err != nil {
		return nil, err
	}
	if s.states.record > 0 {
		s.snapshots, s.zeros = s.arena.newClass(s.states.record), make([]float32, s.states.bytes()/4)
	}
	s.code = make([]byte, most)
	s.prefix = newPrefixIndex()
	s.root = sha256.Sum256([]byte(cfg.Fingerprint + "\x00" + cfg.Numerics + "\x00" + cfg.Spec.text))
	return s, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func resolveLanes(cfg Config) ([]lane, error) {
	types, err := Resolve(cfg.Layers, cfg.Spec)
	if err != nil {
		return nil, err
	}
	lanes := make([]lane, len(cfg.Layers))
	for i, l := range cfg.Layers {
		if lanes[i], err = resolveLane(l, types[i], cfg.PageRows); err != nil {
			return nil, err
		}
	}
	return lanes, nil
}

// Close gives the arena back to the machine.
func (s *Store) Close() { s.arena.mem.Free() }

// PageRows is the number of rows in a page.
func (s *Store) PageRows() int { return s.cfg.PageRows }

// Planes returns where layer's streams lie in its pages, and Types how each is stored.
func (s *Store) Planes(layer int) []kernel.Plane { return s.lanes[layer].planes }
func (s *Store) Types(layer int) []Type          { return s.lanes[layer].types }

// Usage is what the store holds now, in bytes.
type Usage struct {
	Pages  int64 // pages that some sequence or prefix refers to
	Held   int64 // chunks given to size classes
	Waste  int64 // of Held: ends of chunks too short for a page
	Budget int64
}

// Usage reports the bytes in use now.
func (s *Store) Usage() Usage {
	held, waste := s.arena.held()
	return Usage{Pages: s.arena.inUse, Held: held, Waste: waste, Budget: s.cfg.Budget}
}

// Sequence is one sequence of tokens, with their rows in every lane: a row a token, fewer where a lane's rows cover several. Not safe for concurrent use; neither is the store.
type Sequence struct {
	store  *Store
	lanes  []table
	rows   int     // committed tokens
	room   int     // tokens that are committed or reserved
	tokens []int32 // the tokens behind the rows, for prefixes and saved files
	owner  string
	digest string // of given
	given  any    // what rows depend on beside the tokens; nil: nothing
	chain  *block // last published prefix block
	hashed int    // tokens that the chain covers

	state uint32     // record of the recurrent state after the committed rows
	next  uint32     // of the state after the reserved ones
	spare uint32     // takes the place of next when a part of the reserved rows is committed and what was the state cannot
	kept  []snapshot // of rows in this step that end a page
}

// table is one lane's page list.
type table struct {
	pages []uint32 // from page number first on
	first int
	stage uint32 // of the open page: that of the next token; noRecord where none is held
}

// NewSequence makes an empty sequence. Prefixes are shared between sequences of the same owner alone.
func (s *Store) NewSequence(owner string) *Sequence {
	q := &Sequence{store: s, lanes: make([]table, len(s.lanes)), tokens: make([]int32, 0, s.cfg.MaxRows), owner: owner, state: noRecord, next: noRecord, spare: noRecord}
	for i, ln := range s.lanes {
		q.lanes[i].stage = noRecord
		if ln.pageBytes > 0 {
			q.lanes[i].pages = make([]uint32, 0, (s.cfg.MaxRows+ln.tokens-1)/ln.tokens+1)
		}
	}
	return q
}

// Give attaches to an empty sequence what its rows will depend on beside the tokens, such as retrieved vectors. Prefixes are shared, and saved sessions restored, where the digest is the same;
// it stays when the sequence is closed and begun again. Given returns it.
func (q *Sequence) Give(digest string, what any) { q.digest, q.given = digest, what }
func (q *Sequence) Given() any                   { return q.given }

// Rows is the number of committed tokens, each with a row of its own where lanes do not share them out; Tokens the tokens behind them (not to be changed).
func (q *Sequence) Rows() int       { return q.rows }
func (q *Sequence) Tokens() []int32 { return q.tokens }

// Reserve makes room for n more tokens in every lane, or changes nothing and says what was missing. A page that others share is copied before it is written.
func (q *Sequence) Reserve(n int) error {
	s := q.store
	if q.rows+n > s.cfg.MaxRows {
		return fault.New(fault.OverBudget, "context", fmt.Sprintf("%d tokens", q.rows+n), fmt.Sprintf("--ctx is %d", s.cfg.MaxRows), "shorten the prompt, start afresh, or raise --ctx")
	}
	for {
		missing := q.missing(n)
		if missing == 0 {
			break
		}
		if !s.prefix.evict(s) {
			u := s.Usage()
			return fault.New(fault.OverBudget, "KV cache", fmt.Sprintf("%d rows need %d bytes more", q.rows+n, missing), fmt.Sprintf("budget %d bytes, %d in use", u.Budget, u.Pages),
				"raise --memory, lower --ctx, or choose a smaller --kv type")
		}
	}
	for i := range q.lanes {
		ln, t := &s.lanes[i], &q.lanes[i]
		if ln.pageBytes == 0 {
			continue
		}
		p := ln.tokens
		if at := q.rows/p - t.first; q.rows%p != 0 && at < len(t.pages) && s.arena.shared(t.pages[at]) {
			fresh, _ := s.arena.get(ln.pageBytes)
			copy(s.arena.page(fresh, ln.pageBytes), s.arena.page(t.pages[at], ln.pageBytes))
			s.arena.put(t.pages[at])
			t.pages[at] = fresh
		}
		for (t.first+len(t.pages))*p < q.rows+n {
			page, _ := s.arena.get(ln.pageBytes)
			t.pages = append(t.pages, page)
		}
		if q.wantsStage(i, n) {
			t.stage, _ = s.arena.get(ln.stage)
		}
	}
	q.room = q.rows + n
	q.reserveState(n)
	return nil
}

// missing is the number of bytes that Reserve(n) cannot get now. Free chunks are given to size classes in the order in which lanes ask.
func (q *Sequence) missing(n int) int64 {
	s := q.store
	chunks := len(s.arena.free)
	var missing int64
	for _, c := range s.arena.sizes {
		pages := 0
		for i := range q.lanes {
			if s.lanes[i].pageBytes == c.pageBytes {
				pages += q.wanted(i, n)
			}
			if s.lanes[i].stage == c.pageBytes && q.wantsStage(i, n) {
				pages++
			}
		}
		if s.states.record == c.pageBytes {
			pages += q.wantedStates(n)
		}
		lack := pages - len(c.free)
		if lack <= 0 {
			continue
		}
		if want := (lack + c.perChunk - 1) / c.perChunk; want > chunks {
			missing += int64(lack-chunks*c.perChunk) * int64(c.pageBytes)
			chunks = 0
		} else {
			chunks -= want
		}
	}
	return missing
}

// wanted is the number of pages that n more tokens need in lane i: new ones, and a copy of the last if it is shared.
func (q *Sequence) wanted(i, n int) int {
	s, p, t := q.store, q.store.lanes[i].tokens, &q.lanes[i]
	pages := max(0, (q.rows+n+p-1)/p-t.first-len(t.pages))
	if at := q.rows/p - t.first; q.rows%p != 0 && at < len(t.pages) && s.arena.shared(t.pages[at]) {
		pages++
	}
	return pages
}

// Put writes row `row` of stream `stream` of a layer: src [heads*width]. Rows must be reserved, and where the type needs whole pages they must be of one step: see Step.
func (q *Sequence) Put(layer, stream, row int, src []float32) {
	s := q.store
	ln, t := &s.lanes[layer], &q.lanes[layer]
	p := s.cfg.PageRows
	plane, page := ln.planes[stream], s.arena.page(t.pages[row/p-t.first], ln.pageBytes)
	if plane.Codec.Columns() {
		plane, page = plane.Open(), s.arena.page(t.stage, ln.stage)
	}
	plane.Put(page, row%p, src, s.code)
}

// Span describes a lane for attention: n queries at the rows after the committed ones; q0 is where they lie in the caller's list.
func (q *Sequence) Span(layer, q0, n int) kernel.Span { return q.SpanAt(layer, q0, q.rows, n) }

// SpanAt is Span for n queries at rows row, row+1 ..: each sees the rows up to its own.
func (q *Sequence) SpanAt(layer, q0, row, n int) kernel.Span {
	ln, t := &q.store.lanes[layer], &q.lanes[layer]
	return kernel.Span{Arena: q.store.arena.buf, Pages: t.pages, PageBytes: ln.pageBytes, First: t.first, Rows: row + n, Q0: q0, N: n, Open: q.rows / ln.tokens * q.store.cfg.PageRows, Stage: t.stage}
}

// Commit makes the rows of these tokens, which were reserved, part of the sequence, seals the pages that they fill, gives back pages that slid out of their windows, and publishes
// full pages as prefix.
func (q *Sequence) Commit(tokens []int32) {
	q.seal(len(tokens))
	q.commit(tokens)
}

func (q *Sequence) commit(tokens []int32) {
	q.rows += len(tokens)
	q.tokens = append(q.tokens, tokens...)
	q.commitState()
	q.publish()
	q.dropSnapshots()
	for i := range q.lanes {
		q.slide(i)
	}
	q.dropStages()
}

func (q *Sequence) slide(i int) {
	ln, t, p := &q.store.lanes[i], &q.lanes[i], q.store.cfg.PageRows
	if ln.window == 0 {
		return
	}
	for t.first < max(0, q.rows+1-ln.window)/p && len(t.pages) > 0 {
		q.store.arena.put(t.pages[0])
		copy(t.pages, t.pages[1:])
		t.pages = t.pages[:len(t.pages)-1]
		t.first++
	}
}

// Truncate drops the tokens from rows on. It fails, changing nothing, where a sliding lane no longer holds the window that the shorter sequence needs, where a row covers
// tokens on both sides of the cut, where the cut would open a sealed page (its rows' own precision is gone), and where the state after its rows is not kept.
func (q *Sequence) Truncate(rows int) error {
	if err := q.cut(rows); err != nil {
		return err
	}
	q.truncateState(rows)
	q.giveBack(rows)
	q.rows, q.room, q.tokens = rows, rows, q.tokens[:rows]
	q.dropStages()
	for q.hashed > rows {
		q.chain = q.chain.parent
		q.hashed -= q.store.block
	}
	return nil
}

// Cut is the largest number of tokens, at most rows, to which Truncate can cut; 0 if there is none within a prefix block.
func (q *Sequence) Cut(rows int) int {
	for n := rows; n > max(0, rows-q.store.block); n-- {
		if q.cut(n) == nil {
			return n
		}
	}
	return 0
}

// cut says why the sequence cannot be cut to so many tokens.
func (q *Sequence) cut(rows int) error {
	p := q.store.cfg.PageRows
	if rows < 0 || rows > q.rows {
		return fault.New(fault.BadInput, "truncate", fmt.Sprintf("%d rows", rows), fmt.Sprintf("the sequence has %d", q.rows), "")
	}
	for i, ln := range q.store.lanes {
		if ln.window > 0 && q.lanes[i].first > max(0, rows+1-ln.window)/p {
			return fault.New(fault.Unsupported, "truncate", fmt.Sprintf("%d rows", rows), fmt.Sprintf("layer %d slid past its window of %d", i, ln.window), "start the sequence again")
		}
		if rows%ln.rowTokens != 0 && rows != q.rows {
			return fault.New(fault.Unsupported, "truncate", fmt.Sprintf("%d tokens", rows), fmt.Sprintf("layer %d merges each %d tokens into a row", i, ln.rowTokens), "cut at a multiple of that")
		}
	}
	if err := q.cutSealed(rows); err != nil {
		return err
	}
	return q.cutState(rows)
}

// giveBack returns the pages behind the first so many tokens.
func (q *Sequence) giveBack(tokens int) {
	for i := range q.lanes {
		t, p := &q.lanes[i], q.store.lanes[i].tokens
		for len(t.pages) > 0 && (t.first+len(t.pages)-1)*p >= tokens {
			q.store.arena.put(t.pages[len(t.pages)-1])
			t.pages = t.pages[:len(t.pages)-1]
		}
	}
}

// Rollback gives back what was reserved beyond the committed rows.
func (q *Sequence) Rollback() {
	q.dropState()
	q.giveBack(q.rows)
	q.room = q.rows
	q.dropStages()
}

// Close gives all pages back.
func (q *Sequence) Close() {
	for i := range q.lanes {
		for _, page := range q.lanes[i].pages {
			q.store.arena.put(page)
		}
		q.store.release(&q.lanes[i].stage)
		q.lanes[i] = table{pages: q.lanes[i].pages[:0], stage: noRecord}
	}
	q.dropState()
	q.store.release(&q.state)
	q.rows, q.room, q.tokens, q.chain, q.hashed = 0, 0, q.tokens[:0], nil, 0
}

// Bytes is what the sequence's pages and state take, shared ones included.
func (q *Sequence) Bytes() int64 {
	var n int64
	for i := range q.lanes {
		n += int64(len(q.lanes[i].pages)) * int64(q.store.lanes[i].pageBytes)
		if q.lanes[i].stage != noRecord {
			n += int64(q.store.lanes[i].stage)
		}
	}
	for _, r := range [3]uint32{q.state, q.next, q.spare} {
		if r != noRecord {
			n += int64(q.store.states.record)
		}
	}
	return n
}

func appendTokens(b []byte, tokens []int32) []byte {
	for _, t := range tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return b
}

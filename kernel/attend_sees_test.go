package kernel

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// seesCases is the cases of attendCases, each with a bias for its rows: one of each group, or one that all share.
func seesCases() []attendCase {
	cases := attendCases()
	for i := range cases {
		a := &cases[i].a
		heads := 1
		if a.Groups > 1 && i%2 == 0 {
			heads = a.Groups
		}
		a.Bias = &Slice{Plane: len(a.Planes), From: i % 2, To: i%2 + 1, Shared: heads == 1}
		a.Planes = append(a.Planes, Plane{Codec: CodecF32, Heads: heads, Width: 2})
		a.Window = 0
		if i%4 != 0 && !a.Int8 { // some cross chunks, the others are quick; what is rounded needs many rows to be near
			cases[i].rows = min(cases[i].rows, 150)
		}
	}
	return cases
}

// once is naive, which no level changes, computed once for all levels.
type once map[string][]float64

func (o once) naive(c *attendCase, s Span, q []float32, told unusual) []float64 {
	if o[c.name] == nil {
		o[c.name] = c.naive(s, q, told)
	}
	return o[c.name]
}

// loose is how far a case may be from float64.
func (c *attendCase) loose() float64 {
	switch {
	case c.a.Expand != nil && c.a.Expand.Up.format != F32:
		return 0.1
	case c.a.Int8 && c.a.Planes[0].Codec >= CodecQ8: // int8 queries are an approximation: a step of 1/254 of the largest
		return 3e-2
	}
	return 2e-5
}

// Ranges of rows, a bias, what a part leaves for others, and the second pass, against float64; the same bits for three threads and for queries one by one.
func TestSees(t *testing.T) {
	wanted, logsOf, votesOf, mostOf := once{}, once{}, once{}, once{}
	eachLevel(t, func(t *testing.T) {
		pool := NewPool(3)
		defer pool.Close()
		for i, c := range seesCases() {
			s := c.fill(uint64(90 + i))
			s.N = 7
			rows := s.Rows
			// A document's rows, all rows, none, one, an early span, beyond the end, and rows across chunks.
			s.Sees = []Range{{rows / 3, rows - 6}, {0, rows}, {9, 9}, {64, 65}, {3, 70}, {rows - 2, rows + 50}, {rows/2 - 1, rows - 1}}
			told := unusual{sees: func(query, row int) bool { return row >= s.Sees[query].From && row < s.Sees[query].To }}
			heads, kw, vw := c.a.Groups*c.a.PerGroup, c.a.KeyWidth(), c.a.ValueWidth()
			if wanted[c.name] == nil {
				votesOf[c.name], mostOf[c.name] = make([]float64, c.a.Groups*rows), make([]float64, c.a.Groups*rows)
				logsOf[c.name] = slices.Repeat([]float64{math.Inf(-1)}, s.N*heads)
			}
			votes, most, logs := votesOf[c.name], mostOf[c.name], logsOf[c.name]
			told.watch = func(query, head int, p []float64, lse float64) {
				logs[query*heads+head] = lse
				for row, x := range p {
					at := head/c.a.PerGroup*rows + row
					votes[at], most[at] = votes[at]+x, max(most[at], x)
				}
			}
			q := randVec(testRand(uint64(i)), s.N*heads*kw, 1)
			want := wanted.naive(&c, s, q, told)
			out, lse := make([]float32, len(want)), make([]float32, len(logs))
			at := NewAttender(nil)
			at.RunPart(&c.a, out, lse, q, []Span{s})
			near(t, c.name, out, want, 0, c.loose())
			for i, x := range lse {
				if math.IsInf(logs[i], -1) != (x == negInf) || math.Abs(float64(x)-logs[i]) > 10*c.loose() {
					t.Fatalf("%s: logarithm %d is %v, want %v", c.name, i, x, logs[i])
				}
			}
			given := []Votes{{make([]float32, len(votes)), make([]float32, len(votes))}}
			at.Votes(&c.a, given, lse, q, []Span{s})
			if c.a.Expand != nil {
				clear(votes)
				clear(most)
			}
			near(t, c.name+", votes", given[0].Sum, votes, 0, 10*c.loose())
			near(t, c.name+", largest", given[0].Max, most, 0, 10*c.loose())

			threaded := NewAttender(pool)
			again, votesAgain := make([]float32, len(out)), []Votes{{make([]float32, len(votes)), make([]float32, len(votes))}}
			threaded.Run(&c.a, again, q, []Span{s})
			sameBits(t, c.name+", three threads", again, out)
			threaded.Votes(&c.a, votesAgain, lse, q, []Span{s})
			sameBits(t, c.name+", votes of three threads", votesAgain[0].Sum, given[0].Sum)
			for i := range s.N {
				one := s
				one.N, one.Sees = 1, s.Sees[i:i+1]
				at.Run(&c.a, again, q[i*heads*kw:], []Span{one})
				sameBits(t, c.name+", alone", again[:heads*vw], out[i*heads*vw:][:heads*vw])
			}
		}
	})
}

// A context in two parts, merged, is the whole.
func TestMergeParts(t *testing.T) {
	wanted := once{}
	eachLevel(t, func(t *testing.T) { testMergeParts(t, wanted) })
}

func testMergeParts(t *testing.T, wanted once) {
	for i, c := range seesCases() {
		s := c.fill(uint64(20 + i))
		s.N = 3
		heads := c.a.Groups * c.a.PerGroup
		q := randVec(testRand(uint64(i)), s.N*heads*c.a.KeyWidth(), 1)
		want := wanted.naive(&c, s, q, unusual{})
		at := NewAttender(nil)
		part := func(sinks []float32, sees ...Range) (out, lse []float32) {
			s, a := s, c.a
			s.Sees, a.Sinks = sees, sinks
			out, lse = make([]float32, len(want)), make([]float32, s.N*heads)
			at.RunPart(&a, out, lse, q, []Span{s})
			return out, lse
		}
		cut, rows := s.Rows/2, s.Rows
		out, lse := part(c.a.Sinks, Range{0, cut}, Range{}, Range{0, cut})
		late, lateLse := part(nil, Range{cut, rows - 2}, Range{0, rows - 1}, Range{cut, rows})
		MergeParts(out, lse, late, lateLse, c.a.ValueWidth())
		near(t, c.name, out, want, 0, c.loose())
	}
}

// A tree of drafts: rows that stand at the same position beside each other and see their ancestors alone, as if each branch were the lane.
func TestTransient(t *testing.T) {
	wanted := once{}
	eachLevel(t, func(t *testing.T) {
		pool := NewPool(3)
		defer pool.Close()
		for i, c := range seesCases() {
			if c.a.Expand != nil {
				continue
			}
			const drafts = 6
			parent := [drafts]int{-1, 0, 0, 1, 2, 2}
			c.rows += 10 // the drafts lie in the last page
			s := c.fill(uint64(60 + i))
			whole := s
			base := s.Rows - drafts
			x := &Transient{Rows: drafts, Page: uint32(len(s.Arena) / PageUnit), Stage: uint32(len(s.Arena)/PageUnit + s.PageBytes/PageUnit)}
			depth := func(j int) (n int) {
				for ; parent[j] >= 0; j = parent[j] {
					n++
				}
				return n
			}
			for j := range drafts {
				sees := uint64(1) << j
				for k := j; parent[k] >= 0; k = parent[k] {
					sees |= 1 << parent[k]
				}
				x.Sees, x.Positions = append(x.Sees, sees), append(x.Positions, int32(base+depth(j)))
			}
			c.move(&s, x, base)
			s.Rows, s.N, s.Transient = base, drafts, x
			whole.N = drafts
			sees := func(query, row int) bool { return row < base || x.Sees[query]>>(row-base)&1 == 1 }
			stands := func(row int) int {
				if row < base {
					return row
				}
				return int(x.Positions[row-base])
			}
			heads := c.a.Groups * c.a.PerGroup
			q := randVec(testRand(uint64(i)), drafts*heads*c.a.KeyWidth(), 1)
			loose := c.loose()
			if strings.Contains(c.name, "q4c") || strings.Contains(c.name, "q2c") { // the lane's rows and the moved ones are staged alike only in their open page
				loose = max(loose, 1e-4)
			}
			out, again := make([]float32, drafts*heads*c.a.ValueWidth()), make([]float32, drafts*heads*c.a.ValueWidth())
			NewAttender(nil).Run(&c.a, out, q, []Span{s})
			near(t, c.name, out, wanted.naive(&c, whole, q, unusual{sees: sees, at: stands}), 0, loose)
			NewAttender(pool).Run(&c.a, again, q, []Span{s})
			sameBits(t, c.name+", three threads", again, out)
		}
	})
}

// move puts the rows from base on, which lie in the lane's last page, into a page of their own at the end of the arena.
func (c *attendCase) move(s *Span, x *Transient, base int) {
	arena := append([]byte(nil), s.Arena...)
	page, stage := make([]byte, s.PageBytes), []byte(nil)
	code := make([]byte, 4096)
	for i := range c.a.Planes {
		p := &c.a.Planes[i]
		open := *p
		if p.Codec.Columns() {
			open = p.Open()
			stage = append(stage, make([]byte, open.Bytes())...)
		}
		for h := range p.Heads {
			for row := base; row < s.Rows; row++ {
				from, to := s.page(row, p), page
				if p.Codec.Columns() {
					from, to = s.Arena[int(s.Stage)*PageUnit:], stage
				}
				open.Code(code, from, row%p.PageRows, h)
				open.PutCode(to, row-base, h, code)
			}
		}
	}
	s.Arena = append(append(arena, page...), stage...)
}

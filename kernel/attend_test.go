package kernel

import (
	"fmt"
	"math"
	"testing"
)

// The numbers of rows are chosen so that a batch of ten queries crosses a tile, and one of them a chunk.
//
// attendCase is a layer's shape for the tests below: planes, slices and options, over random rows.
type attendCase struct {
	name string
	a    Attention
	rows int
}

// unusual is what naive is told where it is not the usual: which query sees which row, where a row stands, and who wants the probabilities and the logarithm of their sum.
type unusual struct {
	sees  func(query, row int) bool
	at    func(row int) int
	watch func(query, head int, p []float64, lse float64)
}

func attendCases() []attendCase {
	freq := make([]float64, 16)
	for i := range freq {
		freq[i] = math.Pow(10000, -float64(i)/16)
	}
	gqa := func(kc, vc Codec, order Order, opt func(a *Attention)) Attention {
		a := Attention{Groups: 2, PerGroup: 3, Scale: 0.2,
			Planes: []Plane{{Codec: kc, Order: order, Heads: 2, Width: 64}, {Codec: vc, Heads: 2, Width: 48}},
			Keys:   []Slice{{Plane: 0, To: 64}}, Values: []Slice{{Plane: 1, To: 48}}}
		if opt != nil {
			opt(&a)
		}
		return a
	}
	latent := Attention{Groups: 1, PerGroup: 5, Scale: 0.1,
		Planes: []Plane{{Codec: CodecBF16, Heads: 1, Width: 96}, {Codec: CodecF16, Order: Panels, Heads: 1, Width: 32}},
		Keys:   []Slice{{Plane: 0, To: 96}, {Plane: 1, To: 32}}, Values: []Slice{{Plane: 0, To: 96}}}
	rotated := Attention{Groups: 2, PerGroup: 2, Scale: 0.2, Rotation: NewRotation(freq, false),
		Planes: []Plane{{Codec: CodecQ8, Heads: 1, Width: 64}, {Codec: CodecF32, Heads: 2, Width: 20}},
		Keys:   []Slice{{Plane: 0, From: 32, To: 64, Shared: true, Rotate: true}, {Plane: 1, To: 20}},
		Values: []Slice{{Plane: 0, To: 32, Shared: true}, {Plane: 1, From: 4, To: 20}}}
	factored := func(heads int, ka, kb, va, vb Codec, order Order) Attention {
		return Attention{Groups: 1, PerGroup: heads, Scale: 0.1,
			Planes: []Plane{{Codec: ka, Order: order, Heads: 1, Width: heads * 2}, {Codec: kb, Order: order, Heads: 2, Width: 64},
				{Codec: va, Order: order, Heads: 1, Width: heads * 3}, {Codec: vb, Heads: 3, Width: 48}},
			Keys: []Slice{{Plane: 1, To: 64, Rank: 2, By: 0}}, Values: []Slice{{Plane: 3, To: 48, Rank: 3, By: 2}}}
	}
	rebuilt := func(c, k Codec, f Format, turn int) Attention {
		const heads, key, value, r, e, ids = 3, 20, 12, 64, 32, 40
		n := heads * (key + value)
		rng := testRand(77)
		packed := func(rows, cols int) *Matrix {
			x := randVec(rng, rows*cols, 0.2)
			size, _ := PackedBytes(F32, rows, cols, ArithF32)
			data := make([]byte, 4*len(x))
			Quantize(F32, data, x)
			if f != F32 {
				elems, bytes := f.Block()
				size, _ = PackedBytes(f, rows, cols, ArithInt8)
				data = make([]byte, len(x)/elems*bytes)
				Quantize(f, data, x)
			}
			w, err := Pack(aligned(int(size)), f, rows, cols, data, ArithInt8, nil)
			if err != nil {
				panic(err)
			}
			return w
		}
		table := make([]byte, 4*ids*e)
		Quantize(F32, table, randVec(rng, ids*e, 1))
		t, _ := NewTable(F32, ids, e, table)
		return Attention{Groups: heads, PerGroup: 1, Scale: 0.2, Keys: []Slice{{Plane: 1, To: 32, Shared: true}},
			Planes: []Plane{{Codec: c, Heads: 1, Width: r}, {Codec: k, Order: Panels, Heads: 1, Width: 32}},
			Expand: &Expansion{Plane: 0, Up: packed(n, r), Gate: packed(n, e), Table: t, Weight: randVec(rng, n, 1), Bias: randVec(rng, n, 1), Eps: 1e-5, Key: key, Value: value, Turn: turn}}
	}
	own := func(heads, rank int, k, v Codec, order Order) Attention {
		return Attention{Groups: 1, PerGroup: heads, Scale: 0.1,
			Planes: []Plane{{Codec: k, Order: order, Heads: 1, Width: 64}, {Codec: k, Order: order, Heads: heads, Width: rank}, {Codec: v, Heads: 1, Width: 64}, {Codec: v, Heads: heads, Width: rank}},
			Keys:   []Slice{{Plane: 0, To: 64, Shared: true}, {Plane: 1, To: rank, Own: true}}, Values: []Slice{{Plane: 2, To: 64, Shared: true}, {Plane: 3, To: rank, Own: true}}}
	}
	return []attendCase{
		{"heads of their own, f32", own(5, 12, CodecF32, CodecF32, Panels), 645},
		{"heads of their own, f16 and q8", own(14, 24, CodecF16, CodecQ8, Panels), 581},
		{"heads of their own, q8 and q4", own(5, 32, CodecQ8, CodecQ4, Panels), 581},
		{"heads of their own, q8 in rows", own(5, 24, CodecQ8, CodecF16, Rows), 581},
		{"heads of their own, more than a block", own(60, 8, CodecBF16, CodecBF16, Panels), 130},
		{"rebuilt, f32", rebuilt(CodecF32, CodecF32, F32, 0), 645},
		{"rebuilt, q8 turned", rebuilt(CodecQ8, CodecF16, F32, 32), 581},
		{"rebuilt, bf16, int8 arithmetic", rebuilt(CodecBF16, CodecQ8, Q8_0, 0), 581},
		{"factors, f32", factored(5, CodecF32, CodecF32, CodecF32, CodecF32, Panels), 645},
		{"factors, f16 and bf16", factored(5, CodecF16, CodecBF16, CodecF16, CodecBF16, Panels), 581},
		{"factors, 8 bits in rows", factored(5, CodecQ8, CodecQ8, CodecQ8, CodecQ8, Rows), 581},
		{"factors, q4, 32 heads", factored(32, CodecF16, CodecQ4, CodecQ8, CodecQ4, Panels), 261},
		{"factors, int8", func() Attention {
			a := factored(16, CodecQ8, CodecQ8, CodecF32, CodecF16, Panels)
			a.Planes[2].Order, a.Int8, a.Scale = Rows, true, 0.03
			return a
		}(), 581},
		{"factors, more heads than a block", factored(60, CodecF16, CodecF16, CodecF16, CodecF16, Panels), 130},
		{"f32 panels", gqa(CodecF32, CodecF32, Panels, nil), 645},
		{"f16 panels of width 14, int8 has no say", Attention{Groups: 1, PerGroup: 2, Scale: 0.2, Int8: true,
			Planes: []Plane{{Codec: CodecF16, Order: Panels, Heads: 1, Width: 14}, {Codec: CodecQ8, Heads: 1, Width: 14}},
			Keys:   []Slice{{Plane: 0, To: 14}}, Values: []Slice{{Plane: 1, To: 14}}}, 133},
		{"f16 panels, int8 has no say", gqa(CodecF16, CodecBF16, Panels, func(a *Attention) { a.Int8 = true }), 581},
		{"f16 rows", gqa(CodecF16, CodecF16, Rows, nil), 133},
		{"bf16 panels, window", gqa(CodecBF16, CodecF16, Panels, func(a *Attention) { a.Window = 90 }), 1157},
		{"q8 panels, softcap", gqa(CodecQ8, CodecQ8, Panels, func(a *Attention) { a.Softcap = 2 }), 581},
		{"q4 panels, sinks", gqa(CodecQ4, CodecQ4, Panels, func(a *Attention) { a.Sinks = []float32{0, 1, -1, 5, 2, -30} }), 261},
		{"q8 int8", gqa(CodecQ8, CodecQ8, Panels, func(a *Attention) { a.Int8 = true }), 581},
		{"q4 int8", gqa(CodecQ4, CodecF16, Panels, func(a *Attention) { a.Int8 = true }), 581},
		{"q4c panels, q2c rows", gqa(CodecQ4C, CodecQ2C, Panels, nil), 645},
		{"q2c panels", gqa(CodecQ2C, CodecF16, Panels, nil), 581},
		{"q4c int8, window", gqa(CodecQ4C, CodecQ4, Panels, func(a *Attention) { a.Int8, a.Window = true, 90 }), 581},
		{"q2c int8", gqa(CodecQ2C, CodecQ8, Panels, func(a *Attention) { a.Int8 = true }), 581},
		{"q4c rows of 20, and two slices", Attention{Groups: 1, PerGroup: 3, Scale: 0.2, Int8: true,
			Planes: []Plane{{Codec: CodecQ4C, Heads: 1, Width: 84}, {Codec: CodecQ4C, Order: Panels, Heads: 1, Width: 32}, {Codec: CodecQ2C, Heads: 1, Width: 37}},
			Keys:   []Slice{{Plane: 0, To: 84}, {Plane: 1, To: 32}}, Values: []Slice{{Plane: 0, From: 40, To: 84}, {Plane: 2, To: 37}}}, 581},
		{"q4c, all planes in the stage", gqa(CodecQ4C, CodecQ4C, Panels, func(a *Attention) { a.Int8 = true }), 100},
		{"factors, q4c and q2c", factored(32, CodecQ4C, CodecQ2C, CodecQ4C, CodecQ4C, Panels), 261},
		{"heads of their own, q4c", own(14, 32, CodecQ4C, CodecQ4C, Panels), 581},
		{"rebuilt, q4c", rebuilt(CodecQ4C, CodecQ4C, F32, 0), 581},
		{"latent", latent, 1029},
		{"rotated and tied", rotated, 581},
		{"many heads", func() Attention {
			a := gqa(CodecF16, CodecF32, Panels, nil)
			a.PerGroup = 60 // more than one block of rows
			return a
		}(), 130},
	}
}

// fill lays the planes out in pages and writes random rows.
func (c *attendCase) fill(seed uint64) Span {
	const pageRows = 128
	size, stage := 0, 0
	for i := range c.a.Planes {
		p := &c.a.Planes[i]
		p.PageRows, p.Offset, p.Stage = pageRows, size, stage
		size += (p.Bytes() + PageUnit - 1) / PageUnit * PageUnit
		if p.Codec.Columns() {
			stage += p.Open().Bytes()
		}
	}
	pages := (c.rows + pageRows - 1) / pageRows
	s := Span{Arena: make([]byte, pages*size+stage), PageBytes: size, Rows: c.rows, N: 1, Open: c.rows / pageRows * pageRows, Stage: uint32(pages * size / PageUnit)}
	for i := range s.Arena {
		s.Arena[i] = 0x7b // not zero: nothing past the last row may count
	}
	for i := 0; i < pages; i++ {
		s.Pages = append(s.Pages, uint32((pages-1-i)*size/PageUnit)) // not in order
	}
	r, code := testRand(seed), make([]byte, 4096)
	if c.a.Expand != nil {
		for range c.rows {
			s.Tokens = append(s.Tokens, int32(r.IntN(c.a.Expand.Table.N)))
		}
	}
	for row := 0; row < c.rows; row++ {
		for i := range c.a.Planes {
			p := &c.a.Planes[i]
			x, page := randVec(r, p.Heads*p.Width, 1), s.page(row, p)
			if !p.Codec.Columns() {
				p.Put(page, row%pageRows, x, code)
				continue
			}
			for d := range x { // channels of very different sizes, some far from zero
				x[d] = float32(float64(x[d])*math.Exp2(float64(d*7%5)-3) + float64(d*5%3-1))
			}
			p.Open().Put(s.Arena[pages*size:], row%pageRows, x, code)
			if row%pageRows == pageRows-1 {
				p.Seal(page, s.Arena[pages*size:], &Sealer{})
			}
		}
	}
	return s
}

// naive is softmax(q Kᵀ) V in float64 over the decoded rows.
func (c *attendCase) naive(s Span, q []float32, told unusual) []float64 {
	a := &c.a
	heads, kw, vw := a.Groups*a.PerGroup, a.KeyWidth(), a.ValueWidth()
	decode := func(row, plane, head int) []float64 {
		p := &a.Planes[plane]
		if p.Codec.Columns() {
			return s.column(p, row, head)
		}
		code, x := make([]byte, RowBytes(p.Codec, p.Width)), make([]float32, p.Width)
		p.Code(code, s.page(row, p), row%p.PageRows, head)
		DecodeRow(p.Codec, x, code)
		return widen(x)
	}
	column := func(row, group, h int, sl Slice) []float64 {
		y := make([]float64, sl.To)
		for r := 0; r < sl.Rank; r++ { // rebuilt: what the kernel never does
			f := decode(row, sl.By, 0)[h*sl.Rank+r]
			for i, b := range decode(row, sl.Plane, r) {
				y[i] += f * b
			}
		}
		if sl.Rank > 0 {
			return y
		}
		head := headOf(sl, group)
		if sl.Own {
			head = h
		}
		y = decode(row, sl.Plane, head)[sl.From:sl.To]
		if sl.Rotate {
			for i, f := range a.Rotation.freq {
				u, v, half := y[i], y[i+len(y)/2], len(y)/2
				at := row
				if told.at != nil {
					at = told.at(row)
				}
				sin, cos := math.Sincos(f * float64(at))
				y[i], y[i+half] = u*cos-v*sin, u*sin+v*cos
			}
		}
		return y
	}
	var rows [][]float64 // rebuilt
	for row := 0; row < s.Rows && a.Expand != nil; row++ {
		rows = append(rows, a.Expand.naive(decode(row, a.Expand.Plane, 0), int(s.Tokens[row])))
	}
	out := make([]float64, s.N*heads*vw)
	var keys, values [][]float64
	for h := 0; h < heads; h++ {
		if g := h / a.PerGroup; h%a.PerGroup == 0 || a.factored() || a.own() {
			keys, values = nil, nil
			for row := 0; row < s.Rows; row++ {
				var k, v []float64
				for _, sl := range a.Keys {
					k = append(k, column(row, g, h, sl)...)
				}
				for _, sl := range a.Values {
					v = append(v, column(row, g, h, sl)...)
				}
				if e := a.Expand; e != nil {
					y := rows[row][g*(e.Key+e.Value):]
					k, v = append(k, y[:e.Key]...), append(v, y[e.Key:][:e.Value]...)
				}
				keys, values = append(keys, k), append(values, v)
			}
		}
		for i := 0; i < s.N; i++ {
			own := s.Rows - s.N + i
			sees := func(row int) bool { return row <= own && (a.Window == 0 || row > own-a.Window) }
			if told.sees != nil {
				sees = func(row int) bool { return told.sees(i, row) }
			}
			x, o := q[(i*heads+h)*kw:][:kw], out[(i*heads+h)*vw:][:vw]
			scores, top := make([]float64, s.Rows), math.Inf(-1)
			for row := range scores {
				for d, v := range x {
					scores[row] += float64(v) * float64(a.Scale) * keys[row][d]
				}
				if a.Softcap > 0 {
					scores[row] = float64(a.Softcap) * math.Tanh(scores[row]/float64(a.Softcap))
				}
				if a.Bias != nil {
					scores[row] += decode(row, a.Bias.Plane, headOf(*a.Bias, h/a.PerGroup))[a.Bias.From]
				}
				if !sees(row) {
					scores[row] = math.Inf(-1)
				}
				top = max(top, scores[row])
			}
			if a.Sinks != nil {
				top = max(top, float64(a.Sinks[h]))
			}
			if math.IsInf(top, -1) {
				continue // sees nothing: zeros
			}
			sum := 0.0
			if a.Sinks != nil {
				sum = math.Exp(float64(a.Sinks[h]) - top)
			}
			for row, x := range scores {
				p := math.Exp(x - top)
				scores[row] = p
				sum += p
				for d, v := range values[row] {
					o[d] += p * v
				}
			}
			for d := range o {
				o[d] /= sum
			}
			for row := range scores {
				scores[row] /= sum
			}
			if told.watch != nil {
				told.watch(i, h, scores, top+math.Log(sum))
			}
		}
	}
	return out
}

// naive rebuilds one row in float64.
func (e *Expansion) naive(c []float64, id int) []float64 {
	if e.Turn > 0 {
		x := make([]float32, len(c))
		for i, v := range c {
			x[i] = float32(v)
		}
		for at := 0; at < len(x); at += e.Turn {
			Hadamard(x[at:][:e.Turn])
		}
		c = widen(x)
	}
	emb := make([]float32, e.Table.K)
	e.Table.Row(emb, id)
	product := func(w *Matrix, x []float64) []float64 {
		y, row := make([]float64, w.N), make([]float32, w.K)
		for i := range y {
			w.Row(row, i)
			for k, v := range row {
				y[i] += float64(v) * x[k]
			}
		}
		return y
	}
	y, g := product(e.Up, c), product(e.Gate, widen(emb))
	mean, variance := 0.0, 0.0
	for i := range y {
		y[i] *= g[i]
		mean += y[i] / float64(len(y))
	}
	for _, v := range y {
		variance += (v - mean) * (v - mean) / float64(len(y))
	}
	for i := range y {
		y[i] = (y[i]-mean)/math.Sqrt(variance+float64(e.Eps))*float64(e.Weight[i]) + float64(e.Bias[i])
	}
	return y
}

func TestAttend(t *testing.T) {
	wanted := map[string][]float64{}
	eachLevel(t, func(t *testing.T) {
		for i, c := range attendCases() {
			s := c.fill(uint64(40 + i))
			s.N = 10
			heads, kw, vw := c.a.Groups*c.a.PerGroup, c.a.KeyWidth(), c.a.ValueWidth()
			q := randVec(testRand(uint64(i)), s.N*heads*kw, 1)
			serial, pool := NewAttender(nil), NewPool(3)
			threaded := NewAttender(pool)
			batch := make([]float32, s.N*heads*vw)
			serial.Run(&c.a, batch, q, []Span{s})

			abs := 2e-5
			if c.a.Int8 && c.a.Planes[0].Codec >= CodecQ8 { // int8 queries are an approximation: a step of 1/254 of the largest
				abs = 2e-2
			}
			if c.a.Expand != nil && c.a.Expand.Up.format != F32 {
				abs = 0.1
			}
			if wanted[c.name] == nil {
				wanted[c.name] = c.naive(s, q, unusual{})
			}
			near(t, c.name, batch, wanted[c.name], 0, abs)

			again := make([]float32, len(batch))
			threaded.Run(&c.a, again, q, []Span{s})
			sameBits(t, c.name+", three threads", again, batch)

			// One query at a time, the two spans of one call, on one thread and on three (where chunks run side by side).
			for _, i := range []int{0, 3, 9} {
				one := s
				one.N, one.Rows = 1, s.Rows-s.N+i+1
				for name, t2 := range map[string]*Attender{"serial": serial, "threaded": threaded} {
					got := make([]float32, 2*heads*vw)
					first := one
					first.Rows, first.Q0 = 1, 1
					pair := append(append([]float32(nil), q[i*heads*kw:][:heads*kw]...), q[:heads*kw]...)
					t2.Run(&c.a, got, pair, []Span{one, first})
					sameBits(t, fmt.Sprintf("%s, query %d alone, %s", c.name, i, name), got[:heads*vw], batch[i*heads*vw:][:heads*vw])
				}
			}
			pool.Close()
		}
	})
}

// Which gates a layer kept changes no bit: none yet, all, those of a memo that is too small, of one that has begun anew.
func TestKeptGates(t *testing.T) {
	for _, c := range attendCases() {
		e := c.a.Expand
		if e == nil {
			continue
		}
		s := c.fill(3)
		q := randVec(testRand(4), s.N*c.a.Groups*c.a.KeyWidth(), 1)
		at := NewAttender(nil)
		run := func() []float32 {
			out := make([]float32, s.N*c.a.Groups*c.a.ValueWidth())
			at.Run(&c.a, out, q, []Span{s})
			return out
		}
		want := run()
		sameBits(t, c.name+", all kept", run(), want)
		e.kept = gateMemo{most: 7}
		turns := 0
		for range 12 {
			sameBits(t, c.name+", seven kept", run(), want)
			if len(e.kept.ids.ids) != 7 {
				t.Errorf("%s: %d ids kept", c.name, len(e.kept.ids.ids))
			}
			if e.kept.vain > memoPatience*7 {
				turns++
			}
		}
		if turns == 0 {
			t.Errorf("%s: a memo that is too small never begins anew", c.name)
		}
	}
}

// A step allocates nothing once its scratch has grown.
func TestAttendNoAllocation(t *testing.T) {
	for i, c := range attendCases() {
		s := c.fill(uint64(i))
		heads := c.a.Groups * c.a.PerGroup
		q, out := randVec(testRand(1), heads*c.a.KeyWidth(), 1), make([]float32, heads*c.a.ValueWidth())
		at, spans := NewAttender(nil), []Span{s}
		at.Run(&c.a, out, q, spans)
		if vecLevel == vecPlain {
			return // the references allocate
		}
		if n := testing.AllocsPerRun(3, func() { at.Run(&c.a, out, q, spans) }); n > 0 {
			t.Errorf("%s: %v allocations a step", c.name, n)
		}
	}
}

// What fits: the checks of shapes that all Ops share. Each panics with the op's name and the shapes, or says what the op needs to know about them.
package tensor

// matrix asks for [rows, cols].
func matrix(op string, s []int) (rows, cols int) {
	if len(s) != 2 {
		bad(op, "shape %v, want [T, cols]", s)
	}
	return s[0], s[1]
}

func checkEqual(op string, a, b []int) {
	if !sameShape(a, b) {
		bad(op, "a %v, b %v", a, b)
	}
}

// checkVector asks for a vector as wide as the rows of x.
func checkVector(op string, x, r []int) {
	if _, cols := matrix(op, x); len(r) != 1 || r[0] != cols {
		bad(op, "x %v with a vector of shape %v, want [%d]", x, r, cols)
	}
}

func checkMatMul(x, w []int) (rows, out, in int) {
	rows, in = matrix("MatMul", x)
	out, wide := matrix("MatMul", w)
	if in != wide {
		bad("MatMul", "x %v, w %v: x has %d columns, w has %d", x, w, in, wide)
	}
	return rows, out, in
}

func checkEmbed(table []int, ids []int32) (cols int) {
	n, cols := matrix("Embed", table)
	for i, id := range ids {
		if id < 0 || int(id) >= n {
			bad("Embed", "id %d at %d, table %v", id, i, table)
		}
	}
	return cols
}

// headsOf is the width of one of the equal heads in a row.
func headsOf(op string, x []int, heads int) (rows, width int) {
	rows, cols := matrix(op, x)
	if heads < 1 || cols%heads != 0 {
		bad(op, "x %v in %d heads", x, heads)
	}
	return rows, cols / heads
}

func checkSlice(op string, x []int, heads, from, to int) (rows, width int) {
	rows, width = headsOf(op, x, heads)
	if from < 0 || from > to || to > width {
		bad(op, "x %v in %d heads, columns [%d, %d) of %d", x, heads, from, to, width)
	}
	return rows, width
}

// checkNorm returns how wide each normalised slice is. w is nil where there are no weights.
func checkNorm(x, w []int, spec Norm) (rows, width int) {
	groups := max(spec.Groups, 1)
	rows, cols := matrix("RMSNorm", x)
	if cols%groups != 0 {
		bad("RMSNorm", "x %v in %d groups", x, groups)
	}
	width = cols / groups
	if w != nil && (len(w) != 1 || w[0] != width && w[0] != cols) {
		bad("RMSNorm", "x %v in %d groups, w %v, want [%d] or [%d]", x, groups, w, width, cols)
	}
	return rows, width
}

// checkRotary fills in the defaults of spec.
func checkRotary(x []int, spec Rotary, pos []int) (full Rotary, width int) {
	rows, width := headsOf("RoPE", x, spec.Heads)
	if spec.From == 0 && spec.To == 0 {
		spec.To = width
	}
	n := spec.To - spec.From
	if spec.From < 0 || spec.To > width || n < 2 || n%2 != 0 || len(spec.InvFreq) != n/2 || len(pos) != rows {
		bad("RoPE", "x %v in %d heads, columns [%d, %d), %d frequencies, %d positions", x, spec.Heads, spec.From, spec.To, len(spec.InvFreq), len(pos))
	}
	if spec.Sign == 0 {
		spec.Sign = 1
	}
	if spec.Sign != 1 && spec.Sign != -1 {
		bad("RoPE", "Sign %v, want +1 or -1", spec.Sign)
	}
	if spec.Factor == 0 {
		spec.Factor = 1
	}
	return spec, width
}

// checkAttend returns the tokens and the widths of keys and values.
func checkAttend(q, k, v []int, spec Attend) (t, dk, dv int) {
	const op = "Attend"
	t, cq := matrix(op, q)
	tk, ck := matrix(op, k)
	tv, cv := matrix(op, v)
	if spec.Heads < 1 || spec.KVHeads < 1 || spec.Heads%spec.KVHeads != 0 {
		bad(op, "%d heads over %d key-value heads", spec.Heads, spec.KVHeads)
	}
	if cq%spec.Heads != 0 || ck%spec.KVHeads != 0 || cv%spec.KVHeads != 0 || cq/spec.Heads != ck/spec.KVHeads || tk != t || tv != t {
		bad(op, "q %v in %d heads, k %v and v %v in %d heads", q, spec.Heads, k, v, spec.KVHeads)
	}
	if spec.Window < 0 || spec.Scale == 0 {
		bad(op, "Window %d, Scale %v", spec.Window, spec.Scale)
	}
	if spec.Private != nil && len(spec.Private) != t {
		bad(op, "Private for %d of %d tokens", len(spec.Private), t)
	}
	if spec.Sinks != nil {
		if s := spec.Sinks.Shape(); len(s) != 1 || s[0] != spec.Heads {
			bad(op, "sinks %v for %d heads", s, spec.Heads)
		}
	}
	if spec.Bias != nil {
		if s := spec.Bias.Shape(); len(s) != 2 || s[0] != t || s[1] != spec.Heads && s[1] != spec.KVHeads {
			bad(op, "bias %v for %d tokens, %d heads and %d key-value heads", s, t, spec.Heads, spec.KVHeads)
		}
	}
	return t, cq / spec.Heads, cv / spec.KVHeads
}

// checkOuter returns the width of a head.
func checkOuter(a, b []int, heads, rank int) (rows, width int) {
	rows, ca := matrix("Outer", a)
	tb, cb := matrix("Outer", b)
	if heads < 1 || rank < 1 || ca != heads*rank || cb%rank != 0 || rows != tb {
		bad("Outer", "a %v, b %v, %d heads, rank %d", a, b, heads, rank)
	}
	return rows, cb / rank
}

// conv describes a causal convolution: out and in channels of a group, taps.
type conv struct{ rows, groups, out, in, taps int }

func checkConv(x, w []int, groups int) conv {
	rows, cols := matrix("CausalConv", x)
	out, across := matrix("CausalConv", w)
	if groups < 1 || cols%groups != 0 || out%groups != 0 || across%(cols/groups) != 0 || across == 0 {
		bad("CausalConv", "x %v, w %v in %d groups", x, w, groups)
	}
	return conv{rows, groups, out / groups, cols / groups, across / (cols / groups)}
}

func checkCap(c float64) {
	if !(c > 0) {
		bad("Softcap", "c = %v, want > 0", c)
	}
}

func checkLoss(logits []int, targets []int32, ignore int32) (rows, cols int) {
	const op = "CrossEntropy"
	rows, cols = matrix(op, logits)
	if len(targets) != rows {
		bad(op, "logits %v, %d targets", logits, len(targets))
	}
	for i, id := range targets {
		if id != ignore && (id < 0 || int(id) >= cols) {
			bad(op, "target %d at %d, logits %v", id, i, logits)
		}
	}
	return rows, cols
}

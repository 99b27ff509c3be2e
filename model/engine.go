package model

// Engine: the cached step of a whole model, over any number of tokens of any number of sequences.

import (
	"fmt"
	"slices"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// Options of an engine.
type Options struct {
	Pool     *kernel.Pool
	Arith    kernel.Arith   // arithmetic of quantised weights
	Weights  *kernel.Format // quantise matrices at load; nil keeps the file's formats
	Spec     kvcache.Spec   // types of the cache
	PageRows int
	MaxRows  int   // longest sequence
	Budget   int64 // bytes of the cache's arena
	Fast     bool  // numerics "fast": prompts may be computed in another form or order than single tokens (passes.go)
}

// Engine runs steps. Not safe for concurrent use.
type Engine struct {
	Model *Model
	Store *kvcache.Store

	opt    Options
	ws     *tensor.Workspace
	packer *tensor.Packer
	embed  *tensor.Linear
	head   *tensor.Linear
	norm   normWeights
	entry  *rescale // of embeddings; nil where there is none
	blocks []block
	step   attention.Step
	pos    []int
	ids    []int32
	last   []int
	rows   []int // those of one expert

	streams *streams // residual streams side by side; nil where there is one
	flow    flow
	carried tensor.Buf // what the router of a layer hands on to the next one's
	logits  []float32  // of a step in parts

	circles []circle
	rounds  bool // some product rounds its input to int8
	passes  Passes
}

type normWeights struct{ weight, bias *tensor.Vector }

type block struct {
	attn                                         attention.Cached
	view                                         kernel.Attention
	attnNorm, attnPostNorm, mlpNorm, mlpPostNorm normWeights
	attnJoin, mlpJoin                            joiner // nil where outputs are added as they are
	gate, up, down                               *tensor.Linear
	moe                                          *mixture // in place of the three
}

// Numerics names how an engine computes, for prefix hashes and saved files.
func (opt Options) Numerics() string {
	arith := "f32"
	if opt.Arith == kernel.ArithInt8 {
		arith = "int8"
	}
	to := "file"
	if opt.Weights != nil {
		to = opt.Weights.String()
	}
	name := "exact"
	if opt.Fast {
		name = "fast"
	}
	return fmt.Sprintf("%s %s %s %s", name, arith, to, kernel.Level())
}

// NewEngine packs the weights and reserves the cache. progress, if not nil, is told the share of layers done.
func NewEngine(m *Model, opt Options, progress func(done, total int)) (*Engine, error) {
	e := &Engine{Model: m, opt: opt, ws: tensor.NewWorkspace(opt.Pool), packer: &tensor.Packer{Pool: opt.Pool, Arith: opt.Arith, To: opt.Weights}}
	e.rounds = m.anyLayer(e.packer.Rounds, "attn.o", "mlp.up", "mlp.down", "moe.up", "moe.down")
	if err := e.load(progress); err != nil {
		e.Close()
		return nil, err
	}
	store, err := newStore(m, opt)
	if err != nil {
		e.Close()
		return nil, err
	}
	e.attach(store)
	return e, nil
}

// WithCache makes an engine that shares this one's weights and has a cache of its own, of other types; it must be closed before this one. Both may hold sequences and run
// in turn, not at once.
func (e *Engine) WithCache(spec kvcache.Spec, budget int64) (*Engine, error) {
	opt := e.opt
	opt.Spec, opt.Budget = spec, budget
	store, err := newStore(e.Model, opt)
	if err != nil {
		return nil, err
	}
	f := &Engine{Model: e.Model, opt: opt, ws: tensor.NewWorkspace(opt.Pool), embed: e.embed, head: e.head, norm: e.norm, entry: e.entry, streams: e.streams, blocks: slices.Clone(e.blocks), rounds: e.rounds}
	f.packer = &tensor.Packer{Pool: opt.Pool, Arith: opt.Arith, To: opt.Weights} // packs nothing
	f.attach(store)
	return f, nil
}

func newStore(m *Model, opt Options) (*kvcache.Store, error) {
	return kvcache.New(kvcache.Config{Layers: m.Layouts(), Spec: opt.Spec, PageRows: opt.PageRows, Budget: opt.Budget, MaxRows: opt.MaxRows, Vocab: m.Config.Vocab,
		Fingerprint: m.Fingerprint(opt.MaxRows), Numerics: opt.Numerics()})
}

// attach says where attention finds the rows.
func (e *Engine) attach(store *kvcache.Store) {
	e.Store, e.circles = store, circlesOf(e.Model.Config)
	for i := range e.blocks {
		b := &e.blocks[i]
		b.view = b.attn.View()
		b.view.Planes = store.Planes(e.Model.Config.RowsOf(i))
		b.view.Int8 = e.opt.Arith == kernel.ArithInt8
	}
}

// WeightBytes is what the packed weights take.
func (e *Engine) WeightBytes() int64 { return e.packer.Bytes() }

// ScratchBytes is what the workspace holds.
func (e *Engine) ScratchBytes() int64 { return e.ws.Bytes() + 4*int64(cap(e.logits)) }

// Close gives everything back.
func (e *Engine) Close() {
	if e.Store != nil {
		e.Store.Close()
		e.Store = nil
	}
	e.packer.Free()
}

func (e *Engine) load(progress func(done, total int)) error {
	m, c := e.Model, e.Model.Config
	head, tied, err := m.lmHead()
	if err != nil {
		return err
	}
	if err := head.Check(c.Vocab, c.Hidden); err != nil {
		return err
	}
	if e.head, err = e.packer.Linear(head, nil); err != nil {
		return err
	}
	e.embed = e.head
	if !tied {
		w, ok := m.topWeight("embed", ".weight")
		if !ok {
			return fault.New(fault.BadFile, m.Path, "no token embedding", "", "fetch the model again; lowkey inspect --tensors lists what it has")
		}
		if err := w.Check(c.Vocab, c.Hidden); err != nil {
			return err
		}
		if e.embed, err = e.packer.Linear(w, nil); err != nil {
			return err
		}
	}
	m.release(head.Name)
	if e.norm, err = e.normOf(func(s string) (tensor.Weight, bool) { return m.topWeight("norm", s) }, "norm"); err != nil {
		return err
	}
	if c.Rescaled {
		g := e.getter(func(name string) (tensor.Weight, bool) { return m.topWeight(name, "") }, "embed_")
		if e.entry = loadRescale(g, c.Hidden); g.err != nil {
			return g.err
		}
	}
	if c.AltUp.Streams > 0 {
		if e.streams, err = e.loadStreams(); err != nil {
			return err
		}
	}
	designs, err := m.build(e.opt.MaxRows)
	if err != nil {
		return err
	}
	for i := range c.Layers {
		b, err := e.loadBlock(i, designs[i])
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		e.blocks = append(e.blocks, b)
		if progress != nil {
			progress(i+1, len(c.Layers))
		}
	}
	return nil
}

// normOf reads a norm's weight and bias; get is given ".weight" or ".bias".
func (e *Engine) normOf(get func(suffix string) (tensor.Weight, bool), name string) (normWeights, error) {
	var n normWeights
	c := e.Model.Config
	if c.Norm.Weightless {
		return n, nil
	}
	w, ok := get(".weight")
	if !ok {
		return n, tensor.Missing(name)
	}
	if err := w.Check(c.Hidden); err != nil {
		return n, err
	}
	n.weight = e.packer.Vector(w)
	if b, ok := get(".bias"); ok {
		if err := b.Check(c.Hidden); err != nil {
			return n, err
		}
		n.bias = e.packer.Vector(b)
	}
	return n, nil
}

func (e *Engine) loadBlock(i int, design attention.Design) (b block, err error) {
	m, c := e.Model, e.Model.Config
	lw := layerWeights{m.src, m.names, i, ""}
	wanted := []struct {
		name string
		to   *normWeights
		skip bool
	}{
		{"attn_norm", &b.attnNorm, c.PostNormOnly}, {"attn_post_norm", &b.attnPostNorm, !c.SandwichNorms && !c.PostNormOnly},
		{"mlp_norm", &b.mlpNorm, c.PostNormOnly}, {"mlp_post_norm", &b.mlpPostNorm, !c.SandwichNorms && !c.PostNormOnly},
	}
	for _, n := range wanted {
		if n.skip {
			continue
		}
		get := func(suffix string) (tensor.Weight, bool) {
			if suffix == ".weight" {
				return lw.Get(n.name)
			}
			return lw.Get(n.name + suffix)
		}
		if *n.to, err = e.normOf(get, n.name); err != nil {
			return b, err
		}
	}
	if b.attn, err = design.Bind(layerWeights{m.src, m.names, i, "attn."}, e.packer); err != nil {
		return b, err
	}
	if b.attnJoin, b.mlpJoin, err = e.joiners(lw); err != nil {
		return b, err
	}
	f := &c.Layers[i].MLP
	if f.MoE() {
		b.moe, err = e.loadMoE(layerWeights{m.src, m.names, i, "moe."}, f)
		m.releaseLayer(i)
		return b, err
	}
	mlp := layerWeights{m.src, m.names, i, "mlp."}
	linear := func(name string, out, in int) *tensor.Linear {
		if err != nil {
			return nil
		}
		w, ok := mlp.Get(name)
		if !ok {
			err = tensor.Missing("mlp." + name)
			return nil
		}
		if err = w.Check(out, in); err != nil {
			return nil
		}
		var bias *tensor.Weight
		if v, ok := mlp.Get(name + ".bias"); ok {
			bias = &v
		}
		var l *tensor.Linear
		l, err = e.packer.Linear(w, bias)
		return l
	}
	if f.Kind != config.Plain {
		b.gate = linear("gate", f.Intermediate, c.Hidden)
	}
	b.up = linear("up", f.Intermediate, c.Hidden)
	b.down = linear("down", c.Hidden, f.Intermediate)
	m.releaseLayer(i)
	return b, err
}

// release tells the system that a packed tensor's file pages need not stay in memory.
func (m *Model) release(name string) { m.src.Release(name) }

func (m *Model) releaseLayer(i int) {
	for _, p := range m.names.layer {
		for _, suffix := range []string{".weight", "", "_blocks", "_scales"} { // the last three of experts in one tensor
			m.src.Release(fmt.Sprintf(m.names.prefix, i) + p.name + suffix)
		}
	}
}

// Feed is one sequence's share of a step.
type Feed struct {
	Sequence *kvcache.Sequence
	Tokens   []int32
	All      bool // logits of every token; else of the last alone
}

// Step runs new tokens of some sequences and returns logits, [rows, vocab], sequence after sequence: of every token or the last of each. The result is valid until the
// next step. On an error no sequence has changed.
func (e *Engine) Step(feeds []Feed) (tensor.Buf, error) {
	if err := e.reserve(feeds); err != nil {
		return tensor.Buf{}, err
	}
	if inParts(feeds) {
		return e.runParts(feeds), nil
	}
	e.lay(feeds, nil)
	return e.run(feeds), nil
}

// run computes what was laid out and commits it.
func (e *Engine) run(feeds []Feed) tensor.Buf {
	c, ws := e.Model.Config, e.ws
	x := ws.Embed(e.embed, e.ids, c.EmbedScale)
	if e.entry != nil {
		e.entry.apply(ws, x)
	}
	if n := c.Layers[0].MLP.Routing.Network; n > 0 {
		e.carried = ws.New(x.Rows, n)
	}
	if e.streams != nil {
		e.streams.enter(e, x)
	}
	for i := 0; i < len(e.blocks); i++ {
		if c := e.circleAt(i); c != nil && x.Rows > len(feeds) {
			e.settle(c, x)
			i = c.high
		}
		e.layer(i, x)
	}
	for _, f := range feeds {
		f.Sequence.Commit(f.Tokens)
	}
	switch {
	case len(e.last) == 0:
		return tensor.Buf{}
	case e.streams != nil:
		x = e.streams.leave(e, e.last)
	case len(e.last) < x.Rows:
		x = ws.Gather(x, e.last)
	}
	logits := ws.MatMul(e.applyNorm(x, e.norm), e.head)
	ws.Scale(logits, c.LogitScale)
	ws.Softcap(logits, c.FinalSoftcap)
	return logits
}

// reserve makes room for the rows of all feeds or of none.
func (e *Engine) reserve(feeds []Feed) error {
	for i, f := range feeds {
		if len(f.Tokens) == 0 {
			return fault.New(fault.BadInput, "step", "no tokens", "at least one a sequence", "")
		}
		for _, id := range f.Tokens {
			if id < 0 || int(id) >= e.Model.Config.Vocab {
				return fault.New(fault.BadInput, "token id", fmt.Sprint(id), fmt.Sprintf("the vocabulary has %d", e.Model.Config.Vocab), "take ids that lowkey tokenize gives with the same model")
			}
		}
		if err := f.Sequence.Reserve(len(f.Tokens)); err != nil {
			for _, g := range feeds[:i] {
				g.Sequence.Rollback()
			}
			return err
		}
	}
	return nil
}

// lay lays out ids, positions and the rows whose logits are wanted: of every token or the last, of the feeds that wants names; nil names all.
func (e *Engine) lay(feeds []Feed, wants func(feed int) bool) {
	e.ids, e.pos, e.last = e.ids[:0], e.pos[:0], e.last[:0]
	e.step.Workspace, e.step.Sequences, e.step.Counts = e.ws, e.step.Sequences[:0], e.step.Counts[:0]
	for i, f := range feeds {
		for j := range f.Tokens {
			if (f.All || j == len(f.Tokens)-1) && (wants == nil || wants(i)) {
				e.last = append(e.last, len(e.ids))
			}
			e.ids, e.pos = append(e.ids, f.Tokens[j]), append(e.pos, f.Sequence.Rows()+j)
		}
		e.step.Sequences, e.step.Counts = append(e.step.Sequences, f.Sequence), append(e.step.Counts, len(f.Tokens))
	}
	e.step.Tokens = e.ids
	e.ws.Begin(e.pos)
}

// layer runs layer i on x in place or, where there are several streams, on theirs.
func (e *Engine) layer(i int, x tensor.Buf) {
	if e.streams == nil {
		e.block(i, x)
		return
	}
	b := e.streams.before(e, i)
	e.block(i, b)
	e.streams.after(e, i, b)
}

// block runs the block of layer i on x in place.
func (e *Engine) block(i int, x tensor.Buf) {
	b, c, ws := &e.blocks[i], e.Model.Config, e.ws
	m := ws.Mark()
	if c.Parallel {
		e.parallel(i, x)
		return
	}
	h, y := e.attend(i, x)
	if c.SandwichNorms || c.PostNormOnly {
		y = e.applyNorm(y, b.attnPostNorm)
	}
	e.join(b.attnJoin, x, h, y)
	ws.Release(m)
	h = x
	if !c.PostNormOnly {
		h = e.applyNorm(x, b.mlpNorm)
	}
	y = e.mlp(b, &c.Layers[i].MLP, h)
	if c.SandwichNorms || c.PostNormOnly {
		y = e.applyNorm(y, b.mlpPostNorm)
	}
	e.join(b.mlpJoin, x, h, y)
	ws.Release(m)
}

// attend is layer i's attention y over x, and h, what it read: x behind the norm, where there is one.
func (e *Engine) attend(i int, x tensor.Buf) (h, y tensor.Buf) {
	b, c := &e.blocks[i], e.Model.Config
	from := c.RowsOf(i)
	e.step.Layer, e.step.View, e.step.Types, e.step.Strict = from, &b.view, e.Store.Types(from), c.Layers[i].Attention.Strict
	if !c.PostNormOnly {
		x = e.applyNorm(x, b.attnNorm)
	}
	return x, b.attn.Step(&e.step, x)
}

// parallel runs a layer whose attention and MLP both read its input.
func (e *Engine) parallel(i int, x tensor.Buf) {
	ws, b := e.ws, &e.blocks[i]
	m, scale := ws.Mark(), e.Model.Config.ResidualScale
	_, y := e.attend(i, x)
	z := e.mlp(b, &e.Model.Config.Layers[i].MLP, e.applyNorm(x, b.mlpNorm))
	ws.Add(x, y, scale)
	ws.Add(x, z, scale)
	ws.Release(m)
}

func (e *Engine) mlp(b *block, f *config.MLP, h tensor.Buf) tensor.Buf {
	if b.moe != nil {
		return e.moe(b.moe, f, h)
	}
	if b.gate == nil {
		y := e.ws.MatMul(h, b.up)
		e.ws.Activate(y, activation(f))
		return e.ws.MatMul(y, b.down)
	}
	return e.gated(&expertWeights{b.gate, b.up, b.down}, f, h)
}

func (e *Engine) applyNorm(x tensor.Buf, n normWeights) tensor.Buf {
	c := e.Model.Config
	if c.Norm.Kind == config.LayerNorm {
		return e.ws.LayerNorm(x, n.weight, n.bias, c.Norm.Eps)
	}
	return e.ws.RMSNorm(x, n.weight, tensor.Norm{Eps: c.Norm.Eps, PlusOne: c.Norm.PlusOne})
}

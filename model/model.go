package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// Model is a configuration, its weights on disk and one attention design a layer. Opening it reads no weights.
type Model struct {
	Config *config.Config
	Path   string
	GGUF   *gguf.File // nil for a folder
	// ConfigJSON is the bytes of config.json where the model was made by New or opened from a folder.
	ConfigJSON []byte

	src   Source
	names *names
	// Settle: where layers read higher ones, Forward on a tape runs passes until they settle, for evaluation, instead of training's fixed number.
	Settle bool

	passes  *[2]int            // of training, where layers read higher ones: without and with gradients; nil: the usual
	designs []attention.Design // for the trained context; longrope's and dynamic frequencies depend on it
}

// Open reads the configuration and finds the weights of a .gguf file or a Hugging Face folder. What cannot run is refused by name.
func Open(path string) (*Model, error) {
	file, err := isGGUF(path)
	if err != nil {
		return nil, err
	}
	m := &Model{Path: path}
	if file {
		err = m.openGGUF(path)
	} else {
		err = m.readConfig(path)
	}
	if err == nil {
		err = m.Config.Runnable()
	}
	if err == nil && !file {
		err = m.openFolder(path)
	}
	if err == nil {
		m.designs, err = m.build(m.Config.MaxPosition)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// FromBytes opens the model whose config.json and model.safetensors are these bytes, which must stay as they are. name stands in messages.
func FromBytes(name string, configJSON, weights []byte) (*Model, error) {
	c, err := config.Parse(configJSON, name)
	if err == nil {
		err = c.Runnable()
	}
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Parse(weights)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c, Path: name, ConfigJSON: configJSON, src: folderSource{f}, names: folderNames(c)}
	m.designs, err = m.build(c.MaxPosition)
	return m, err
}

func (m *Model) openGGUF(path string) error {
	f, err := gguf.OpenSplit(path)
	if err != nil {
		return err
	}
	m.GGUF, m.src, m.names = f, ggufSource{f}, &ggufNames
	if m.Config, err = config.FromGGUF(f); err != nil {
		return err
	}
	if t, ok := f.Tensor("token_embd.weight"); ok && m.Config.Vocab == 0 {
		m.Config.Vocab = t.Shape()[0]
	}
	if err := (ggufSource{f}).checkFormats(); err != nil {
		return err
	}
	if _, ok := f.Tensor("blk.0.ffn_gate.0.weight"); ok { // early Mixtral files have a tensor for each expert
		m.names = ggufNames.with(map[string]place{"moe.gate": at("ffn_gate.%d"), "moe.up": at("ffn_up.%d"), "moe.down": at("ffn_down.%d")})
	}
	for i := range m.Config.Layers {
		_, biased := layerWeights{m.src, m.names, i, "moe."}.Get("router_bias")
		m.Config.Layers[i].MLP.Routing.Bias = biased
	}
	return m.ropeFactors()
}

// ropeFactors reads the divisors of rotary frequencies that Llama 3 files keep in a tensor.
func (m *Model) ropeFactors() error {
	w, ok := m.src.Tensor("rope_freqs.weight")
	if !ok {
		return nil
	}
	if len(w.Shape) != 1 {
		return fault.New(fault.BadFile, "tensor "+w.Name, fmt.Sprintf("shape %v", w.Shape), "must be a list of divisors", "fetch the file again, or convert the model anew")
	}
	divisors := make([]float64, w.Cols())
	for i, v := range w.Float32s() {
		divisors[i] = float64(v)
	}
	return m.Config.SetRopeFactors(divisors)
}

func (m *Model) readConfig(path string) (err error) {
	if m.Config, err = config.FromFolder(path); err == nil {
		m.ConfigJSON, err = os.ReadFile(filepath.Join(path, "config.json"))
	}
	return err
}

func (m *Model) openFolder(path string) error {
	f, err := safetensors.OpenFolder(path)
	if err != nil {
		return err
	}
	m.src, m.names = folderSource{f}, folderNames(m.Config)
	m.names = m.names.nested(m.src)
	if _, ok := m.topWeight("lm_head", ".bias"); ok {
		return fault.New(fault.Unsupported, path, "a bias of the output matrix (lm_head.bias)", "models whose logits have no bias run", "")
	}
	return nil
}

// familyNames are those of families that stand in files of their own.
var familyNames = map[string]*names{}

// folderNames picks the family's tensor names.
func folderNames(c *config.Config) *names {
	a := c.Layers[0].Attention
	if n := familyNames[c.ModelType]; n != nil {
		return n
	}
	switch {
	case c.Source != "" && a.Design == "mfa":
		return mlraNames.with(map[string]place{"attn.q_a": at("attn.c_q"), "attn.q_norm": at("attn.q_layernorm"), "attn.q_b": at("attn.w_q")})
	case c.Source != "" && a.Design == "tpa":
		return mlraNames.with(map[string]place{"attn.q": at("attn.c_qkv.c_q"), "attn.a_q": at("attn.c_qkv.W_A_q"), "attn.b_q": at("attn.c_qkv.W_B_q"), "attn.a_k": at("attn.c_qkv.W_A_k"),
			"attn.b_k": at("attn.c_qkv.W_B_k"), "attn.a_v": at("attn.c_qkv.W_A_v"), "attn.b_v": at("attn.c_qkv.W_B_v"), "attn.out_norm": at("attn.subln")})
	case c.Source != "" && a.Design == "gta":
		return mlraNames.with(map[string]place{"attn.kv": at("attn.kv_proj"), "attn.k_rope": at("attn.W_rope_k")})
	case c.Source != "" && (a.Design == "gla" || a.Design == "mlra"):
		return mlraNames.with(mlraLatents(a.Latents))
	case c.Source != "" && c.ModelType != "lckv-llama":
		return &mlraNames
	case c.ModelType == "step3_text":
		return hfNames.with(map[string]place{"attn.q_a": at("self_attn.q_proj"), "attn.q_norm": at("self_attn.inter_norm"), "attn.q_b": at("self_attn.wq"),
			"moe.router": at("moe.gate"), "moe.gate": at("moe.gate_proj"), "moe.up": at("moe.up_proj"), "moe.down": at("moe.down_proj"),
			"moe.shared_gate": at("share_expert.gate_proj"), "moe.shared_up": at("share_expert.up_proj"), "moe.shared_down": at("share_expert.down_proj")})
	case c.ModelType == "lowkey":
		own := map[string]place{}
		for i := range c.Layers {
			a := c.Layers[i].Attention
			a.SharesWith = -1 // the names of all tensors, whichever layers have them
			for _, t := range config.DesignOf(a.Design).Tensors(c, &a) {
				own["attn."+t.Name] = at(t.File)
			}
		}
		return hfNames.with(own)
	case c.ModelType == "gemma3n_text":
		return gemma3nNames(c)
	case c.SandwichNorms:
		return hfNames.with(map[string]place{"attn_post_norm": at("post_attention_layernorm"), "mlp_norm": at("pre_feedforward_layernorm"), "mlp_post_norm": at("post_feedforward_layernorm")})
	case c.PostNormOnly:
		return hfNames.with(map[string]place{"attn_post_norm": at("post_attention_layernorm"), "mlp_post_norm": at("post_feedforward_layernorm")})
	case c.ModelType == "hunyuan_v1_dense":
		return hfNames.with(map[string]place{"attn.q_norm": at("self_attn.query_layernorm"), "attn.k_norm": at("self_attn.key_layernorm")})
	case c.ModelType == "starcoder2":
		return hfNames.with(map[string]place{"mlp.up": at("mlp.c_fc"), "mlp.down": at("mlp.c_proj")})
	case c.ModelType == "zaya":
		return zayaNames(&c.Layers[0].MLP)
	case c.ModelType == "gpt_oss":
		const experts = "mlp.experts."
		return hfNames.with(map[string]place{"moe.router": at("mlp.router"), "moe.gate": {name: experts + "gate_up_proj", step: 2}, "moe.up": {name: experts + "gate_up_proj", from: 1, step: 2},
			"moe.down": {name: experts + "down_proj", step: 1}})
	case c.ModelType == "mixtral":
		const block = "block_sparse_moe."
		return hfNames.with(map[string]place{"moe.router": at(block + "gate"), "moe.gate": at(block + "experts.%d.w1"), "moe.up": at(block + "experts.%d.w3"), "moe.down": at(block + "experts.%d.w2")})
	case c.ModelType == "gpt_neox":
		n, w := a.HeadDim, 3*a.HeadDim
		return neoxNames.with(map[string]place{"attn.q": cutRows("attention.query_key_value", 0, n, w), "attn.k": cutRows("attention.query_key_value", n, 2*n, w), "attn.v": cutRows("attention.query_key_value", 2*n, w, w)})
	case c.ModelType == "phi3":
		q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
		f := c.Layers[0].MLP.Intermediate
		return hfNames.with(map[string]place{"attn.q": cutRows("self_attn.qkv_proj", 0, q, 0), "attn.k": cutRows("self_attn.qkv_proj", q, q+kv, 0), "attn.v": cutRows("self_attn.qkv_proj", q+kv, q+2*kv, 0),
			"mlp.gate": cutRows("mlp.gate_up_proj", 0, f, 0), "mlp.up": cutRows("mlp.gate_up_proj", f, 2*f, 0)})
	}
	return &hfNames
}

// Close gives the mapped files back; the packed weights of engines live on.
func (m *Model) Close() {
	if m.src != nil {
		m.src.Close()
		m.src = nil
	}
}

// build makes each layer's design for sequences of up to context tokens. Layers that rotate alike share one Rope, so that a step makes its angles once.
func (m *Model) build(context int) ([]attention.Design, error) {
	ropes := ropes{context: context, made: map[string]*tensor.Rope{}}
	var out []attention.Design
	for i := range m.Config.Layers {
		a := &m.Config.Layers[i].Attention
		d, err := m.design(a, ropes)
		if err == nil && a.SharesWith >= 0 {
			d, err = reader(d, a)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// ropes are the rotations made for one context, by their descriptions.
type ropes struct {
	context int
	made    map[string]*tensor.Rope
}

func (m *Model) rope(r config.Rope, ropes ropes) (*tensor.Rope, error) {
	if r.Dim == 0 {
		return nil, nil
	}
	key := fmt.Sprintf("%+v", r)
	if ropes.made[key] == nil {
		inv, factor, err := r.Frequencies(ropes.context)
		if err != nil {
			return nil, err
		}
		ropes.made[key] = &tensor.Rope{InvFreq: inv, Factor: factor, Pairs: r.Layout == config.Pairs, Sign: float64(r.Sign), BF16: r.BF16Table}
	}
	return ropes.made[key], nil
}

// Design is how a layer attends.
func (m *Model) Design(layer int) attention.Design { return m.designs[layer] }

// Layouts is what every layer leaves behind.
func (m *Model) Layouts() []kvcache.Layout {
	out := make([]kvcache.Layout, len(m.designs))
	for i, d := range m.designs {
		out[i] = d.Layout()
	}
	keptWindow(m.Config, out)
	return out
}

// CheckMemory refuses a bank of retrieved vectors that the layers cannot read.
func (m *Model) CheckMemory(bank *attention.Memory) error { return bank.Check(m.designs) }

// Fingerprint identifies the model as it runs for a context: configuration, the rotary frequencies where they depend on it, and the size and sampled bytes of its tensors.
func (m *Model) Fingerprint(context int) string {
	h := sha256.New()
	c := *m.Config
	json.NewEncoder(h).Encode(c)
	for i := range c.Layers {
		if r := &c.Layers[i].Attention.Rope; r.Kind == config.RopeLong {
			fmt.Fprintln(h, "long", context > r.Original)
		} else if r.Stretched(context) {
			fmt.Fprintln(h, "context", context)
		}
	}
	for i := -1; i < len(m.designs); i++ {
		for _, name := range []string{"embed", "norm", "attn_norm", "attn.k", "attn.kv_a", "attn.b_k", "attn.kv", "mlp.down", "moe.router"} {
			var w tensor.Weight
			var ok bool
			if i < 0 {
				w, ok = m.topWeight(name, ".weight")
			} else {
				w, ok = layerWeights{m.src, m.names, i, ""}.Get(name)
			}
			if ok {
				fmt.Fprintln(h, name, w.Shape, w.Format, len(w.Data))
				h.Write(w.Data[:min(4096, len(w.Data))])
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// anyLayer asks about the tensors of these names in all layers.
func (m *Model) anyLayer(is func(tensor.Weight) bool, names ...string) bool {
	for i := range m.designs {
		for _, name := range names {
			if w, ok := (layerWeights{m.src, m.names, i, ""}).Get(name); ok && is(w) {
				return true
			}
		}
	}
	return false
}

func (m *Model) topWeight(name, suffix string) (tensor.Weight, bool) {
	p, ok := m.names.top[name]
	if !ok {
		return tensor.Weight{}, false
	}
	return m.src.Tensor(p.name + suffix)
}

// lmHead is the output matrix: its own or, where tied, the embedding.
func (m *Model) lmHead() (tensor.Weight, bool, error) {
	if w, ok := m.topWeight("lm_head", ".weight"); ok && !m.Config.TieEmbeddings {
		return w, false, nil
	}
	w, ok := m.topWeight("embed", ".weight")
	if !ok {
		return w, false, fault.New(fault.BadFile, m.Path, "no token embedding", "", "fetch the model again; lowkey inspect --tensors lists what it has")
	}
	return w, true, nil
}

// Forward is the definition: logits [T, vocab] of a whole sequence on any Ops, and each layer's attention output where keep asks for it.
func (m *Model) Forward(o tensor.Ops, ids []int32, keep func(layer int, attn tensor.Tensor)) tensor.Tensor {
	pos := make([]int, len(ids))
	for i := range pos {
		pos[i] = i
	}
	return m.ForwardAt(o, ids, pos, keep)
}

// ForwardAt is Forward with the tokens' positions given: several documents one after another, each from position 0, on an Ops that keeps them apart.
func (m *Model) ForwardAt(o tensor.Ops, ids []int32, pos []int, keep func(layer int, attn tensor.Tensor)) tensor.Tensor {
	c := m.Config
	leaf := func(w tensor.Weight) tensor.Tensor { return o.Weight(w) }
	norm := func(x tensor.Tensor, weight, bias func() (tensor.Weight, bool)) tensor.Tensor {
		var wt, bt tensor.Tensor
		if w, ok := weight(); ok {
			wt = leaf(w)
		}
		if c.Norm.Kind == config.LayerNorm {
			if b, ok := bias(); ok {
				bt = leaf(b)
			}
			return o.LayerNorm(x, wt, bt, c.Norm.Eps)
		}
		return o.RMSNorm(x, wt, tensor.Norm{Eps: c.Norm.Eps, PlusOne: c.Norm.PlusOne})
	}
	designs, err := m.build(slices.Max(pos) + 1)
	if err != nil { // Open built them once
		panic(err)
	}
	embed, _ := m.topWeight("embed", ".weight")
	x := o.Scale(o.Embed(leaf(embed), ids), c.EmbedScale)
	if c.Rescaled {
		x = rescaled(o, x, func(name string) (tensor.Weight, bool) { return m.topWeight("embed_"+name, "") })
	}
	around := m.around(o, ids)
	x = around.enter(x)
	shared := newSharing(m, o, designs, ids, pos)
	layerNorm := func(i int, x tensor.Tensor, name string) tensor.Tensor {
		lw := layerWeights{m.src, m.names, i, ""}
		return norm(x, func() (tensor.Weight, bool) { return lw.Get(name) }, func() (tensor.Weight, bool) { return lw.Get(name + ".bias") })
	}
	preNorm := func(i int, x tensor.Tensor, name string) tensor.Tensor {
		if c.PostNormOnly {
			return x
		}
		return layerNorm(i, x, name)
	}
	block := func(i int, all tensor.Tensor) tensor.Tensor {
		pre := func(x tensor.Tensor, name string) tensor.Tensor { return preNorm(i, x, name) }
		post := func(y tensor.Tensor, name string) tensor.Tensor {
			if c.SandwichNorms || c.PostNormOnly {
				y = layerNorm(i, y, name)
			}
			return o.Scale(y, c.ResidualScale)
		}
		x, beside := around.before(i, all)
		in := pre(x, "attn_norm")
		y := shared.attend(i, layerWeights{m.src, m.names, i, "attn."}, in)
		if keep != nil && shared.last {
			keep(i, y)
		}
		h := m.join(o, i, "attn", x, in, post(y, "attn_post_norm"))
		from := h
		if c.Parallel {
			from = x
		}
		in = pre(from, "mlp_norm")
		if f := &c.Layers[i].MLP; f.MoE() {
			y, beside = forwardMoE(o, layerWeights{m.src, m.names, i, "moe."}, f, in, beside)
		} else {
			y = forwardMLP(o, layerWeights{m.src, m.names, i, "mlp."}, f, in)
		}
		return around.after(i, m.join(o, i, "mlp", h, in, post(y, "mlp_post_norm")), beside)
	}
	run := func(x tensor.Tensor, from, to int) tensor.Tensor {
		for i := from; i < to; i++ {
			x = tensor.Checkpoint(o, x, func(x tensor.Tensor) tensor.Tensor { return block(i, x) })
		}
		return x
	}
	x = around.leave(shared.run(x, run, func(i int, all tensor.Tensor) {
		x, _ := around.before(i, all)
		shared.rows(i, layerWeights{m.src, m.names, i, "attn."}, preNorm(i, x, "attn_norm"))
	}))
	x = norm(x, func() (tensor.Weight, bool) { return m.topWeight("norm", ".weight") }, func() (tensor.Weight, bool) { return m.topWeight("norm", ".bias") })
	head, _, _ := m.lmHead()
	logits := o.Scale(o.MatMul(x, leaf(head)), c.LogitScale)
	if c.FinalSoftcap > 0 {
		logits = o.Softcap(logits, c.FinalSoftcap)
	}
	return logits
}

func forwardMLP(o tensor.Ops, w layerWeights, f *config.MLP, x tensor.Tensor) tensor.Tensor {
	linear := func(name string, x tensor.Tensor) tensor.Tensor {
		t, _ := w.Get(name)
		y := o.MatMul(x, o.Weight(t))
		if b, ok := w.Get(name + ".bias"); ok {
			y = o.AddBias(y, o.Weight(b))
		}
		return y
	}
	if f.Kind == config.Plain {
		return linear("down", act(o, f, linear("up", x)))
	}
	return linear("down", gatedBy(o, f, linear("gate", x), linear("up", x)))
}

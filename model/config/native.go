package config

// lowkey's own configuration: "model_type": "lowkey". It is flat, and names the design, so that any design can be written as a model. A model of a published
// architecture keeps that architecture's config.json instead.
//
// Required: hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size, and
//
//	attention  the name of a design
//
//	layer_map  which layers read the rows of others, as sharing.go says ("" none); a design that slides by sliding_window then slides in the layers marked with an s
//
// With a default: max_position_embeddings 2048, rms_norm_eps 1e-6, hidden_act "silu", tie_word_embeddings false, attention_bias false, mlp_bias false, and rope_parameters
// (or rope_theta and rope_scaling) as in every Hugging Face folder, half-split pairs. bos_token_id and eos_token_id as usual. What a design reads beside these stands in its
// design_NAME.go, and so do its tensors, which are named as Llama's and DeepSeek's where those have them: model.layers.N.self_attn.q_proj and so on.
func (p *parser) lowkey() {
	p.decoder(class{})
	name := p.text("attention", "")
	d := designs[name]
	if d == nil || !d.Runs() {
		p.unsupported("attention", name, "designs of this configuration: "+list(Designs()))
		return
	}
	a := d.read(p, d)
	p.layers(a, p.dense())
	if p.has("layer_map") {
		p.layerMap("layer_map", a.Design == MHA || a.Design == GQA || a.Design == MQA || a.Design == SQA)
	}
	if d.each != nil {
		d.each(p)
	}
}

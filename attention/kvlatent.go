package attention

// KVLatent is the attention of KV-Latent (arXiv 2507.11273): GQA with heads narrower than the model's width would make them, queries and keys d_qk, values d_vo, each by its own measure.
//
//	q_h = RoPE(x Wq_h)   k_g = RoPE(x Wk_g)   [T, d_qk]      v_g = x Wv_g   [T, d_vo]      h = 1..n heads, g = 1..n_kv groups
//	o_h = softmax(q_h k_g(h)ᵀ / sqrt d_qk) v_g(h)
//	y   = concat(o_1..o_n) Wo                                                               Wo [n d_vo, d]
//
// RoPE over few channels: D = d_qk, a multiple of 4, has D/2 pairs of frequencies base^(-e/D), e = D/4, D/4 + 2 .. below 3D/4, then 3D/4, 3D/4 + 1 .. D - 1. RoPE's own are e = 0, 2 .. D - 2. The highest
// frequencies go, the lowest are sampled twice as densely: in a narrow head the fast pairs carry noise that wide heads average away. They come in by Rope.
//
// One token leaves k and v behind: n_kv (d_qk + d_vo) elements a layer. Nothing folds. The paper finds the loss more sensitive to d_vo than to d_qk.
// Will not do: the conversion itself, which takes every s-th row of Wq, Wk and Wv and column of Wo of a trained model, and trains on.
//
// Weights and options: as GQA.
type KVLatent struct{ GQA }

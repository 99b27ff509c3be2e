package attention

// SQA is Sparse Query Attention (arXiv 2510.01817): GQA with fewer query heads than the hidden width holds. H = d/d_h is the number of heads of MHA.
//
//	q_h = RoPE(x Wq_h)   k_g = RoPE(x Wk_g)   v_g = x Wv_g       h = 1..H_q heads, H_q < H, g = 1..H_kv groups, g(h) = h / (H_q/H_kv)
//	o_h = softmax(s q_h k_g(h)ᵀ) v_g(h)                          s = Scale, 1/sqrt d_h
//	y   = concat(o_1..o_Hq) Wo                                   Wo [d, H_q d_h]
//
// Scores and mixes take H_q/H of MHA's operations, which counts in training and in prompts, where every token meets every earlier one. Decoding waits for rows and gains by H_kv alone.
// The paper's forms: SQA H_q = H/2, sSQA H_q = H_kv = H/2, xSQA H_q = H_kv = H/4, xSMQA H_q = H/4 and H_kv = 1.
//
// One token leaves k and v behind: 2 H_kv d_h elements a layer, as in GQA. Nothing folds. Will not do: more groups of keys than query heads (the paper's rSQA).
//
// Weights and options: as GQA.
type SQA struct{ GQA }

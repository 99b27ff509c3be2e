#!/usr/bin/env python3
"""Compares lowkey with transformers on random tiny models of every published model type that lowkey runs.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors      # CPU builds will do
    venv/bin/python tools/check-models/check.py [--seeds 0:10] [--work DIR] [--again] [--binary FILE] [--write] [TYPE...]

A seed draws, for each model type, a configuration with unusual but legal options and small sizes, and weights in which nothing is trivial (norm weights not 1, biases not 0). The model is written as
save_pretrained does, in float32 or bfloat16, in one file or several; a second folder holds the same weights behind an old configuration: rope_theta and rope_scaling, no layer_types, and fields that
have the class's default left out. Each folder is loaded again by transformers, from nothing but its files, and gives golden.safetensors: input_ids [23] and input_ids_b [40], logits, logits_b,
attn_out_L and mlp_out_L, in float32. TestGoldenModels then opens every folder: Forward, the cached step token by token and in chunks.

The outcome of a folder is one of

    right      every path agrees
    refused    lowkey names what it does not run; allowed where the draw was odd (case.json lists why), otherwise a failure
    wrong      a path disagrees, or the process died

Not compared: a draw whose logits move by more than a rounding when its weights move by one (near ties of a router), and a configuration that transformers itself does not load.
--write stores the table in docs/results/models.md.
"""
import argparse
import datetime
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


class Draw(random.Random):
    """A draw of options. Those that lowkey may refuse are noted in odd."""

    def __init__(self, seed):
        super().__init__(seed)
        self.odd = []

    def chance(self, p):
        return self.random() < p

    def rarely(self, p, name):
        """An option that may be refused."""
        if self.chance(p):
            self.odd.append(name)
            return True
        return False

    def even(self, low, high):
        return 2 * self.randint(low // 2, high // 2)

    def theta(self):
        return self.choice([100.0, 500.0, 3000.0, 10000.0, 1e6])

    def act(self, default="silu"):
        a = self.choice([default, default, "silu", "swish", "gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_python", "gelu_accurate"])
        if self.chance(0.03):
            a = self.choice(["relu", "quick_gelu", "relu2"])
            self.odd.append("hidden_act " + a)
        return a

    def eps(self):
        return self.choice([1e-6, 1e-5, 1e-3, 0.02])


def sizes(r, loose=False):
    """Sizes of a decoder. The number of heads divides the hidden width, as most classes ask, or, loose, need not."""
    n = r.choice([1, 2, 3, 4, 5, 6, 8])
    high = 160 if r.chance(0.1) else 56
    hidden = n * r.randint(-(-24 // n), high // n)
    if loose and r.chance(0.6):
        hidden = r.randint(24, high)
    c = dict(vocab_size=r.randint(37, 70), hidden_size=hidden, intermediate_size=r.randint(17, 71), num_hidden_layers=r.randint(1, 4), num_attention_heads=n,
             max_position_embeddings=r.choice([32, 64, 128, 512]), rms_norm_eps=r.eps(), tie_word_embeddings=r.chance(0.5), bos_token_id=1, eos_token_id=2, pad_token_id=0)
    return c


def grouped(r, needs_head_dim=False, may_head_dim=True, loose=False):
    """Sizes and heads of grouped queries."""
    while True:
        c = sizes(r, loose and needs_head_dim)
        n = c["num_attention_heads"]
        c["num_key_value_heads"] = r.choice([k for k in range(1, n + 1) if n % k == 0])
        own = c["hidden_size"] // n
        if needs_head_dim or may_head_dim and r.chance(0.6):
            c["head_dim"] = r.choice([34, 64, 66]) if r.chance(0.1) else r.even(4, 20)
        elif own % 2:
            continue
        return c


def rope(r, c, dim, kinds="default linear dynamic yarn llama3 longrope"):
    """New rope_parameters for heads that turn dim channels."""
    kind = r.choice(["default"] + kinds.split())
    p = {"rope_type": kind, "rope_theta": r.theta()}
    if kind in ("linear", "dynamic", "yarn", "llama3"):
        p["factor"] = r.choice([1.5, 2.0, 4.0, 8.0])
    if kind in ("yarn", "llama3", "longrope") and (kind == "longrope" or r.chance(0.8)):
        p["original_max_position_embeddings"] = r.choice([8, 16, 64, 256])
    if kind == "yarn":
        if r.chance(0.4):
            p["beta_fast"], p["beta_slow"] = r.choice([4.0, 8.0, 16]), r.choice([0.5, 1.0, 2])
        if r.chance(0.3):
            p["attention_factor"] = r.choice([0.8, 1.3])
        if r.chance(0.4):
            p["mscale"] = r.choice([0.7, 1.0])
        if r.chance(0.5):
            p["mscale_all_dim"] = r.choice([0.0, 0.6, 1.0])
        if r.chance(0.3):
            p["truncate"] = r.chance(0.5)
        if r.chance(0.15):
            p["factor"] = None
    if kind == "llama3":
        p["low_freq_factor"], p["high_freq_factor"] = 1.0, r.choice([2.0, 4.0])
    if kind == "longrope":
        p["short_factor"] = [1 + r.random() for _ in range(dim // 2)]
        p["long_factor"] = [1 + 7 * r.random() for _ in range(dim // 2)]
        p["original_max_position_embeddings"] = r.choice([8, 64])  # both inputs on one side
        if r.chance(0.5):
            p["factor"] = r.choice([2.0, 4.0])
        if r.chance(0.3):
            p["attention_factor"] = r.choice([0.9, 1.2])
    return p


def width(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def slide(r, c):
    c["sliding_window"] = r.choice([None, 1, 3, 8, 22, 30, 39, 64])


def kinds_of_layers(r, c, full="full_attention", sliding="sliding_attention"):
    c["layer_types"] = [r.choice([full, sliding]) for _ in range(c["num_hidden_layers"])]


def llama(r):
    c = grouped(r)
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), mlp_bias=r.chance(0.4), rope_parameters=rope(r, c, width(c)))
    return c


def mistral(r):
    c = grouped(r)
    c.update(hidden_act=r.act(), rope_parameters=rope(r, c, width(c)))
    slide(r, c)
    return c


def qwen_window(r, c, types=True):
    c["use_sliding_window"] = r.chance(0.6)
    c["sliding_window"] = r.choice([3, 8, 22, 39])
    if types:
        c["max_window_layers"] = r.randint(0, c["num_hidden_layers"])
        if c["use_sliding_window"] and r.chance(0.5):
            kinds_of_layers(r, c)


def qwen2(r):
    c = grouped(r)
    c.update(hidden_act=r.act(), rope_parameters=rope(r, c, width(c)))
    qwen_window(r, c)
    return c


def qwen3(r):
    c = grouped(r, needs_head_dim=True, loose=True)
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), rope_parameters=rope(r, c, width(c)))
    qwen_window(r, c)
    return c


def experts(r, c, key, top="num_experts_per_tok"):
    c[key] = r.choice([1, 3, 4, 6, 8])
    c[top] = r.randint(1, min(4, c[key]))


def qwen3_moe(r):
    c = qwen3(r)
    for k in ("max_window_layers", "layer_types"):
        c.pop(k, None)
    experts(r, c, "num_experts")
    n = c["num_hidden_layers"]
    c.update(moe_intermediate_size=r.randint(9, 40), norm_topk_prob=r.chance(0.5), decoder_sparse_step=r.choice([1, 1, 2]), mlp_only_layers=[i for i in range(n) if r.chance(0.25)])
    if r.chance(0.3):
        c["max_window_layers"] = r.randint(0, n)  # an old field that the class does not have
    return c


def mixtral(r):
    c = grouped(r)
    c.update(hidden_act=r.act(), rope_parameters=rope(r, c, width(c)))
    slide(r, c)
    experts(r, c, "num_local_experts")
    return c


def smollm3(r):
    c = grouped(r)
    n = c["num_hidden_layers"]
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), mlp_bias=r.chance(0.4), rope_parameters=rope(r, c, width(c)), use_sliding_window=r.chance(0.5), sliding_window=r.choice([None, 3, 8, 30]),
             no_rope_layer_interval=r.choice([1, 2, 3, 4]))
    if r.chance(0.5):
        c["no_rope_layers"] = [r.randint(0, 1) for _ in range(n)]
    if c["use_sliding_window"] and c["sliding_window"] and r.chance(0.4):
        kinds_of_layers(r, c)
    return c


def phi3(r):
    while True:
        c = grouped(r, may_head_dim=False)
        part = r.choice([1.0, 0.75, 0.5, 0.4])
        dim = int(width(c) * part)
        if dim >= 4 and (dim % 2 == 0 or r.rarely(0.15, "odd rotary width")):
            break
    p = rope(r, c, dim, "default longrope")
    p["partial_rotary_factor"] = part
    if "original_max_position_embeddings" in p:
        c["original_max_position_embeddings"] = p["original_max_position_embeddings"]
    c.update(hidden_act=r.act(), rope_parameters=p)
    slide(r, c)
    return c


def granite(r):
    c = grouped(r)
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), mlp_bias=r.chance(0.4), rope_parameters=rope(r, c, width(c)), embedding_multiplier=r.choice([1.0, 6.0, 12]),
             logits_scaling=r.choice([1.0, 3.0, 8]), residual_multiplier=r.choice([1.0, 0.22]), attention_multiplier=r.choice([1.0, 0.25, 0.0625]))
    return c


def olmo2(r):
    c = grouped(r)
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), rope_parameters=rope(r, c, width(c)))
    return c


def hunyuan(r):
    c = grouped(r, needs_head_dim=True, loose=True)
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), rope_parameters=rope(r, c, width(c)))
    if r.chance(0.3):
        c["rope_parameters"] = {"rope_type": "dynamic", "rope_theta": r.theta(), "alpha": r.choice([5.0, 1000.0]), "factor": 1.0}
    return c


def starcoder2(r):
    c = grouped(r)
    c["norm_epsilon"] = c.pop("rms_norm_eps")
    c.update(hidden_act=r.act("gelu_pytorch_tanh"), use_bias=r.chance(0.6), rope_parameters=rope(r, c, width(c)))
    slide(r, c)
    return c


def gpt_neox(r):
    while True:
        c = sizes(r)
        part = r.choice([0.25, 0.5, 0.75, 1.0, 0.3])
        dim = int(width(c) * part)
        if dim >= 4 and (dim % 2 == 0 or part < 1 and r.rarely(0.15, "odd rotary width")):
            break
    c["layer_norm_eps"] = c.pop("rms_norm_eps")
    p = rope(r, c, dim)
    p["partial_rotary_factor"] = part
    c.update(hidden_act=r.act("gelu"), use_parallel_residual=r.chance(0.5), attention_bias=r.chance(0.6), rope_parameters=p)
    return c


def gemma(r):
    c = grouped(r, needs_head_dim=True)
    act = r.act("gelu_pytorch_tanh")
    c.update(hidden_activation=act, attention_bias=r.chance(0.4), query_pre_attn_scalar=r.choice([7, 16, 144]), sliding_window=r.choice([2, 8, 22, 39]),
             final_logit_softcapping=r.choice([None, 5.0, 30.0]), attn_logit_softcapping=r.choice([None, 2.0, 50.0]))
    if r.chance(0.5):
        kinds_of_layers(r, c)
    return c


def gemma2(r):
    c = gemma(r)
    c["rope_parameters"] = rope(r, c, width(c))
    if r.rarely(0.1, "use_bidirectional_attention"):
        c["use_bidirectional_attention"] = True
    return c


def two_ropes(r, c):
    full = rope(r, c, width(c), "default linear yarn llama3 dynamic")
    full.pop("truncate", None)  # nested, transformers 5.23 does not read it
    local = {"rope_type": "default", "rope_theta": r.theta()}
    if r.chance(0.2):
        local.update(rope_type="linear", factor=4.0)
    return {"full_attention": full, "sliding_attention": local}


def gemma3(r):
    c = gemma(r)
    c["rope_parameters"] = two_ropes(r, c)
    if "layer_types" not in c:
        c["sliding_window_pattern"] = r.choice([2, 3, 6])
    if r.rarely(0.1, "use_bidirectional_attention"):
        c["use_bidirectional_attention"] = True
    return c


def gemma3n(r):
    c = gemma(r)
    for k in ("query_pre_attn_scalar", "attn_logit_softcapping"):
        c.pop(k)
    c["num_hidden_layers"] = r.randint(2, 6)
    if "layer_types" in c:
        kinds_of_layers(r, c)
    c["final_logit_softcapping"] = r.choice([5.0, 30.0])
    n = c["num_hidden_layers"]
    streams = r.choice([2, 3, 4])
    c["rope_parameters"] = two_ropes(r, c)
    c.update(vocab_size_per_layer_input=r.choice([c["vocab_size"], c["vocab_size"] - 9, c["vocab_size"] + 4]), hidden_size_per_layer_input=r.randint(3, 11), altup_num_inputs=streams,
             altup_active_idx=r.randrange(streams), altup_correct_scale=r.chance(0.7), laurel_rank=r.randint(2, 9), tie_word_embeddings=True)
    if r.chance(0.4):
        c["intermediate_size"] = [r.randint(17, 50) for _ in range(n)]
    if r.chance(0.6):
        c["activation_sparsity_pattern"] = [r.choice([0.0, 0.5, 0.95]) for _ in range(n)]
    types = c.get("layer_types") or ["full_attention" if (i + 1) % 5 == 0 else "sliding_attention" for i in range(n)]
    shared = 0
    while shared + 1 < n and set(types[n - shared - 1 :]) <= set(types[: n - shared - 1]):
        shared += 1
    c["num_kv_shared_layers"] = r.randint(0, shared)
    return c


def gpt_oss(r):
    c = grouped(r, needs_head_dim=True, loose=True)
    c.update(rope_parameters=rope(r, c, width(c)), sliding_window=r.choice([2, 8, 22, 39]), attention_bias=r.chance(0.7), swiglu_alpha=r.choice([1.702, 1.1]), swiglu_limit=r.choice([7.0, 0.5]))
    experts(r, c, "num_local_experts")
    if r.chance(0.5):
        kinds_of_layers(r, c)
    if r.chance(0.15):
        c["rope_parameters"] = None  # the class has yarn then
        c["max_position_embeddings"] = 131072
    return c


def latent(r, loose=True):
    c = sizes(r, loose)
    c.update(num_key_value_heads=c["num_attention_heads"], q_lora_rank=r.choice([None, r.randint(6, 30)]), kv_lora_rank=r.randint(6, 30), qk_nope_head_dim=r.randint(3, 17), qk_rope_head_dim=r.even(4, 12),
             v_head_dim=r.randint(3, 19), hidden_act=r.act(), attention_bias=r.chance(0.4))
    c["rope_parameters"] = rope(r, c, c["qk_rope_head_dim"])
    if c["rope_parameters"].get("factor", 1) is None:
        c["rope_parameters"]["factor"] = 2.0  # the softmax scale needs it
    return c


def routed(r, c):
    groups = r.choice([1, 2, 4])
    each = r.choice([2, 3])
    kept = r.randint(1, groups)
    c.update(n_routed_experts=groups * each, n_group=groups, topk_group=kept, num_experts_per_tok=r.randint(1, min(4, kept * each)), moe_intermediate_size=r.randint(9, 30), n_shared_experts=r.randint(1, 3),
             first_k_dense_replace=r.randint(0, c["num_hidden_layers"]), routed_scaling_factor=r.choice([1.0, 2.5, 0.7]), norm_topk_prob=r.chance(0.5))


def deepseek_v2(r):
    c = latent(r, loose=False)
    c["kv_lora_rank"], c["qk_nope_head_dim"] = r.even(6, 30), r.even(4, 16)  # the class views pairs as complex numbers
    routed(r, c)
    c.update(mlp_bias=r.chance(0.3), topk_method=r.choice(["greedy", "group_limited_greedy"]))
    if r.chance(0.3):
        c["first_k_dense_replace"] = c["num_hidden_layers"]
    if c["mlp_bias"] and c["first_k_dense_replace"] < c["num_hidden_layers"]:
        r.odd.append("mlp_bias")
    if c["norm_topk_prob"] and c["first_k_dense_replace"] < c["num_hidden_layers"]:
        r.odd.append("norm_topk_prob")
    return c


def deepseek_v3(r):
    c = latent(r)
    routed(r, c)
    c.update(rope_interleave=r.chance(0.7), num_nextn_predict_layers=0)
    return c


def glm4_moe_lite(r):
    c = deepseek_v3(r)
    c.pop("first_k_dense_replace")
    c.pop("num_nextn_predict_layers")
    if r.chance(0.6):
        c["mlp_layer_types"] = [r.choice(["dense", "sparse"]) for _ in range(c["num_hidden_layers"])]
    return c


def youtu(r):
    c = latent(r)
    c.update(rope_interleave=r.chance(0.7), pad_token_id=None)  # loading sets the padding token's row to zero
    return c


def minicpm3(r):
    c = latent(r, loose=False)
    c.update(mlp_bias=r.chance(0.3), scale_emb=r.choice([1, 3.0, 12]), scale_depth=r.choice([None, 1.4, 0.7]), dim_model_base=r.choice([None, 256, 13]))
    if r.chance(0.3):
        c["v_head_dim"] = None
    return c


def zaya(r):
    while True:
        c = grouped(r, needs_head_dim=True, loose=True)
        if c["num_key_value_heads"] * c["head_dim"] % 2 == 0 and int(c["head_dim"] * 0.5) % 2 == 0:
            break
    c.pop("intermediate_size")
    c.update(hidden_act=r.act(), attention_bias=r.chance(0.4), num_experts=r.choice([1, 3, 4]), num_experts_per_tok=1, moe_intermediate_size=r.randint(9, 40), router_hidden_size=r.randint(5, 20),
             cca_time0=r.choice([1, 2, 3]), cca_time1=r.choice([1, 2, 3]), sliding_window=r.choice([3, 8, 30]))
    if r.chance(0.5):
        kinds_of_layers(r, c, "hybrid", "hybrid_sliding")
    c["rope_parameters"] = {k: {"rope_type": "default", "rope_theta": r.theta(), "partial_rotary_factor": f} for k, f in (("hybrid", 0.5), ("hybrid_sliding", r.choice([0.5, 1.0])))}
    if r.chance(0.3):
        c["rope_parameters"]["hybrid"].update(rope_type="linear", factor=3.0)
    if r.rarely(0.15, "lm_head_bias"):
        c["lm_head_bias"] = True
    return c


TYPES = {"llama": llama, "mistral": mistral, "qwen2": qwen2, "qwen3": qwen3, "qwen3_moe": qwen3_moe, "mixtral": mixtral, "smollm3": smollm3, "phi3": phi3, "granite": granite, "olmo2": olmo2,
         "hunyuan_v1_dense": hunyuan, "starcoder2": starcoder2, "gpt_neox": gpt_neox, "gemma2": gemma2, "gemma3_text": gemma3, "gemma3n_text": gemma3n, "gpt_oss": gpt_oss, "deepseek_v2": deepseek_v2,
         "deepseek_v3": deepseek_v3, "glm4_moe_lite": glm4_moe_lite, "youtu": youtu, "minicpm3": minicpm3, "zaya": zaya}


def old_form(r, kind, new, defaults):
    """The same configuration as files of earlier versions write it."""
    c = dict(new)
    c["torch_dtype"] = c.pop("dtype", "float32")
    c["transformers_version"] = "4.40.0"
    p = c.pop("rope_parameters", None)
    nested = p and any(isinstance(v, dict) for v in p.values())
    if kind == "zaya":
        c["rope_parameters"] = p  # never had another form
    elif nested and p["sliding_attention"]["rope_type"] != "default":
        c["rope_parameters"] = p  # cannot be said in the old form
    elif nested:
        full, local = dict(p["full_attention"]), p["sliding_attention"]
        c["rope_theta"], c["rope_local_base_freq"] = full.pop("rope_theta"), local["rope_theta"]
        c["rope_scaling"] = scaling(r, full, False)  # transformers does not read "type" there
    elif p:
        p = dict(p)
        c["rotary_emb_base" if kind == "gpt_neox" else "rope_theta"] = p.pop("rope_theta")
        if "partial_rotary_factor" in p:
            c["rotary_pct" if kind == "gpt_neox" else "partial_rotary_factor"] = p.pop("partial_rotary_factor")
        c["rope_scaling"] = scaling(r, p)
    for key, value in list(c.items()):
        if key in defaults and defaults[key] == value and not key.endswith("_size") and key not in ("model_type", "architectures", "num_attention_heads") and r.chance(0.6):
            del c[key]
    if kind in ("qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "gemma3n_text", "gpt_oss"):
        if r.chance(0.6):
            c.pop("layer_types", None)  # the class makes its own
    if r.chance(0.3) and new.get("head_dim") == new["hidden_size"] // new["num_attention_heads"]:
        c["head_dim"] = None
    return c


def scaling(r, p, may_say_type=True):
    if p.get("rope_type") == "default":
        return None
    p = dict(p)
    if may_say_type and r.chance(0.5):
        p["type"] = p.pop("rope_type")
    return p


def fill(model, seed):
    """Random weights: matrices keep the size of what they map, norms and biases vary around where they start."""
    g = torch.Generator().manual_seed(seed)
    noise = lambda t: torch.randn(t.shape, generator=g)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "balancing_biases" in name:  # loading sets the last one to -1
                p.copy_(torch.cat([0.2 * noise(p)[:-1], torch.tensor([-1.0])]))
            elif p.dim() < 2:
                p.copy_(p + 0.3 * noise(p) if torch.isfinite(p).all() else 0.3 * noise(p))
            elif "embed" in name:
                p.copy_(noise(p))
            elif "conv" in name:
                p.copy_(0.4 * noise(p))
            else:
                p.copy_(1.3 * noise(p) / p.shape[-1] ** 0.5)
        for name, b in model.named_buffers():
            if "balancing_biases" in name:
                b.copy_(torch.cat([0.2 * noise(b)[:-1], torch.tensor([-1.0])]))
            elif "e_score_correction_bias" in name:
                b.copy_(0.2 * noise(b))


def attention_and_mlp(model):
    """The modules of each layer whose outputs are kept."""
    layers = next(m for n, m in model.named_modules() if n.endswith("layers") and isinstance(m, torch.nn.ModuleList))
    for i, layer in enumerate(layers):
        yield f"attn_out_{i}", next(getattr(layer, n) for n in ("self_attn", "attention", "attn") if hasattr(layer, n))
        yield f"mlp_out_{i}", next(getattr(layer, n) for n in ("mlp", "block_sparse_moe", "feed_forward") if hasattr(layer, n))


def outputs(model, ids):
    got, hooks = {}, []

    def keep(name):
        def hook(_module, _inputs, out):
            out = out[0] if isinstance(out, tuple) else out
            got[name] = out.detach().float().reshape(-1, out.shape[-1]).clone()
        return hook

    for name, module in attention_and_mlp(model):
        hooks.append(module.register_forward_hook(keep(name)))
    with torch.no_grad():
        got["logits"] = model(torch.tensor([ids]), use_cache=False).logits[0].float().clone()
    for h in hooks:
        h.remove()
    return got


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info.get(key), (folder, key, info[key])
    return model.eval()


def golden(folder, vocab, seed, about):
    """Writes golden.safetensors of what lies in folder. False: the draw is not stable, or transformers does not load it."""
    try:
        model = load(folder)
    except Exception as e:
        return f"transformers: {type(e).__name__}: {str(e).splitlines()[0][:150]}"
    r = random.Random(seed)
    a, b = [r.randrange(vocab) for _ in range(23)], [r.randrange(vocab) for _ in range(40)]
    try:
        got = outputs(model, a)
        got["logits_b"] = outputs(model, b)["logits"]
    except Exception as e:
        return f"transformers: {type(e).__name__}: {str(e).splitlines()[0][:150]}"
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 3e-7 * torch.randn(p.shape, generator=g))
    for key, ids in (("logits", a), ("logits_b", b)):
        moved = (outputs(model, ids)["logits"] - got[key]).abs().max() / got[key].abs().max()
        if not moved < 2e-5:
            return f"not stable: {moved:.1e}"
    got["input_ids"], got["input_ids_b"] = torch.tensor(a, dtype=torch.int32), torch.tensor(b, dtype=torch.int32)
    save_file({k: v.contiguous() for k, v in got.items()}, folder / "golden.safetensors")
    (folder / "case.json").write_text(json.dumps(about, indent=1))
    return None


def make(work, kind, seed):
    """Both folders of a draw. Yields their names and why one is not compared."""
    r = Draw(f"{kind} {seed}")
    options = TYPES[kind](r)
    base = work / "models" / f"{kind}-{seed}"
    torch.manual_seed(seed)
    try:
        config = AutoConfig.for_model(kind, **json.loads(json.dumps(options)))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager")
    except Exception as e:
        yield base, f"transformers: {type(e).__name__}: {str(e)[:250]!r}"
        return
    fill(model, seed)
    if r.chance(0.3):
        model = model.to(torch.bfloat16)
    model.save_pretrained(base, max_shard_size=r.choice(["5GB", "5GB", "12KB"]))
    new = json.loads((base / "config.json").read_text())
    about = {"options": options, "odd": r.odd}
    yield base, golden(base, new["vocab_size"], seed, about)
    old = work / "models" / f"{kind}-{seed}-old"
    old.mkdir()
    for f in base.glob("model*"):
        os.link(f, old / f.name)
    defaults = json.loads(AutoConfig.for_model(kind).to_json_string(use_diff=False))
    source = dict(new, **{k: v for k, v in options.items() if k == "sliding_window_pattern"})
    if kind in ("qwen2", "qwen3", "qwen3_moe"):
        source["sliding_window"] = options["sliding_window"]  # published files give one that is not used
    c = old_form(r, kind, source, defaults)
    (old / "config.json").write_text(json.dumps(c, indent=2))
    yield old, golden(old, new["vocab_size"], seed, about)


def run_lowkey(work, binary):
    """The outcome and the messages of every folder."""
    if not binary:
        binary = work / "model.test"
        subprocess.run(["go", "test", "-c", "-o", binary, "./model"], check=True, cwd=ROOT)
    outcome, message, current = {}, {}, None
    left = {p.parent.name for p in (work / "models").glob("*/golden.safetensors")}
    while left:  # a panic ends the process: go on with what is left
        run = work / "run" / "models"
        shutil.rmtree(work / "run", ignore_errors=True)
        run.mkdir(parents=True)
        for name in left:
            (run / name).symlink_to(work / "models" / name)
        p = subprocess.run([binary, "-test.run", "^TestGoldenModels$", "-test.v", "-test.timeout", "60m"], cwd=ROOT / "model", env=dict(os.environ, LOWKEY_GOLDEN=str(work / "run")), capture_output=True, text=True)
        for line in p.stdout.splitlines():
            if m := re.match(r"=== RUN\s+TestGoldenModels/(\S+)", line):
                current = m[1]
            elif m := re.match(r"\s+--- (PASS|FAIL): TestGoldenModels/(\S+)", line):
                outcome[m[2]] = m[1]
            elif (m := re.match(r"\s+golden_test.go:\d+: (.*)", line)) and current:
                message.setdefault(current, []).append(m[1])
        done = {n for n in left if n in outcome}
        if current in left and current not in outcome:
            outcome[current], message[current] = "FAIL", ["differs: the process died: " + (p.stderr or p.stdout)[-600:]]
            done.add(current)
        for line in p.stdout.splitlines():
            if line.startswith("panic:") and current in outcome:
                outcome[current] = "FAIL"
                message[current] = ["differs: " + line]
        if not done:
            raise SystemExit(p.stdout[-2000:] + p.stderr[-2000:])
        left -= done
    return outcome, message


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0:10", help="FROM:TO, TO not included")
    parser.add_argument("--work", help="a folder to work in, which is emptied (default: a temporary one)")
    parser.add_argument("--binary", help="a test binary of ./model (go test -c), in place of a new one")
    parser.add_argument("--again", action="store_true", help="compare the folders that an earlier run left in --work")
    parser.add_argument("--write", action="store_true", help="store the table in docs/results/models.md")
    parser.add_argument("types", nargs="*")
    a = parser.parse_args()
    low, high = map(int, a.seeds.split(":"))
    with tempfile.TemporaryDirectory() as temp:
        work = pathlib.Path(a.work or temp).resolve()
        kept = work / "skipped.json"
        skipped = json.loads(kept.read_text()) if a.again else {}
        if not a.again:
            shutil.rmtree(work / "models", ignore_errors=True)
            (work / "models").mkdir(parents=True)
        for seed, kind in [] if a.again else [(s, k) for s in range(low, high) for k in a.types or TYPES]:
            for folder, why in make(work, kind, seed):
                if why:
                    skipped[folder.name] = why
                    print(folder.name, "not compared:", why, flush=True)
            kept.write_text(json.dumps(skipped))
        outcome, message = run_lowkey(work, a.binary)
        rows, bad = [], 0
        for kind in a.types or TYPES:
            count = dict(right=0, refused=0, wrong=0)
            reasons = {}
            for name in sorted(n for n in outcome if n.removesuffix("-old").rsplit("-", 1)[0] == kind):
                odd = json.loads((work / "models" / name / "case.json").read_text())["odd"]
                said = message.get(name, [])
                if outcome[name] == "PASS":
                    count["right"] += 1
                    continue
                state = "wrong" if any("differ" in s or "other bits" in s for s in said) or not said else "refused"
                count[state] += 1
                if state == "wrong" or not odd:
                    bad += 1
                    print(name, state.upper(), odd, *said[:3], sep="\n    ", flush=True)
                else:
                    print(name, "refused:", odd, said[0], flush=True)
                    for o in odd:
                        reasons[o] = reasons.get(o, 0) + 1
            none = sum(n.removesuffix("-old").rsplit("-", 1)[0] == kind for n in skipped)
            rows.append((kind, count["right"], count["refused"], count["wrong"], none, ", ".join(sorted(reasons))))
        for row in rows:
            print(*row, sep="\t")
        if a.write:
            write(rows, a.seeds)
        sys.exit(bad > 0)


def write(rows, seeds):
    """Replaces the table between the marks of docs/results/models.md."""
    path = ROOT / "docs/results/models.md"
    before, rest = path.read_text().split("<!-- table -->\n")
    after = rest.split("<!-- end -->")[1]
    head = f"{datetime.date.today()}, PyTorch {torch.__version__}, transformers {transformers.__version__}, seeds {seeds}:\n\n| model type | right | refused | wrong | not compared | refused by name |\n|---|---|---|---|---|---|\n"
    table = "".join("| " + " | ".join(map(str, row)) + " |\n" for row in rows)
    path.write_text(before + "<!-- table -->\n" + head + table + "<!-- end -->" + after)


if __name__ == "__main__":
    main()

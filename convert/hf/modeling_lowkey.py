"""PyTorch form of lowkey's models for transformers (5.0 or newer): AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).

Plain nn.Modules: the classes train under FSDP and torchrun, with gradient checkpointing, and serve generate() from transformers' own Cache. Each design says in two methods what it caches:
`project` makes the queries and the two streams that a token leaves behind, `read` makes keys and values of cached streams. So the cache holds what lowkey's holds, and no expanded heads.

A layer that reads another layer's cache (layer_map) has no modules that make one. Where that is a higher layer the definition is sequential, token after token; over several tokens LowkeyModel gives
the same by passes, each with what the pass before made (`settle`).

It will not do mixtures of experts, nor fold up-projections into the queries as lowkey does when it decodes. A latent of latent_bits has its values rounded as lowkey stores them, not its bytes.
"""

import copy
import math

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask, create_masks_for_generate, create_sliding_window_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lowkey import LowkeyConfig, Step3TextConfig

LATENT_EPS = 1e-6  # of the norms of MLA's latents, as in DeepSeek's code, whatever rms_norm_eps says
FREE_PASSES, KEPT_PASSES = 7, 2  # of training where layers read higher ones: without and with gradients (LCKV)


class LowkeyRMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * y.to(x.dtype)


class LowkeyMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, wide, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, wide, bias=bias)
        self.up_proj = nn.Linear(hidden, wide, bias=bias)
        self.down_proj = nn.Linear(wide, hidden, bias=bias)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


def yarn_scale(factor, m):
    return 0.1 * m * math.log(factor) + 1 if factor > 1 else 1.0


def frequencies(rope, dim):
    """The dim/2 angles a position, and the factor on cos and sin, for rope_parameters of the kinds default, linear, llama3 and yarn."""
    kind, base, factor = rope.get("rope_type", "default"), rope["rope_theta"], rope.get("factor", 1.0)
    inv = [base ** (-2 * i / dim) for i in range(dim // 2)]
    if kind == "default":
        return inv, 1.0
    if kind == "linear":
        return [f / factor for f in inv], 1.0
    original = rope["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = [min(1.0, max(0.0, (original * f / (2 * math.pi) - low) / (high - low))) for f in inv]
        return [(1 - k) * f / factor + k * f for k, f in zip(keep, inv)], 1.0
    if kind == "yarn":
        ends = [dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (rope.get("beta_fast") or 32, rope.get("beta_slow") or 1)]
        low, high = (math.floor(ends[0]), math.ceil(ends[1])) if rope.get("truncate", True) else ends
        low, high = max(low, 0), min(high, dim - 1)
        high += 0.001 if low == high else 0
        stretch = [min(1.0, max(0.0, (i - low) / (high - low))) for i in range(dim // 2)]
        m, m_all = rope.get("mscale"), rope.get("mscale_all_dim")
        turned = rope.get("attention_factor") or (yarn_scale(factor, m) / yarn_scale(factor, m_all) if m and m_all else yarn_scale(factor, 1))
        return [f / factor * s + f * (1 - s) for s, f in zip(stretch, inv)], turned
    raise ValueError(f"rope_type {kind!r}: known are default linear llama3 yarn")


def narrow_frequencies(base, dim):
    """KV-Latent's choice for few channels: no highest frequencies, the lowest twice as densely. dim is a multiple of 4."""
    return [base ** (-e / dim) for e in [*range(dim // 4, 3 * dim // 4, 2), *range(3 * dim // 4, dim)]]


class Rotation:
    """Rotary tables, made from the configuration where they are used: there is no buffer that a cast or a meta device could spoil."""

    def __init__(self, config, dim):
        if config.attention == "kvlatent":
            self.inv, self.factor = narrow_frequencies(config.rope_parameters["rope_theta"], dim), 1.0
        else:
            self.inv, self.factor = frequencies(config.rope_parameters, dim)

    def __call__(self, positions):
        """positions [batch, tokens] -> cos, sin [batch, 1, tokens, dim/2] in float32."""
        inv = torch.tensor(self.inv, dtype=torch.float32, device=positions.device)
        with torch.autocast(device_type=positions.device.type, enabled=False):
            angles = positions[:, None, :, None].float() * inv
        return angles.cos() * self.factor, angles.sin() * self.factor


def rotate(x, turn, pairs=False):
    """Rotates channels (i, i + dim/2), or (2i, 2i + 1) where pairs, of x [batch, heads, tokens, dim]."""
    cos, sin = turn
    y = x.float()
    if pairs:
        a, b = y[..., 0::2], y[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)
    a, b = y.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)


def inverse(turn):
    """The rotation that undoes another one, its factor included."""
    cos, sin = turn
    square = cos * cos + sin * sin
    return cos / square, -sin / square


def eager_attention(module, query, key, value, mask, scaling, dropout=0.0, **kwargs):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """What the designs share. `scaling` and `num_key_value_groups` are for the attention functions of transformers."""

    is_causal = True
    reads_ids = False  # whether project is given the tokens' ids too
    looks_back = False  # whether project is given the tokens' positions and the cache too
    makes = ()  # modules that make what is cached: a layer that reads another layer's cache lacks them

    def __init__(self, config, layer_idx, key_heads, key_width, value_width):
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.heads = config.num_attention_heads
        self.num_key_value_groups = self.heads // key_heads
        self.scaling = key_width**-0.5
        self.o_proj = nn.Linear(self.heads * value_width, config.hidden_size, bias=config.attention_bias)
        self.source = config.source(layer_idx)  # the layer whose cache this one reads

    def drop_makers(self):
        """Leaves out what a layer without a cache of its own does not have."""
        if self.source != self.layer_idx:
            for name in self.makes:
                if hasattr(self, name):
                    delattr(self, name)

    @staticmethod
    def rotary_width(config):
        return config.head_dim

    def split(self, x, heads):
        """[batch, tokens, heads * width] -> [batch, heads, tokens, width]"""
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    def project(self, x, turn):
        """x [batch, tokens, hidden] -> queries [batch, heads, tokens, key width], and two streams [batch, h, tokens, w] to be cached."""
        return self.query(x, turn), *self.rows(x, turn)

    def query(self, x, turn):
        raise NotImplementedError

    def rows(self, x, turn):
        raise NotImplementedError

    def read(self, first, second, turn):
        """Two streams -> keys and values; turn is the rotation at the streams' positions."""
        return first, second

    def join(self, y, x, turn):
        """Outputs [batch, tokens, heads, value width] before the output matrix; turn is the rotation at the tokens' positions."""
        return y

    def mask(self, mask, first, second, positions):
        """The mask where a design hides more than causality does."""
        return mask

    def forward(self, x, mask, turn, key_turn, past_key_values=None, token_ids=None, positions=None, made=None, before=None, **kwargs):
        """made holds, by layer, what layers cached so far, this step's tokens included; before, the same of higher layers and of the pass before, None where they have cached nothing."""
        higher = self.source > self.layer_idx
        if higher and before[self.source] is None:  # nothing is seen: no output but a bias
            return self.o_proj(x.new_zeros(*x.shape[:2], self.o_proj.in_features))
        if self.source != self.layer_idx:
            query, (first, second) = self.query(x, turn), (before if higher else made)[self.source]
        else:
            more = [token_ids] if self.reads_ids else [positions, past_key_values] if self.looks_back else []
            query, first, second = self.project(x, turn, *more)
            if past_key_values is not None:
                first, second = past_key_values.update(first, second, self.layer_idx)
            made[self.layer_idx] = first, second
        mask = self.mask(mask, first, second, positions)
        key, value = self.read(first, second, key_turn)
        if higher:  # a key of zeros that the mask keeps for queries that see no other
            key, value = nn.functional.pad(key, (0, 0, 1, 0)), nn.functional.pad(value, (0, 0, 1, 0))
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        y, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=0.0, **kwargs)
        return self.o_proj(self.join(y, x, turn).reshape(*x.shape[:2], -1))


class Grouped(Attention):
    """MHA, GQA, MQA, SQA: caches k after rotation, and v. With values of a width of their own and other frequencies, KV-Latent's dimensions."""

    makes = ("k_proj", "v_proj", "k_norm", "t_k", "t_v", "v_up", "v_gate", "v_down")

    def __init__(self, config, layer_idx, key_heads=None):
        key_heads = key_heads or config.num_key_value_heads
        values = config.v_head_dim if config.attention == "kvlatent" else config.head_dim
        super().__init__(config, layer_idx, key_heads, config.head_dim, values)
        hidden, width, bias, self.key_heads = config.hidden_size, config.head_dim, config.attention_bias, key_heads
        self.q_proj = nn.Linear(hidden, self.heads * width, bias=bias)
        self.k_proj = nn.Linear(hidden, self.key_heads * width, bias=bias)
        self.v_proj = nn.Linear(hidden, self.key_heads * values, bias=bias)
        if config.qk_norm:
            self.q_norm = LowkeyRMSNorm(width, config.rms_norm_eps)
            self.k_norm = LowkeyRMSNorm(width, config.rms_norm_eps)

    def query(self, x, turn):
        q = self.knock("q", self.split(self.q_proj(x), self.heads))
        return rotate(self.q_norm(q) if self.config.qk_norm else q, turn)

    def rows(self, x, turn):
        k, v = self.knock("k", self.split(self.k_proj(x), self.key_heads)), self.knock("v", self.split(self.v_proj(x), self.key_heads))
        return rotate(self.k_norm(k) if self.config.qk_norm else k, turn), v

    def knock(self, name, y):
        """What stands between the projections of q, k and v and the norms."""
        return y


class Square(nn.Module):
    """A transform that all heads share: starts as the identity, or as zero."""

    def __init__(self, width, zero=False):
        super().__init__()
        self.zero = zero
        self.weight = nn.Parameter(torch.zeros(width, width) if zero else torch.eye(width))

    def forward(self, x):
        return nn.functional.linear(x, self.weight)


class KHALinear(Grouped):
    """Knocking heads: a linear transform of queries, keys and values each, common to all heads. Caches what GQA caches."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.t_q, self.t_k, self.t_v = (Square(config.head_dim) for _ in range(3))

    def knock(self, name, y):
        return getattr(self, f"t_{name}")(y)


class KHAMLP(Grouped):
    """Knocking heads: a gated MLP of the values, common to all heads. Caches values behind it."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.v_up, self.v_gate, self.v_down = (Square(config.head_dim, zero) for zero in (False, True, False))

    def knock(self, name, y):
        return 2 * self.v_down(self.v_up(y) * self.v_gate(y).sigmoid()) if name == "v" else y


class LRKV(Attention):
    """Low-rank key-value attention: one key and one value for all heads and, for each head, a residual of both from a latent of its own. Of a score's two terms the shared one is turned, the residual's
    in latent_rope_dim channels of the latent. Caches the shared key and all key latents as one row, values alike."""

    makes = ("k_proj", "v_proj", "k_a_proj", "v_a_proj")

    def __init__(self, config, layer_idx):
        width, rank, bias = config.head_dim, config.kv_rank, config.attention_bias
        super().__init__(config, layer_idx, config.num_attention_heads, width, width)
        self.widths = (width, self.heads * rank)
        self.q_proj = nn.Linear(config.hidden_size, self.heads * width, bias=bias)
        for x in "kv":
            self.add_module(f"{x}_proj", nn.Linear(config.hidden_size, width, bias=bias))
            self.add_module(f"{x}_a_proj", nn.Linear(config.hidden_size, self.heads * rank, bias=bias))
        self.k_b_proj = nn.ModuleList(nn.Linear(width, rank, bias=False) for _ in range(self.heads))
        self.v_b_proj = nn.ModuleList(nn.Linear(rank, width, bias=False) for _ in range(self.heads))

    def turned(self, z, turn):
        """Turns the first channels of latents [batch, heads, tokens, rank], by frequencies evenly spaced among those of the shared key."""
        n, have = self.config.latent_rope_dim // 2, turn[0].shape[-1]
        if n == 0:
            return z
        at = [i * have // n for i in range(n)]
        return torch.cat((rotate(z[..., : 2 * n], tuple(x[..., at] for x in turn)), z[..., 2 * n :]), dim=-1)

    def each(self, modules, x):
        """A module for each head of [batch, heads, tokens, width]."""
        return torch.stack([f(x[:, h]) for h, f in enumerate(modules)], dim=1)

    def query(self, x, turn):
        q = self.split(self.q_proj(x), self.heads)
        return torch.cat((rotate(q, turn), self.turned(self.each(self.k_b_proj, q), turn)), dim=-1)

    def rows(self, x, turn):
        z = self.turned(self.split(self.k_a_proj(x), self.heads), turn).transpose(1, 2).flatten(2)
        first = torch.cat((rotate(self.k_proj(x)[:, None], turn), z[:, None]), dim=-1)
        return first, torch.cat((self.v_proj(x), self.v_a_proj(x)), dim=-1)[:, None]

    def read(self, first, second, turn):
        k, z = first.split(self.widths, dim=-1)
        v, u = second.split(self.widths, dim=-1)
        z, u = self.split(z[:, 0], self.heads), self.split(u[:, 0], self.heads)
        return torch.cat((k.expand(-1, self.heads, -1, -1), z), dim=-1), v + self.each(self.v_b_proj, u)


class GTA(Attention):
    """Grouped-tied attention: one state a group is the value, and its first channels the unrotated part of the key; the rotated part is one for all. Caches the states as one row, and that part."""

    makes = ("kv_proj", "k_rope_proj")

    def __init__(self, config, layer_idx):
        width, rope, bias, self.key_heads = config.head_dim, config.qk_rope_head_dim, config.attention_bias, config.num_key_value_heads
        super().__init__(config, layer_idx, self.key_heads, width, width)
        self.widths = (width - rope, rope)
        self.q_proj = nn.Linear(config.hidden_size, self.heads * width, bias=bias)
        self.kv_proj = nn.Linear(config.hidden_size, self.key_heads * width, bias=bias)
        self.k_rope_proj = nn.Linear(config.hidden_size, rope, bias=bias)

    @staticmethod
    def rotary_width(config):
        return config.qk_rope_head_dim

    def query(self, x, turn):
        q, q_rope = self.split(self.q_proj(x), self.heads).split(self.widths, dim=-1)
        return torch.cat((q, rotate(q_rope, turn)), dim=-1)

    def rows(self, x, turn):
        return self.kv_proj(x)[:, None], rotate(self.k_rope_proj(x)[:, None], turn)

    def read(self, tied, k_rope, turn):
        value = self.split(tied[:, 0], self.key_heads)
        return torch.cat((value[..., : self.widths[0]], k_rope.expand(-1, self.key_heads, -1, -1)), dim=-1), value


Q4_DIVISORS = (-8, -7, -7.25, -7.75, -8.25, -8.5, -8.75, -9)  # of the value of largest magnitude: the scales that are tried


def stored(x, bits):
    """x [..., width] as lowkey's cache gives it back from q4 or q8, to the bit: blocks of 32 with a scale in float16, codes rounded to even; gradients pass as if it were x.

    q8: scale = max |x| / 127. q4: of eight scales the first with the least squared error, summed as lowkey does, even channels apart from odd ones."""
    with torch.no_grad():
        rest = -x.shape[-1] % 32
        blocks = nn.functional.pad(x.float(), (0, rest)).unflatten(-1, (-1, 32))  # zeros change nothing
        low, high = blocks.amin(-1, keepdim=True).clamp(max=0), blocks.amax(-1, keepdim=True).clamp(min=0)
        if bits == 8:
            scale, least, most = torch.maximum(high, -low) / torch.full_like(high, 127), -127, 127
        else:
            parts = torch.tensor([1 / d for d in Q4_DIVISORS], dtype=torch.float32, device=x.device)
            scale, least, most = torch.where(-low >= high, low, high) * parts, -8, 7
        scale = scale.clamp(-65504, 65504).half().float()[..., None]  # [..., blocks, scales, 1]
        codes = (blocks[..., None, :] * torch.where(scale == 0, 0, 1 / scale)).clamp(least, most).round()
        y = scale * codes
        errors = (blocks[..., None, :] - y).square().unflatten(-1, (-1, 2))
        total = torch.zeros_like(errors[..., 0, :])
        for pair in errors.unbind(-2):
            total = total + pair
        best = (total[..., 0] + total[..., 1]).min(-1, keepdim=True).values
        first = (total[..., 0] + total[..., 1] == best).int().argmax(-1, keepdim=True)
        y = y.gather(-2, first[..., None].expand(*first.shape, 32)).squeeze(-2).flatten(-2)
        y = y[..., : x.shape[-1]].to(x.dtype)
    return y + (x - x.detach())


class MLA(Attention):
    """Multi-head latent attention: caches the normed latent and one rotated key part for all heads."""

    makes = ("kv_a_proj_with_mqa", "kv_a_layernorm")

    def __init__(self, config, layer_idx):
        nope, rope, value, rank = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim, config.kv_lora_rank
        super().__init__(config, layer_idx, config.num_attention_heads, nope + rope, value)
        hidden, bias, self.widths = config.hidden_size, config.attention_bias, (nope, rope, value, rank)
        parameters = config.rope_parameters
        if parameters.get("rope_type") == "yarn" and parameters.get("mscale_all_dim"):
            self.scaling *= yarn_scale(parameters["factor"], parameters["mscale_all_dim"]) ** 2
        if config.q_lora_rank:
            self.q_a_proj = nn.Linear(hidden, config.q_lora_rank, bias=bias)
            self.q_a_layernorm = LowkeyRMSNorm(config.q_lora_rank, LATENT_EPS)
            self.q_b_proj = nn.Linear(config.q_lora_rank, self.heads * (nope + rope), bias=False)
        else:
            self.q_proj = nn.Linear(hidden, self.heads * (nope + rope), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(hidden, rank + rope, bias=bias)
        self.latents(nope + value, rank)

    def latents(self, width, rank):
        self.kv_a_layernorm = LowkeyRMSNorm(rank, LATENT_EPS)
        self.kv_b_proj = nn.Linear(rank, self.heads * width, bias=False)

    def bottleneck(self, x):
        return self.q_a_layernorm(self.q_a_proj(x))

    def latent(self, x):
        return self.kv_a_layernorm(x)

    @staticmethod
    def rotary_width(config):
        return config.qk_rope_head_dim

    def query(self, x, turn):
        nope, rope, _, _ = self.widths
        q = self.q_b_proj(self.bottleneck(x)) if self.config.q_lora_rank else self.q_proj(x)
        q, q_rope = self.split(q, self.heads).split((nope, rope), dim=-1)
        return torch.cat((q, rotate(q_rope, turn, self.config.rope_interleave)), dim=-1)

    def rows(self, x, turn):
        _, rope, _, rank = self.widths
        latent, k_rope = self.kv_a_proj_with_mqa(x).split((rank, rope), dim=-1)
        latent = self.latent(latent)
        if self.config.latent_bits:
            latent = stored(latent, self.config.latent_bits)
        return latent[:, None], rotate(k_rope[:, None], turn, self.config.rope_interleave)

    def read(self, latent, k_rope, turn):
        nope, _, value, _ = self.widths
        key, value = self.split(self.kv_b_proj(latent[:, 0]), self.heads).split((nope, value), dim=-1)
        return torch.cat((key, k_rope.expand(-1, self.heads, -1, -1)), dim=-1), value


class EGMLA(MLA):
    """MLA gated by an embedding of the token. Caches what MLA caches, and with the rotated key part the token's id as three digits to base 256, which every number type holds exactly:
    transformers' caches have no place for ids."""

    reads_ids = True

    def latents(self, width, rank):
        super().latents(width, rank)
        config, width = self.config, self.heads * width
        self.gate_embed = nn.Embedding(config.vocab_size, config.gate_embed_dim)
        self.gate_proj = nn.Linear(config.gate_embed_dim, width, bias=False)
        self.kv_layernorm = nn.LayerNorm(width, config.rms_norm_eps, bias=False)

    def project(self, x, turn, ids):
        query, latent, k_rope = super().project(x, turn)
        digits = torch.stack((ids % 256, ids // 256 % 256, ids // 65536), dim=-1)[:, None]
        return query, latent, torch.cat((k_rope, digits.to(k_rope.dtype)), dim=-1)

    def read(self, latent, second, turn):
        nope, rope, value, _ = self.widths
        k_rope, digits = second.split((rope, 3), dim=-1)
        ids = (digits.detach().round().long() * torch.tensor((1, 256, 65536), device=digits.device)).sum(-1)[:, 0]
        kv = self.kv_layernorm(self.kv_b_proj(latent[:, 0]) * self.gate_proj(self.gate_embed(ids)))
        key, value = self.split(kv, self.heads).split((nope, value), dim=-1)
        return torch.cat((key, k_rope.expand(-1, self.heads, -1, -1)), dim=-1), value


def left_behind(cache, name, layer):
    """What an earlier step left for this layer in the cache object, beside its layers; None at first."""
    return None if cache is None else cache.__dict__.setdefault(name, {}).get(layer)


class MTLA(MLA):
    """Multi-head temporal latent attention: the latents of a block of merge_tokens tokens are summed, each times a weight, and a query sees the sums of finished blocks and its own so far.

    lowkey merges the rows of a block. transformers' caches cannot overwrite a row: here each token keeps the sum as it was, with its position as three digits to base 256, and the mask hides the rows
    that do not end their block. The last row's sum is kept in the cache object too. It will not do beam search, nor a cache that is cut."""

    looks_back = True

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        rank, eps = config.kv_lora_rank, config.layer_norm_eps
        self.tokens, self.rank = config.merge_tokens, rank
        if config.q_lora_rank:
            self.q_a_layernorm = nn.LayerNorm(config.q_lora_rank, eps)
        self.kv_a_layernorm = nn.LayerNorm(rank, eps)
        self.merge_block_proj = nn.Linear(rank, config.merge_dim)
        self.merge_latent_proj = nn.Linear(rank, config.merge_dim)

    def place(self, block):
        """Blocks [batch, tokens] -> sine and cosine of each frequency in turns, [batch, tokens, rank]."""
        inv = torch.tensor([10000 ** (-2 * i / self.rank) for i in range((self.rank + 1) // 2)], dtype=torch.float64, device=block.device)
        angles = block[..., None].double() * inv
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., : self.rank]

    def project(self, x, turn, positions, cache):
        query, latent, k_rope = super().project(x, turn)
        z, s = latent[:, 0], self.tokens
        place = self.place(positions // s).to(self.merge_block_proj.weight.dtype)
        z = z * (self.merge_block_proj(place) * self.merge_latent_proj(z)).sum(-1, keepdim=True).sigmoid()
        before = left_behind(cache, "open_blocks", self.layer_idx)
        columns = torch.cat((torch.zeros_like(z[:, :1]) if before is None else before, z), dim=1)
        total = z
        for j in range(1, s):  # what lies further back than this step is in `before` already
            total = total + torch.where(positions[..., None] % s >= j, nn.functional.pad(columns, (0, 0, j, 0))[:, 1 : 1 + z.shape[1]], 0)
        if cache is not None:
            cache.open_blocks[self.layer_idx] = total[:, -1:]
        digits = torch.stack((positions % 256, positions // 256 % 256, positions // 65536), dim=-1)[:, None].expand(x.shape[0], -1, -1, -1)
        return query, total[:, None], torch.cat((k_rope, digits.to(k_rope.dtype)), dim=-1)

    def mask(self, mask, first, second, positions):
        digits = second[:, 0, :, -3:].detach().round().long()
        at, now = (digits * torch.tensor((1, 256, 65536), device=digits.device)).sum(-1)[:, None, None], positions[:, None, :, None]
        seen = (at == now) | (at < now) & (at % self.tokens == self.tokens - 1)
        if mask is None:
            return seen if self.config._attn_implementation != "eager" else torch.where(seen, 0.0, torch.finfo(first.dtype).min).to(first.dtype)
        return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, torch.finfo(mask.dtype).min)

    def read(self, latent, second, turn):
        return super().read(latent, second[..., :-3], turn)


class FastMKA(Grouped):
    """FastMKA: GQA over a mix of memories that a router makes as a row is written: the tokens, their moving average, and, where there are three levels, a bank of vectors that is not here: zeros, which
    take weight as published. Caches k and v; the average is kept in the cache object. It will not do beam search, nor a cache that is cut."""

    looks_back = True
    makes = (*Grouped.makes, "router")
    act = nn.SiLU

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.router = nn.Sequential(nn.Linear(self.heads * config.head_dim, config.router_hidden), self.act(), nn.Linear(config.router_hidden, config.memory_levels))

    def average(self, x, positions, cache):
        """beta s + (1 - beta) x over the tokens of a text, from 0 before its first."""
        beta, tokens = self.config.ema_beta, x.shape[1]
        rows = torch.arange(tokens, device=x.device)
        back = rows[:, None] - rows
        weights = torch.where((back >= 0) & (back <= positions[..., None]), beta ** back.clamp(min=0).float(), 0) * (1 - beta)
        y = weights @ x.float()
        before = left_behind(cache, "averages", self.layer_idx)
        if before is not None:
            y = y + torch.where(positions > rows, beta ** (rows + 1).float(), 0)[..., None] * before
        if cache is not None:
            cache.averages[self.layer_idx] = y[:, -1:]
        return y.to(x.dtype)

    def memories(self, x, positions, cache):
        return [x, self.average(x, positions, cache)] + [torch.zeros_like(x)] * (self.config.memory_levels - 2)

    def project(self, x, turn, positions, cache):
        q = self.q_proj(x)
        weights = self.router(q).softmax(-1)
        mixed = sum(w * m for w, m in zip(weights.split(1, dim=-1), self.memories(x, positions, cache)))
        k, v = self.split(self.k_proj(mixed), self.key_heads), self.split(self.v_proj(mixed), self.key_heads)
        return rotate(self.split(q, self.heads), turn), rotate(k, turn), v


class MKA(FastMKA):
    """MKA: one attention for each memory, whose outputs a router weighs as a token asks. Caches k and v of all memories, head after head."""

    makes = Grouped.makes
    act = nn.GELU

    def query(self, x, turn):
        return super().query(x, turn).repeat(1, self.config.memory_levels, 1, 1)

    def project(self, x, turn, positions, cache):
        levels = self.memories(x, positions, cache)
        keys = torch.cat([rotate(self.split(self.k_proj(m), self.key_heads), turn) for m in levels], dim=1)
        return self.query(x, turn), keys, torch.cat([self.split(self.v_proj(m), self.key_heads) for m in levels], dim=1)

    def join(self, y, x, turn):
        weights = self.router(self.q_proj(x)).softmax(-1)
        return (y.unflatten(2, (-1, self.heads)) * weights[..., None, None]).sum(2)


class KHAMLA(MLA):
    """Knocking heads on MLA: linear transforms of the unrotated part of queries and keys, and of values. Caches what MLA caches."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.t_q, self.t_k, self.t_v = Square(config.qk_nope_head_dim), Square(config.qk_nope_head_dim), Square(config.v_head_dim)

    def content(self, transform, x):
        nope, rope = x.split(self.widths[:2], dim=-1)
        return torch.cat((transform(nope), rope), dim=-1)

    def query(self, x, turn):
        return self.content(self.t_q, super().query(x, turn))

    def read(self, latent, k_rope, turn):
        key, value = super().read(latent, k_rope, turn)
        return self.content(self.t_k, key), self.t_v(value)


class GLA(MLA):
    """Grouped latent attention: several latents, each with a norm of its own and the source of keys and values for one block of heads; caches them as one row, and one rotated key part."""

    def latents(self, width, rank):
        n, config = self.config.num_latents, self.config
        self.kv_a_layernorm = nn.ModuleList(LowkeyRMSNorm(rank // n, LATENT_EPS) for _ in range(n))
        self.kv_b_proj = nn.ModuleList(nn.Linear(rank // n, self.heads * config.num_branches // n * width, bias=False) for _ in range(n))

    def bottleneck(self, x):
        return super().bottleneck(x) * self.config.q_scale

    def latent(self, x):
        return torch.cat([norm(c) for norm, c in zip(self.kv_a_layernorm, x.chunk(len(self.kv_a_layernorm), dim=-1))], dim=-1) * self.config.kv_scale

    def read(self, latent, k_rope, turn):
        nope, _, value, _ = self.widths
        kv = torch.cat([up(c) for up, c in zip(self.kv_b_proj, latent[:, 0].chunk(len(self.kv_b_proj), dim=-1))], dim=-1)
        key, value = self.split(kv, self.heads * self.config.num_branches).split((nope, value), dim=-1)
        return torch.cat((key, k_rope.expand(-1, key.shape[1], -1, -1)), dim=-1), value


class MLRA(GLA):
    """Multi-head low-rank attention: the latents feed several branches, each a GLA of all heads with softmaxes of its own; their outputs are summed. Caches what GLA caches."""

    def query(self, x, turn):
        return super().query(x, turn).repeat(1, self.config.num_branches, 1, 1)

    def join(self, y, x, turn):
        return y.unflatten(2, (self.config.num_branches, self.heads)).sum(2) * self.config.attn_output_scale


class MFA(Attention):
    """Multi-matrix factorization attention: wide query heads from one bottleneck, one key and one value head; caches both, k after rotation."""

    names = ("q_a_proj", "q_a_layernorm", "q_b_proj")
    makes = ("k_proj", "v_proj")

    def __init__(self, config, layer_idx):
        width, rank = config.head_dim, config.q_lora_rank
        super().__init__(config, layer_idx, 1, width, width)
        norm = LowkeyRMSNorm(rank, config.rms_norm_eps) if config.q_norm else nn.Identity()
        for name, module in zip(self.names, (nn.Linear(config.hidden_size, rank, bias=config.attention_bias), norm, nn.Linear(rank, self.heads * width, bias=False))):
            self.add_module(name, module)
        self.k_proj = nn.Linear(config.hidden_size, width, bias=config.attention_bias)
        self.values(config)

    def values(self, config):
        self.v_proj = nn.Linear(config.hidden_size, config.head_dim, bias=config.attention_bias)

    def query(self, x, turn):
        for name in self.names:
            x = getattr(self, name)(x)
        return rotate(self.split(x, self.heads), turn)

    def rows(self, x, turn):
        return rotate(self.k_proj(x)[:, None], turn), self.v_proj(x)[:, None]


class Factors(nn.Module):
    """A factor a channel, starting at zero."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return self.weight * x


class MFAKR(MFA):
    """MFA with key reuse: v = k + alpha * (N k) from the key before rotation, which is all that is cached; keys are turned when they are read. With relative values the key after rotation is the value, and
    all that is cached; the mixes of values are turned back."""

    def values(self, config):
        self.relative = config.values == "relative"
        if not self.relative:
            self.n = nn.Linear(config.head_dim, config.head_dim, bias=False)
            self.alpha = Factors(config.head_dim)

    def rows(self, x, turn):
        k = self.k_proj(x)[:, None]
        return rotate(k, turn) if self.relative else k, k[..., :0]  # the second stream has no width: no bytes

    def read(self, k, _, turn):
        return (k, k) if self.relative else (rotate(k, turn), k + self.alpha(self.n(k)))

    def join(self, y, x, turn):
        return rotate(y.transpose(1, 2), inverse(turn)).transpose(1, 2) if self.relative else y


class TPA(Attention):
    """Tensor product attention: queries, keys and values are short sums of outer products of a factor over heads (a) and one over channels (b); caches the factors, b of keys after rotation."""

    makes = ("a_k_proj", "b_k_proj", "a_v_proj", "b_v_proj")

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx, config.num_attention_heads, config.head_dim, config.head_dim)
        hidden, width, bias = config.hidden_size, config.head_dim, config.attention_bias
        self.ranks = {"q": config.q_rank, "k": config.k_rank, "v": config.v_rank}
        for x, rank in self.ranks.items():
            if rank:
                self.add_module(f"a_{x}_proj", nn.Linear(hidden, self.heads * rank, bias=bias))
                self.add_module(f"b_{x}_proj", nn.Linear(hidden, rank * width, bias=bias))
            else:
                self.q_proj = nn.Linear(hidden, self.heads * width, bias=bias)

    def factors(self, name, x, turn):
        """Both factors as one row: a [batch, tokens, heads * rank], head after head, then b [batch, tokens, rank * width], rank after rank."""
        b = self.split(getattr(self, f"b_{name}_proj")(x), self.ranks[name])
        if turn is not None:
            b = rotate(b, turn)
        return torch.cat((getattr(self, f"a_{name}_proj")(x), b.transpose(1, 2).flatten(2)), dim=-1)

    def outer(self, name, row):
        """The sum of outer products, divided by the rank: [batch, tokens, row] -> [batch, heads, tokens, width]."""
        rank = self.ranks[name]
        a, b = row.split((self.heads * rank, row.shape[-1] - self.heads * rank), dim=-1)
        return (a.unflatten(-1, (self.heads, rank)) @ b.unflatten(-1, (rank, -1))).transpose(1, 2) / rank

    def query(self, x, turn):
        return self.outer("q", self.factors("q", x, turn)) if self.ranks["q"] else rotate(self.split(self.q_proj(x), self.heads), turn)

    def rows(self, x, turn):
        return self.factors("k", x, turn)[:, None], self.factors("v", x, None)[:, None]

    def read(self, k, v, turn):
        return self.outer("k", k[:, 0]), self.outer("v", v[:, 0])


class Filter(nn.Module):
    """A filter over tokens for each channel, the newest token's tap last."""

    def __init__(self, channels, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, width))
        self.bias = nn.Parameter(torch.zeros(channels))


class CCA(Attention):
    """Compressed convolutional attention: queries and keys pass two short filters over tokens, half of a value comes a token late. Caches k, normed and turned, and v.

    What the next token looks back on is kept in the cache object beside its layers: the last columns before the filters, and the late half of the last token's value. A token at position p looks
    back on p tokens and no more, so rows padded on the left and texts packed in a row stay apart. It will not do beam search, nor a cache that is cut."""

    looks_back = True

    def __init__(self, config, layer_idx):
        hidden, width, bias, self.key_heads = config.hidden_size, config.head_dim, config.attention_bias, config.num_key_value_heads
        super().__init__(config, layer_idx, self.key_heads, width, width)
        channels, half = (self.heads + self.key_heads) * width, self.key_heads * width // 2
        self.taps = (config.cca_time0, config.cca_time1)
        self.q_proj = nn.Linear(hidden, self.heads * width, bias=bias)
        self.k_proj = nn.Linear(hidden, self.key_heads * width, bias=bias)
        self.v_proj = nn.Linear(hidden, half, bias=bias)
        self.v_late_proj = nn.Linear(hidden, half, bias=bias)
        self.conv0 = Filter(channels, self.taps[0])
        self.conv1 = Filter(channels, width * self.taps[1])
        self.temp = Scales(self.key_heads)

    @staticmethod
    def rotary_width(config):
        return int(config.head_dim * config.partial_rotary_factor)

    def earlier(self, cache, z, late, past):
        """The columns and the late half before the new ones, zeros at first; what the next step needs is left in the cache."""
        before = None if cache is None else cache.__dict__.setdefault("looked_back_on", {}).get(self.layer_idx)
        if before is None:
            before = (z.new_zeros(z.shape[0], past, z.shape[2]), torch.zeros_like(late[:, :1]))
        columns, late = torch.cat((before[0], z), dim=1), torch.cat((before[1], late), dim=1)
        if cache is not None:
            cache.looked_back_on[self.layer_idx] = (columns[:, columns.shape[1] - past :], late[:, -1:])
        return columns, late[:, :-1]

    def filtered(self, columns, at):
        """columns [batch, past + tokens, channels] at these positions -> [batch, tokens, channels]."""
        (k0, k1), (rows, width) = self.taps, (columns.shape[1], self.config.head_dim)
        past = k0 + k1 - 2
        once = self.conv0.bias
        for j in range(k0):
            seen = nn.functional.pad(columns, (0, 0, j, 0))[:, :rows]
            once = once + torch.where(at >= j, seen, 0) * self.conv0.weight[:, k0 - 1 - j]
        twice, weight = self.conv1.bias, self.conv1.weight.view(-1, width, width, k1)
        for j in range(k1):
            seen = torch.where(at[:, past:] >= j, once[:, past - j : rows - j], self.conv0.bias)
            twice = twice + torch.einsum("bthi,hoi->btho", seen.unflatten(-1, (-1, width)), weight[..., k1 - 1 - j]).flatten(-2)
        return twice

    def project(self, x, turn, positions, cache):
        past, width, rope = sum(self.taps) - 2, self.config.head_dim, 2 * turn[0].shape[-1]
        q, k = self.q_proj(x), self.k_proj(x)
        columns, late = self.earlier(cache, torch.cat((q, k), dim=-1), nn.functional.linear(x, self.v_late_proj.weight), past)
        at = torch.cat((positions[:, :1] + torch.arange(-past, 0, device=x.device), positions), dim=1)[..., None]
        conv = self.filtered(columns, at).unflatten(-1, (-1, width))
        groups = q.unflatten(-1, (self.key_heads, -1, width))
        mean = (groups + k.unflatten(-1, (self.key_heads, 1, width))) / 2
        query, key = conv[:, :, : self.heads] + mean.flatten(2, 3), conv[:, :, self.heads :] + mean.mean(3)
        query, key = (nn.functional.normalize(u.float(), dim=-1).to(x.dtype).transpose(1, 2) * width**0.5 for u in (query, key))
        key = key * self.temp.weight[:, None, None]
        query, key = (torch.cat((rotate(u[..., :rope], turn), u[..., rope:]), dim=-1) for u in (query, key))
        late = torch.where(positions[..., None] >= 1, late, 0)
        if self.v_late_proj.bias is not None:
            late = late + self.v_late_proj.bias
        return query, key, self.split(torch.cat((self.v_proj(x), late), dim=-1), self.key_heads)


class Scales(nn.Module):
    """Factors that start at one."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Tucker(Attention):
    """Tucker attention: what stands between queries and keys, and between values and outputs, are two tensors in Tucker form: cores, and factors over heads and on both sides. Caches one latent
    key, turned whole, and one latent value for all heads; with shared_kv one row, which is turned when it is read as a key."""

    makes = ("k_proj", "v_proj")

    def __init__(self, config, layer_idx):
        key, value, bias, hidden = config.k_rank, config.v_rank, config.attention_bias, config.hidden_size
        super().__init__(config, layer_idx, 1, config.head_dim, value)
        self.q_a_proj = nn.Linear(hidden, config.q_rank, bias=bias)
        self.q_core = nn.Linear(config.q_rank, config.head_rank * key, bias=False)
        self.q_heads = nn.Linear(config.head_rank, self.heads, bias=False)
        self.k_proj = nn.Linear(hidden, key, bias=bias)
        if not config.shared_kv:
            self.v_proj = nn.Linear(hidden, value, bias=bias)
        self.o_heads = nn.Linear(self.heads, config.out_head_rank, bias=False)
        self.o_core = nn.Linear(config.out_head_rank * value, config.out_rank, bias=False)
        self.o_proj = nn.Linear(config.out_rank, hidden, bias=bias)

    @staticmethod
    def rotary_width(config):
        return config.k_rank

    def query(self, x, turn):
        q = self.q_heads.weight @ self.q_core(self.q_a_proj(x)).unflatten(-1, (self.config.head_rank, -1))
        return rotate(q.transpose(1, 2), turn)

    def rows(self, x, turn):
        k = self.k_proj(x)[:, None]
        return (k, k[..., :0]) if self.config.shared_kv else (rotate(k, turn), self.v_proj(x)[:, None])

    def read(self, k, v, turn):
        return (rotate(k, turn), k) if self.config.shared_kv else (k, v)

    def join(self, y, x, turn):
        return self.o_core((self.o_heads.weight @ y).flatten(-2))


class MoAS(nn.Module):
    """Mixture of attention schemes: MHA, GQA and MQA side by side, weighed by a router; a layer that attention_scheme holds to one of them is that one. Caches k and v of all that it has.

    Will not do: the loss that keeps the router even, which lowkey's own training adds."""

    reads_ids = looks_back = False

    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        scheme = config.attention_scheme if isinstance(config.attention_scheme, str) else config.attention_scheme[layer_idx]
        heads = {"mha": config.num_attention_heads, "gqa": config.num_key_value_heads, "mqa": 1}
        self.schemes = list(heads) if scheme == "soft" else [scheme]
        for name in self.schemes:
            self.add_module(name, Grouped(config, layer_idx, heads[name]))
        if scheme == "soft":
            self.router_a = nn.Linear(config.hidden_size, config.router_dim, bias=False)
            self.router_b = nn.Linear(config.router_dim, len(heads), bias=False)

    @staticmethod
    def rotary_width(config):
        return config.head_dim

    def forward(self, x, mask, turn, key_turn, past_key_values=None, made=None, **kwargs):
        parts = [getattr(self, name) for name in self.schemes]
        queries, keys, values = zip(*(part.project(x, turn) for part in parts))
        keys, values = torch.cat(keys, dim=1), torch.cat(values, dim=1)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        heads, outputs = [part.key_heads for part in parts], []
        for part, query, key, value in zip(parts, queries, keys.split(heads, dim=1), values.split(heads, dim=1)):
            y, _ = attend(part, query, key, value, mask, scaling=part.scaling, dropout=0.0, **kwargs)
            outputs.append(part.o_proj(y.reshape(*x.shape[:2], -1)))
        if len(outputs) == 1:
            return outputs[0]
        weights = self.router_b(nn.functional.gelu(self.router_a(x))).softmax(dim=-1)
        return sum(weights[..., i, None] * y for i, y in enumerate(outputs))


class Step3MFA(MFA):
    """MFA under Step-3's names."""

    names = ("q_proj", "inter_norm", "wq")


DESIGNS = {
    "mha": Grouped,
    "gqa": Grouped,
    "mqa": Grouped,
    "sqa": Grouped,
    "gta": GTA,
    "mla": MLA,
    "eg-mla": EGMLA,
    "gla": GLA,
    "mlra": MLRA,
    "mfa": MFA,
    "mfa-kr": MFAKR,
    "tpa": TPA,
    "cca": CCA,
    "ccgqa": CCA,
    "mtla": MTLA,
    "mka": MKA,
    "mka-fast": FastMKA,
    "kvlatent": Grouped,
    "kha-linear": KHALinear,
    "kha-mlp": KHAMLP,
    "kha-mla": KHAMLA,
    "lrkv": LRKV,
    "tucker": Tucker,
    "moas": MoAS,
}


class LowkeyBlock(GradientCheckpointingLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.self_attn = design(config)(config, layer_idx)
        if config.layer_map:
            self.self_attn.drop_makers()
        self.mlp = LowkeyMLP(config)
        self.input_layernorm = LowkeyRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = LowkeyRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, mask, turn, key_turn, past_key_values=None, **kwargs):
        x = x + self.self_attn(self.input_layernorm(x), mask, turn, key_turn, past_key_values=past_key_values, **kwargs)
        return x + self.mlp(self.post_attention_layernorm(x))


def design(config):
    return Step3MFA if config.model_type == "step3_text" else DESIGNS[config.attention]


class LowkeyPreTrainedModel(PreTrainedModel):
    config_class = LowkeyConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LowkeyBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True

    def _init_weights(self, module):
        super()._init_weights(module)  # linear, embedding, norms
        if isinstance(module, Factors):
            init.zeros_(module.weight)
        elif isinstance(module, Square):
            (init.zeros_ if module.zero else init.eye_)(module.weight)
        elif isinstance(module, LRKV):  # residuals start small
            for up in (*module.k_b_proj, *module.v_b_proj):
                init.normal_(up.weight, std=0.1 * self.config.initializer_range)
        elif isinstance(module, Scales):
            init.ones_(module.weight)
        elif isinstance(module, Filter):
            init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)
            init.zeros_(module.bias)


class LowkeyModel(LowkeyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([LowkeyBlock(config, i) for i in range(config.num_hidden_layers)])
        self.norm = LowkeyRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotation = Rotation(config, design(config).rotary_width(config))
        layers = range(config.num_hidden_layers)
        self.own = next(i for i in layers if config.source(i) == i)  # the lowest layer with a cache
        readers = [i for i in layers if config.source(i) > i]
        sources = {config.source(i) for i in readers}
        self.circle = (readers[0], max(sources), sources) if readers else None  # the lowest layer that reads a higher one, the highest that is read so, and all that are
        self.gradient_checkpointing = False
        self.post_init()

    def key_turn(self, turn, position_ids, cache):
        """The rotation at the positions of all keys that the new tokens see. Only designs that cache keys before rotation read it."""
        tokens = position_ids.shape[1]
        if cache is None or not (self.config.attention == "mfa-kr" and self.config.values == "paper" or self.config.shared_kv):
            return turn
        past = cache.get_seq_length(self.own)
        length, offset = cache.get_mask_sizes(tokens, self.own)
        if isinstance(past, int) and past == 0 and length == tokens:
            return turn
        # A row's tokens follow each other; pads at its left have positions that no query sees.
        at = torch.arange(length, device=position_ids.device) + offset
        return self.rotation(position_ids[:, -1:] - (past + tokens - 1) + at)

    def masks(self, x, attention_mask, cache, position_ids):
        """The mask of each layer, by how it and the layer it reads slide."""
        config, made = self.config, {}

        def mask(layer):
            of = config.source(layer)
            kind = config.slides(layer), (getattr(config, "layer_types", None) or {of: None})[of], of > layer
            if kind not in made:
                make = create_sliding_window_causal_mask if kind[0] else create_causal_mask
                more = {"layer_idx": of} if config.layer_map else {}
                made[kind] = make(config=config, inputs_embeds=x, attention_mask=attention_mask, past_key_values=cache, position_ids=position_ids, **more)
                if of > layer:
                    made[kind] = self.higher(made[kind], x, cache, of)
            return made[kind]

        return [mask(i) for i in range(len(self.layers))]

    def higher(self, mask, x, cache, layer):
        """A mask over a layer's keys without the tokens themselves, as scores, and before it a column for a key of zeros, so low that only queries which see nothing else look there."""
        tokens = x.shape[1]
        past = 0 if cache is None else cache.get_seq_length(layer)
        length = mask.shape[-1] if mask is not None else tokens if cache is None else cache.get_mask_sizes(tokens, layer)[0]
        seen = (torch.arange(length, device=x.device) < torch.arange(tokens, device=x.device)[:, None] + past)[None, None]
        if mask is not None:
            seen = seen & (mask if mask.dtype == torch.bool else mask == 0)
        scores = torch.zeros(seen.shape, dtype=x.dtype, device=x.device).masked_fill(~seen, -math.inf)
        return nn.functional.pad(scores, (1, 0), value=torch.finfo(x.dtype).min / 2)

    def settle(self, x, run, made, cache):
        """What layers that read higher ones see over several tokens, which is what token after token gives: passes over the layers of the circle, x entering the lowest, each with what the pass before
        made; pass p makes token p-1 final. Training makes a fixed number of passes, the last of them with gradients."""
        tokens, trial = x.shape[1], None if cache is None else Trial(cache)
        before = {s: unfilled(cache, s, tokens) for s in self.circle[2]}

        def again():
            rows = dict(made)
            run(x, self.circle[0], self.circle[1] + 1, past_key_values=trial, made=rows, before=before)
            return {s: rows[s] for s in before}

        if self.training:
            for i in range(FREE_PASSES + KEPT_PASSES - 1):
                with torch.set_grad_enabled(torch.is_grad_enabled() and i >= FREE_PASSES):
                    before = again()
            return before
        for _ in range(tokens - 1):
            seen, before = before, again()
            if all(seen[s] is not None and torch.equal(seen[s][i], before[s][i]) for s in before for i in (0, 1)):
                break
        return before

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, use_cache=None, output_hidden_states=None, **kwargs):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, one of them")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if self.gradient_checkpointing and self.training:
            use_cache = False
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = past_key_values.get_seq_length(self.own) if past_key_values is not None else 0
            position_ids = (torch.arange(x.shape[1], device=x.device) + past)[None]
        masks = self.masks(x, attention_mask, past_key_values, position_ids)
        turn = self.rotation(position_ids)
        if design(self.config).reads_ids:
            if input_ids is None:
                raise ValueError(f"attention {self.config.attention} reads the tokens' ids: give input_ids")
            kwargs["token_ids"] = input_ids
        if design(self.config).looks_back:
            kwargs["positions"] = position_ids
        key_turn = self.key_turn(turn, position_ids, past_key_values)
        seen, made, before, at = [], {}, None, 0

        def run(x, begin, end, seen=None, **more):
            for i in range(begin, end):
                if seen is not None:
                    seen.append(x)
                x = self.layers[i](x, masks[i], turn, key_turn, **more, **kwargs)
            return x

        if self.circle:
            at = self.circle[0]
            x = run(x, 0, at, seen, past_key_values=past_key_values, made=made)
            before = self.settle(x, run, made, past_key_values)
        x = self.norm(run(x, at, len(self.layers), seen, past_key_values=past_key_values, made=made, before=before))
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values, hidden_states=tuple(seen + [x]) if wanted else None)


class Trial:
    """A cache that stays as it is: new rows come back behind those it holds, and are forgotten."""

    def __init__(self, cache):
        self.cache = cache

    def update(self, first, second, layer):
        if layer >= len(self.cache.layers):
            return first, second
        twin = copy.copy(self.cache.layers[layer])
        for name, value in vars(twin).items():
            if isinstance(value, torch.Tensor):
                setattr(twin, name, value.clone())
        return twin.update(first, second)


def unfilled(cache, layer, tokens):
    """The rows of a layer in the cache, and zeros for new tokens; None where it has no rows."""
    if cache is None or layer >= len(cache.layers) or cache.layers[layer].keys is None:
        return None
    streams = (cache.layers[layer].keys, cache.layers[layer].values)
    return Trial(cache).update(*(s.new_zeros(*s.shape[:2], tokens, s.shape[3]) for s in streams), layer)


class LowkeyForCausalLM(LowkeyPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = LowkeyModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, labels=None, use_cache=None, logits_to_keep=0,
        return_dict=None, output_hidden_states=None, num_items_in_batch=None, **kwargs
    ):
        kwargs.pop("output_attentions", None)
        out = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache,
            output_hidden_states=output_hidden_states, **kwargs
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        result = CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=out.past_key_values, hidden_states=out.hidden_states)
        return result if return_dict is None or return_dict else result.to_tuple()

    @staticmethod
    def create_masks_for_generate(config, attention_mask, **kwargs):
        """Layers of a map differ in their masks: forward makes them."""
        return attention_mask if config.layer_map else create_masks_for_generate(config=config, attention_mask=attention_mask, **kwargs)


class Step3TextModel(LowkeyModel):
    config_class = Step3TextConfig


class Step3TextForCausalLM(LowkeyForCausalLM):
    config_class = Step3TextConfig

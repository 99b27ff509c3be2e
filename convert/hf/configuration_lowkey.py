"""Configuration of lowkey's models for transformers (5.0 or newer).

`LowkeyConfig` is lowkey's own: one class for every attention design, named by `attention`. `Step3TextConfig` is the text model of Step-3, which transformers does not have by itself;
it is the MFA design under the published names. The fields mean what they mean to lowkey, with the same defaults.
"""

from transformers import PreTrainedConfig


class LowkeyConfig(PreTrainedConfig):
    """A decoder with RMS norms, a gated MLP and one of these designs of attention; what one token leaves in a layer's cache, in numbers:

    mha gqa mqa   k and v of num_key_value_heads heads of head_dim                     2 * num_key_value_heads * head_dim
    sqa           the same, with fewer query heads than hidden_size / head_dim         2 * num_key_value_heads * head_dim
    kvlatent      the same, with values of v_head_dim and frequencies for few channels num_key_value_heads * (head_dim + v_head_dim)
    kha-linear    mha gqa mqa behind transforms common to all heads                    2 * num_key_value_heads * head_dim
    kha-mlp       the same, with an MLP of the values, which are cached behind it      2 * num_key_value_heads * head_dim
    kha-mla       mla behind transforms common to all heads                            kv_lora_rank + qk_rope_head_dim
    lrkv          one k and one v of head_dim, and latents of a residual of each head  2 * (head_dim + num_attention_heads * kv_rank)
    gta           states that are value and key at once, and one rotated key part      num_key_value_heads * head_dim + qk_rope_head_dim
    mla           a latent and one rotated key part                                    kv_lora_rank + qk_rope_head_dim
    eg-mla        as mla, gated by embeddings of the tokens (and their ids)            kv_lora_rank + qk_rope_head_dim
    mtla          as mla, one row for merge_tokens tokens in lowkey's cache            kv_lora_rank + qk_rope_head_dim a row
    mka           k and v of num_key_value_heads heads for each memory level           2 * memory_levels * num_key_value_heads * head_dim
    mka-fast      k and v of num_key_value_heads heads, from a mix of the levels       2 * num_key_value_heads * head_dim
    gla           as mla, from num_latents latents, each for a block of heads          kv_lora_rank + qk_rope_head_dim
    mlra          as gla, in num_branches attentions whose outputs are summed          kv_lora_rank + qk_rope_head_dim
    mfa           one k and one v of head_dim, queries through a bottleneck            2 * head_dim
    mfa-kr        one k, from which v is made                                          head_dim
    tpa           factors over heads and over channels, of k and of v                  (k_rank + v_rank) * (num_attention_heads + head_dim)
    cca ccgqa     k and v of num_key_value_heads heads, and what filters look back on  2 * num_key_value_heads * head_dim
    tucker        one latent key after rotation and one latent value                   k_rank + v_rank; k_rank with shared_kv
    moas          k and v of mha, gqa and mqa side by side, or of one of them          2 * head_dim * (num_attention_heads + num_key_value_heads + 1)
    """

    model_type = "lowkey"
    keys_to_ignore_at_inference = ["past_key_values"]

    attention: str = "gqa"
    vocab_size: int = 32000
    hidden_size: int = 512
    intermediate_size: int = 1536
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    use_cache: bool = True
    rope_parameters: dict | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    # which layer's cache each layer reads, "0_0_2_2": its own, a lower layer's or a higher one's; an s behind it ("0s_1s_2_2") makes a layer slide over sliding_window tokens
    layer_map: str | None = None
    # mha gqa mqa sqa gta kha-linear kha-mlp kvlatent lrkv
    num_key_value_heads: int | None = None
    head_dim: int | None = None  # also mfa mfa-kr (the paper's C) and tpa
    qk_norm: bool = False
    sliding_window: int | None = None
    # mla; q_lora_rank and its norm also mfa mfa-kr
    q_lora_rank: int | None = None
    kv_lora_rank: int | None = None
    qk_nope_head_dim: int | None = None
    qk_rope_head_dim: int | None = None  # also gta
    v_head_dim: int | None = None  # also kvlatent
    latent_bits: int = 0  # mla: the latent is trained and cached as lowkey stores it in 4 or 8 bits (CLLA-quant)
    gate_embed_dim: int | None = None  # eg-mla
    # mtla: tokens of a block, width in which a latent meets its block
    merge_tokens: int = 2
    merge_dim: int | None = None
    layer_norm_eps: float = 1e-5
    # mka mka-fast
    memory_levels: int = 2
    ema_beta: float = 0.9
    router_hidden: int | None = None
    num_latents: int | None = None  # gla mlra
    num_branches: int | None = None  # mlra; gla has one
    attn_output_scale: float | None = None
    q_scale: float = 1.0
    kv_scale: float = 1.0
    rope_interleave: bool = False
    q_norm: bool = True
    values: str = "paper"  # mfa-kr: of the key before rotation, or "relative": the key after it, with mixes turned back
    # tpa; q_rank 0 means dense queries
    q_rank: int | None = None  # 6; also tucker
    k_rank: int | None = None  # 2; also tucker
    v_rank: int | None = None  # 2; also tucker
    # cca ccgqa: taps of the two filters, and the part of a head that turns
    cca_time0: int = 2
    cca_time1: int = 2
    partial_rotary_factor: float = 1.0
    # tucker; head_dim is of the heads it stands for
    head_rank: int | None = None
    out_rank: int | None = None
    out_head_rank: int | None = None
    shared_kv: bool = False
    # moas: soft, or the one scheme of all layers or of each
    router_dim: int | None = None
    attention_scheme: str | list[str] = "soft"
    # lrkv: rank of the residuals, and how many channels of a key's latent are turned
    kv_rank: int | None = None
    latent_rope_dim: int = 0

    def __post_init__(self, **kwargs):
        heads = self.num_attention_heads
        if self.attention in ("mha", "gqa", "mqa", "sqa", "gta", "kha-linear", "kha-mlp", "mka", "mka-fast"):
            self.num_key_value_heads = self.num_key_value_heads or (1 if self.attention == "mqa" else heads)
            self.head_dim = self.head_dim or self.hidden_size // heads
            self.router_hidden = self.router_hidden or max(1, self.hidden_size // 2)
            if self.attention == "gta":
                self.qk_rope_head_dim = self.qk_rope_head_dim or self.head_dim // 4 * 2
        elif self.attention == "kvlatent":
            if not self.head_dim:
                raise ValueError("attention kvlatent needs head_dim")
            self.num_key_value_heads = self.num_key_value_heads or heads
            self.v_head_dim = self.v_head_dim or self.head_dim
        elif self.attention == "lrkv":
            self.head_dim = self.head_dim or self.hidden_size // heads
            self.kv_rank = self.kv_rank or max(2, self.head_dim * 3 // 16 * 2)
            self.num_key_value_heads = heads  # of the keys with their residuals; the cache holds one head and latents
        elif self.attention in ("mla", "eg-mla", "gla", "mlra", "kha-mla", "mtla"):
            self.num_latents = self.num_latents or {"gla": 2, "mlra": 4}.get(self.attention, 1)
            self.num_branches = (self.num_branches or self.num_latents) if self.attention == "mlra" else 1
            if self.attention == "mlra":
                self.attn_output_scale = self.attn_output_scale or self.num_branches**-0.5
            self.merge_dim = self.merge_dim or max(1, (self.kv_lora_rank or 0) // 4)
            self.gate_embed_dim = self.gate_embed_dim or (self.kv_lora_rank if self.attention == "eg-mla" else None)
            self.num_key_value_heads = heads  # of the expanded keys; the cache holds latents
            self.v_head_dim = self.v_head_dim or self.hidden_size // heads
        elif self.attention in ("mfa", "mfa-kr"):
            if not self.head_dim:
                raise ValueError(f"attention {self.attention} needs head_dim")
            if self.values not in ("paper", "relative"):
                raise ValueError(f"values {self.values!r}: must be paper or relative")
            self.num_key_value_heads = 1
            self.q_lora_rank = self.q_lora_rank or self.head_dim
        elif self.attention == "tpa":
            if not self.head_dim:
                raise ValueError("attention tpa needs head_dim")
            self.num_key_value_heads = heads  # of the keys made of the factors; the cache holds factors
            self.q_rank = 6 if self.q_rank is None else self.q_rank
            self.k_rank, self.v_rank = self.k_rank or 2, self.v_rank or 2
        elif self.attention in ("cca", "ccgqa"):
            if not self.head_dim:
                raise ValueError(f"attention {self.attention} needs head_dim")
            self.num_key_value_heads = self.num_key_value_heads or heads
        elif self.attention == "tucker":
            self.num_key_value_heads = 1
            self.head_dim = self.head_dim or self.hidden_size // heads
            self.k_rank = self.k_rank or self.head_dim
            self.v_rank, self.q_rank = self.v_rank or self.k_rank, self.q_rank or 2 * self.k_rank
            self.out_rank, self.head_rank = self.out_rank or self.q_rank, self.head_rank or heads
            self.out_head_rank = self.out_head_rank or self.head_rank
        elif self.attention == "moas":
            self.head_dim = self.head_dim or self.hidden_size // heads
            self.num_key_value_heads = self.num_key_value_heads or min(2, heads)
            self.router_dim = self.router_dim or max(1, self.hidden_size // 4)
        else:
            raise ValueError(f"attention {self.attention!r}: known are mha gqa mqa sqa gta mla mtla mka mka-fast eg-mla gla mlra mfa mfa-kr tpa cca ccgqa tucker moas lrkv kha-linear kha-mlp kha-mla kvlatent")
        if self.latent_bits and (self.attention != "mla" or self.latent_bits not in (4, 8)):
            raise ValueError(f"latent_bits {self.latent_bits} of attention {self.attention}: mla has 4 or 8, or 0")
        self.sliding_window = self.sliding_window or None  # 0 means none, too
        self.layer_map = self.layer_map or None
        if self.layer_map:
            self.check_map()
        super().__post_init__(**kwargs)

    def check_map(self):
        layers = self.layer_map.split("_")
        sources = [s.removesuffix("s") for s in layers]
        if len(layers) != self.num_hidden_layers or not all(s.isdigit() and int(s) < len(layers) and sources[int(s)] == s for s in sources):
            raise ValueError(f"layer_map {self.layer_map!r}: one entry a layer, itself or a layer that is its own entry")
        slides = [s.endswith("s") for s in layers]
        if any(slides) and not self.sliding_window:
            raise ValueError(f"layer_map {self.layer_map!r}: a layer that slides needs sliding_window")
        if any(slides) and not all(slides):  # whose cache is cut: those of which every reader slides
            cut = [all(slides[j] for j in range(len(layers)) if sources[j] == s) for s in sources]
            self.layer_types = ["sliding_attention" if c else "full_attention" for c in cut]
        if not any(slides):
            self.sliding_window = None

    def source(self, layer):
        """The layer whose cache a layer reads: itself or, by layer_map, another."""
        return int(self.layer_map.split("_")[layer].removesuffix("s")) if self.layer_map else layer

    def slides(self, layer):
        return self.layer_map.split("_")[layer].endswith("s") if self.layer_map else bool(self.sliding_window)

    @property
    def kv_sharing_modes(self):
        """For transformers' caches: layers without one of their own."""
        return [None if self.source(i) == i else "reuse" for i in range(self.num_hidden_layers)] if self.layer_map else None


class Step3TextConfig(LowkeyConfig):
    """The text model of Step-3 with dense layers only: MFA with a norm of the query bottleneck."""

    model_type = "step3_text"
    attribute_map = {"q_lora_rank": "share_q_dim", "max_position_embeddings": "max_position_embedding"}

    attention: str = "mfa"
    share_q_dim: int | None = None
    max_position_embedding: int = 2048
    moe_layers_enum: str | list[int] | None = None
    moe_num_experts: int = 0

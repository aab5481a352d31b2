"""One decoder-only transformer for the Llama family.

Dimension letters, here and everywhere: B batch, T tokens, S cached slots, D width, H query heads,
K key/value heads, G query heads a key/value head (H = K x G), C channels of a head, V vocabulary.

Module names are those of the Hugging Face layout, so that a state dict is a checkpoint.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from model.cache import KVCache
from model.norm import RMSNorm

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # (q, k, v) -> mixed values, (B, H, T, C)


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's stretching of the slow rotary frequencies (Llama 3.1 release, `rope_scaling`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. `family` is the Hugging Face `model_type` that it is written as."""

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    head_dim: int
    context: int
    family: str = "llama"
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    tied: bool = True

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads: {self.heads} is no multiple of kv_heads {self.kv_heads}")


def rotary_table(config: ModelConfig) -> Tensor:
    """Cosines and sines of every position, (context, 2, head_dim) float32 (Su et al. 2021)."""
    channel = torch.arange(0, config.head_dim, 2, dtype=torch.float64)
    frequency = config.rope_theta ** (-channel / config.head_dim)
    if (scaling := config.rope_scaling) is not None:
        turns = scaling.original_context * frequency / (2 * math.pi)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        share_kept = ((turns - low) / (high - low)).clamp(0, 1)
        frequency = share_kept * frequency + (1 - share_kept) * frequency / scaling.factor
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency
    angle = torch.cat((angle, angle), dim=-1)
    return torch.stack((angle.cos(), angle.sin()), dim=1).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each pair (c, c + C/2) of `x` (B, heads, T, C) by `table` (B or 1, 1, T, 2, C)."""
    cos, sin = table.to(x.dtype).unbind(-2)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attend_causally(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of (B, H, T, C) over (B, K, T, C); `mask` (B or 1, 1, T, T), None: plain causal."""
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )


def attend_from_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of one query a row, (B, H, 1, C), over a cache (B, K, S, C); `mask` (B, 1, 1, S).

    The query heads of a group are folded into rows, so keys and values are never repeated; plain
    products are faster here than a fused kernel on a CPU.
    """
    rows = rearrange(q, "b (k g) 1 c -> b k g c", k=k.shape[1])
    scores = (rows @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1, dtype=torch.float32)
    return rearrange(weights.to(v.dtype) @ v, "b k g c -> b (k g) 1 c")


class Attention(nn.Module):
    """Grouped-query attention with rotary positions (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.width, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.width, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.width, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries, config.width, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, table: Tensor, attend: Attend) -> Tensor:
        """Mix `x` (B, T, D); `attend` says over what: the row itself, or a cache."""
        q, k, v = (
            rearrange(project(x), "b t (h c) -> b h t c", c=self.head_dim)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        mixed = attend(rotate(q, table), rotate(k, table), v)
        return self.o_proj(rearrange(mixed, "b h t c -> b t (h c)"))


class MLP(nn.Module):
    """SwiGLU feed-forward (Shazeer 2020)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp, bias=False)
        self.down_proj = nn.Linear(config.mlp, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, table: Tensor, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), table, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embedding, blocks and final norm: tokens to hidden states."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)


class Transformer(nn.Module):
    """The whole model. `forward` gives hidden states; `logits` reads the vocabulary where asked."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.register_buffer("table", rotary_table(config), persistent=False)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states (B, T, D) of `tokens` (B, T) int64, after the final norm.

        `mask` (B, T) bool marks the tokens that count; positions count only them, so padding on
        either side changes nothing. Padding on the right needs no mask: nothing looks ahead.
        """
        T = tokens.shape[1]
        positions = torch.arange(T, device=tokens.device)[None]
        if mask is not None:
            positions = (mask.long().cumsum(-1) - 1).clamp_min(0)
        seen = self.visible(T, mask)
        return self.run(tokens, positions, lambda layer: lambda q, k, v:
                        attend_causally(q, k, v, seen))

    def forward_groups(self, groups: Sequence[Tensor]) -> Tensor:
        """Hidden states (N, D) of right-padded groups, each (B, T) int64 with a B and T of its own.

        N counts every position of every group, row by row, as `torch.cat` of the flattened groups
        does. Only attention goes group by group; all else sees one long row. So sequences of a
        training step share their products, whatever their lengths, and hardly any are padding.
        """
        shapes = [group.shape for group in groups]
        sizes = [B * T for B, T in shapes]
        seen = [self.visible(T, None) for _, T in shapes]
        positions = torch.cat([torch.arange(T, device=groups[0].device).repeat(B)
                               for B, T in shapes])

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = zip(*(x.split(sizes, dim=2) for x in (q, k, v)), shapes, seen, strict=True)
            return torch.cat([rearrange(attend_causally(*(
                rearrange(x, "1 h (b t) c -> b h t c", t=shape[1]) for x in part), mask),
                "b h t c -> 1 h (b t) c") for *part, shape, mask in parts], dim=2)

        tokens = torch.cat([group.flatten() for group in groups])
        return self.run(tokens[None], positions[None], lambda layer: attend)[0]

    def prefill(self, tokens: Tensor, cache: KVCache, rows: Tensor) -> Tensor:
        """As `forward` of right-padded `tokens` (B, T); keys and values go to the cache's `rows`.

        Slots past a row's own length hold padding until decoding overwrites them.
        """
        T = tokens.shape[1]
        seen = self.visible(T, None)

        def attend_and_keep(layer: int) -> Attend:
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                cache.fill(layer, rows, k, v)
                return attend_causally(q, k, v, seen)
            return attend

        return self.run(tokens, torch.arange(T, device=tokens.device)[None], attend_and_keep)

    def decode_one(self, tokens: Tensor, slots: Tensor, cache: KVCache, length: int) -> Tensor:
        """Hidden states (B, D) of one token a row, `tokens` (B,), standing at `slots` (B,) int64.

        Looks at the first `length` slots of the cache, of which a row sees those up to its own.
        """
        slot = torch.arange(length, device=tokens.device)
        seen = slot <= slots[:, None]
        if self.config.sliding_window is not None:
            seen &= slot > slots[:, None] - self.config.sliding_window

        def attend_to_cache(layer: int) -> Attend:
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                keys, values = cache.append(layer, slots, k, v, length)
                return attend_from_one(q, keys, values, seen[:, None, None])
            return attend

        return self.run(tokens[:, None], slots[:, None], attend_to_cache)[:, 0]

    def run(self, tokens: Tensor, positions: Tensor, attend: Callable[[int], Attend]) -> Tensor:
        """The layers in order; `attend(layer)` is how that layer attends."""
        x = self.model.embed_tokens(tokens)
        table = self.table[positions][:, None]
        for layer, block in enumerate(self.model.layers):
            x = block(x, table, attend(layer))
        return self.model.norm(x)

    def visible(self, T: int, mask: Tensor | None) -> Tensor | None:
        """Which positions each position sees, (B or 1, 1, T, T) bool; None where plain causal."""
        window = self.config.sliding_window
        if mask is None and (window is None or T <= window):
            return None
        age = torch.arange(T, device=self.table.device)
        age = age[:, None] - age
        seen = (age >= 0) if window is None else (age >= 0) & (age < window)
        if mask is None:
            return seen[None, None]
        # A padding position sees itself, so that its softmax stays finite.
        return (seen & mask[:, None, :] | (age == 0))[:, None]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., D)."""
        return self.lm_head(hidden)


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Fill a new model's matrices from normal distributions.

    Projections have standard deviation 1 / sqrt(inputs), those that write to the stream that over
    sqrt(2 x layers) (Radford et al. 2019), embeddings 0.05. At a width of 128 the customary 0.02
    starts attention so flat that copying is learnt late.
    """
    layers = sum(isinstance(module, Block) for module in model.modules())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                continue
            std = 0.05 if ".layers." not in name else parameter.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std /= math.sqrt(2 * layers)
            parameter.normal_(0.0, std, generator=generator)

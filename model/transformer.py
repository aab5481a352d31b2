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
from torch.utils.checkpoint import checkpoint

from model.attention import Attend, attend_causally, attend_from_one
from model.batches import cut, joined, pad_right
from model.cache import KVCache
from model.fusing import fusable
from model.gradients import Embed, Gate, Rotate, turned
from model.norm import RMSNorm, weighed
from model.sharing import Packed, pack


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
    """Cosines and sines of every position, (context, 2, head_dim) float32 (Su et al. 2021).

    The sines of the first half of the channels are negative: there the other half is taken off.
    """
    channel = torch.arange(0, config.head_dim, 2, dtype=torch.float64)
    frequency = config.rope_theta ** (-channel / config.head_dim)
    if (scaling := config.rope_scaling) is not None:
        turns = scaling.original_context * frequency / (2 * math.pi)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        share_kept = ((turns - low) / (high - low)).clamp(0, 1)
        frequency = share_kept * frequency + (1 - share_kept) * frequency / scaling.factor
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency
    turn = torch.stack((angle.cos(), -angle.sin(), angle.cos(), angle.sin()), dim=1).float()
    return rearrange(turn, "t (half two) c -> t two (half c)", two=2)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each pair (c, c + C/2) of `x` (B, T, heads, C) by `table` (B or 1, T, 1, 2, C)."""
    cos, sin = table.to(x.dtype).unbind(-2)
    return Rotate.apply(x, cos, sin) if torch.is_grad_enabled() else turned(x, cos, sin, 1)


def at_columns(x: Tensor, at: Tensor) -> Tensor:
    """`x` (B, T, ...) at columns `at` (B, M) int64: (B, M, ...)."""
    if len(x) == 1:  # as in training, where the gradient of the other way is far slower
        return x.index_select(1, at[0])
    return x[torch.arange(len(x), device=x.device)[:, None], at]


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

    def ask(self, x: Tensor, weight: Tensor | None, table: Tensor,
            at: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, T, H, C), keys and values (B, T, K, C) of `x` (B, T, D), yet to be `weighed`.

        Columns `at` (B, M) alone ask, where given; all are asked.
        """
        asking, turned = x, table
        if at is not None:
            asking = at_columns(x, at)
            turned = at_columns(table[:, :, 0].expand(len(x), -1, -1, -1), at)[:, :, None]
        q, k, v = (
            weighed(project, states, weight).unflatten(-1, (-1, self.head_dim))
            for project, states in ((self.q_proj, asking), (self.k_proj, x), (self.v_proj, x))
        )
        if self.q_norm is not None:
            # Their weights may be float32 beside products in bfloat16.
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        return rotate(q, turned), rotate(k, table), v

    def gather(self, mixed: Tensor) -> Tensor:
        """What the stream takes (B, T, D) of the values that heads mixed (B, T, H, C)."""
        return self.o_proj(mixed.flatten(2))


class MLP(nn.Module):
    """SwiGLU feed-forward (Shazeer 2020)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp, bias=False)
        self.down_proj = nn.Linear(config.mlp, config.width, bias=False)

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """`x` (B, T, D), yet to be `weighed`, on to what the stream takes (B, T, D)."""
        gate, up = (weighed(project, x, weight) for project in (self.gate_proj, self.up_proj))
        return self.down_proj(Gate.apply(gate, up))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream.

    All but attention itself is two functions that can be fused: what is attended to has too many
    shapes.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)
        self.mlp = MLP(config)
        self.fused = False

    def forward(self, x: Tensor, table: Tensor, attend: Attend, at: Tensor | None = None) -> Tensor:
        """`x` (B, T, D) a layer on; `attend` says over what: the row itself, or a cache."""
        asked = (heads.transpose(1, 2) for heads in before_attention(self, x, table, at))
        mixed = attend(*asked).transpose(1, 2)
        return after_attention(self, x if at is None else at_columns(x, at), mixed)


@fusable
def before_attention(block: Block, x: Tensor, table: Tensor,
                     at: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, as of `Attention.ask`."""
    return block.self_attn.ask(*block.input_layernorm.apart(x), table, at)


@fusable
def after_attention(block: Block, x: Tensor, mixed: Tensor) -> Tensor:
    """The stream `x` (B, T, D) with what attention mixed (B, T, H, C) and the feed-forward."""
    x = x + block.self_attn.gather(mixed)
    return x + block.mlp(*block.post_attention_layernorm.apart(x))


class Trunk(nn.Module):
    """Embedding, blocks and final norm: tokens to hidden states."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.fused = False


@fusable
def final_norm(trunk: Trunk, x: Tensor) -> Tensor:
    """The stream `x` (B, T, D) as the vocabulary reads it."""
    return trunk.norm(x)


class Transformer(nn.Module):
    """The whole model. `forward` gives hidden states; `logits` reads the vocabulary where asked."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.recompute = False  # of each layer, for the gradient
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.register_buffer("table", rotary_table(config), persistent=False)
        self.fused = False

    def compile(self, *args, **options) -> None:
        """As of any module; generation then fuses its step too."""
        super().compile(*args, **options)
        self.fused = True

    def forward(self, tokens: Tensor, mask: Tensor | None = None, positions: Tensor | None = None,
                branch: Tensor | None = None, at: Tensor | None = None,
                after: KVCache | None = None) -> Tensor:
        """Hidden states (B, T, D) of `tokens` (B, T) int64, after the final norm.

        `mask` (B, T) bool marks the tokens that count; positions count only them, so padding on
        either side changes nothing. Padding on the right needs no mask: nothing looks ahead.

        In place of a mask: `positions` (B or 1, T) int64 and, where a row holds several sequences
        that begin alike, `branch` (B, T) int64; a token sees no later position and, of the
        branches, 0 and its own. With `at` the hidden states are those of columns `at` (B, M)
        alone: (B, M, D). `after`, of one row, holds what every row begins with.
        """
        if mask is not None:
            # Padding is a branch of its own that sees itself, so that its softmax stays finite.
            positions, branch = (mask.long().cumsum(-1) - 1).clamp_min(0), -(~mask).long()
        return self.read(tokens, positions, branch, at, after)

    def read(self, tokens: Tensor, positions: Tensor | None, branch: Tensor | None,
             at: Tensor | None, after: KVCache | None,
             keep: Callable[[int, Tensor, Tensor], None] | None = None) -> Tensor:
        """As `forward`; `keep` takes each layer's keys and values, both (B, K, T, C)."""
        T, device = tokens.shape[1], tokens.device
        P = 0 if after is None else after.keys[0].shape[2]
        positions = torch.arange(T, device=device)[None] if positions is None else positions
        seen = self.visible(positions, branch, P)
        seen_last = seen
        if at is not None:
            causal = torch.arange(T, device=device) <= at[..., None]
            seen_last = causal if seen is None else at_columns(seen.expand(len(at), -1, -1), at)

        def attend_to_all(layer: int) -> Attend:
            mask = seen if layer < self.config.layers - 1 else seen_last

            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                if keep is not None:
                    keep(layer, k, v)
                if after is not None:
                    k = torch.cat((after.keys[layer].expand(len(k), -1, -1, -1), k), dim=2)
                    v = torch.cat((after.values[layer].expand(len(v), -1, -1, -1), v), dim=2)
                return attend_causally(q, k, v, None if mask is None else mask[:, None])
            return attend

        # Padding may stand beyond the context.
        places = (positions + P).clamp_max(self.config.context - 1)
        return self.run(tokens, places, attend_to_all, at)

    def forward_groups(self, groups: Sequence[Tensor] | Sequence[Packed],
                       at: Tensor | None = None) -> Tensor:
        """Hidden states (N, D) of groups, each (B, T) int64 with a B and T of its own, right-padded
        or packed.

        N counts every position of every group, row by row, as `torch.cat` of the flattened groups
        does. Only attention goes group by group; all else sees one long row. So sequences of a
        training step share their products, whatever their lengths, and hardly any are padding.
        With `at` (M,) int64, no position twice, the states are those of these alone: (M, D).
        """
        tokens, places, branches = zip(*(
            (group.tokens, group.positions, group.branch) if isinstance(group, Packed) else
            (group, torch.arange(group.shape[1], device=group.device)[None], None)
            for group in groups), strict=True)
        shapes = [group.shape for group in tokens]
        sizes = [B * T for B, T in shapes]
        seen = [self.visible(place, branch, 0)
                for place, branch in zip(places, branches, strict=True)]
        positions = torch.cat([place.expand(shape).flatten()
                               for place, shape in zip(places, shapes, strict=True)])

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # Cut and joined along rows as they lie in memory, so nothing is copied but the result.
            parts = zip(*(cut(rearrange(x, "1 h n c -> n h c"), sizes) for x in (q, k, v)),
                        shapes, seen, strict=True)
            mixed = joined([rearrange(attend_causally(*(
                rearrange(x, "(b t) h c -> b h t c", t=shape[1]) for x in part),
                None if mask is None else mask[:, None]),
                "b h t c -> (b t) h c") for *part, shape, mask in parts])
            return rearrange(mixed, "n h c -> 1 h n c")

        def attend_last(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # Queries that nothing reads are zero, so that groups keep their shapes.
            asked = rearrange(q, "1 h m c -> m h c")
            queries = asked.new_zeros(len(positions), *asked.shape[1:]).index_copy(0, at, asked)
            mixed = attend(rearrange(queries, "n h c -> 1 h n c"), k, v)
            return mixed.index_select(2, at)

        every = torch.cat([group.flatten() for group in tokens])[None]
        last = self.config.layers - 1
        # Squeezed, not indexed: the gradient of an index is zeros of the whole, filled in.
        if at is None:
            return self.run(every, positions[None], lambda layer: attend).squeeze(0)
        return self.run(every, positions[None], lambda layer: (
            attend_last if layer == last else attend), at[None]).squeeze(0)

    def prefill(self, packed: Packed, cache: KVCache, rows: Tensor, at: Tensor) -> Tensor:
        """Hidden states (B, M, D) of columns `at` (B, M) of `packed`, whose N sequences go on
        after `cache.after`; their keys and values go to the cache's `rows` (N,) int64.

        Slots past a sequence's own length hold padding until decoding overwrites them.
        """
        columns = pad_right(packed.columns, device=rows.device)

        def keep(layer: int, k: Tensor, v: Tensor) -> None:
            if packed.branch is None:
                k, v = k[:, :, : columns.shape[1]], v[:, :, : columns.shape[1]]
            else:
                k, v = (rearrange(rearrange(x, "b k t c -> b t k c")[packed.row[:, None], columns],
                                  "n t k c -> n k t c") for x in (k, v))
            cache.fill(layer, rows, k, v)

        return self.read(packed.tokens, packed.positions, packed.branch, at, cache.after, keep)

    def read_once(self, prefix: Sequence[int]) -> KVCache:
        """The cache, of one row, of what many sequences begin with."""
        config, device = self.config, self.table.device
        cache = KVCache(config.layers, 1, config.kv_heads, len(prefix), config.head_dim,
                        self.lm_head.weight.dtype, device)
        self.prefill(pack([list(prefix)], [[0]], device), cache, torch.tensor([0], device=device),
                     torch.tensor([[len(prefix) - 1]], device=device))
        return cache

    def decode_one(self, tokens: Tensor, slots: Tensor, cache: KVCache, rows: Tensor | slice,
                   parts: Sequence[tuple[int, int]]) -> Tensor:
        """Hidden states (B, D) of one token a row, `tokens` (B,), standing at `slots` (B,) int64.

        `rows` (B,) int64 of the cache, or a slice of it as one part, look in `parts` of (rows,
        length) at what all rows share and at the first `length` slots, of which a row sees those
        up to its own.
        """
        positions = slots[:, None] + cache.start
        sizes = [size for size, _ in parts]
        seen = []
        for position, (_, length) in zip(cut(positions, sizes), parts, strict=True):
            age = position - torch.arange(cache.start + length, device=tokens.device)
            near = age >= 0
            if self.config.sliding_window is not None:
                near &= age < self.config.sliding_window
            seen.append(near[:, None, None])

        def attend_to_cache(layer: int) -> Attend:
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                cache.append(layer, rows, slots, k, v)
                return joined([
                    attend_from_one(asking, *held, mask, cache.shared(layer))
                    for asking, held, mask in zip(cut(q, sizes), cache.parts(layer, rows, parts),
                                                  seen, strict=True)])
            return attend

        return self.run(tokens[:, None], positions, attend_to_cache)[:, 0]

    def run(self, tokens: Tensor, positions: Tensor, attend: Callable[[int], Attend],
            at: Tensor | None = None) -> Tensor:
        """The layers in order; `attend(layer)` is how that layer attends.

        The last layer computes columns `at` (B, M) alone, where given: nothing reads the others.
        """
        x = self.embed(tokens)
        table = self.table[positions][:, :, None]
        last = self.config.layers - 1
        for layer, block in enumerate(self.model.layers):
            inputs = x, table, attend(layer), at if layer == last else None
            x = (checkpoint(block, *inputs, use_reentrant=False)
                 if self.recompute and torch.is_grad_enabled() else block(*inputs))
        return final_norm(self.model, x)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings (..., D) of `tokens` (...) int64."""
        weight = self.model.embed_tokens.weight
        return Embed.apply(weight, tokens) if torch.is_grad_enabled() else weight[tokens]

    def visible(self, positions: Tensor, branch: Tensor | None, before: int) -> Tensor | None:
        """Which of `before` shared tokens and of its row each token sees: (B or 1, T, before + T)
        bool; None where that is plainly causal. `positions` and `branch` as of `forward`.
        """
        window = self.config.sliding_window
        if branch is None and not before and (window is None or positions.shape[1] <= window):
            return None
        shared = torch.arange(before, device=positions.device).expand(len(positions), -1)
        positions = positions + before
        age = positions[:, :, None] - torch.cat((shared, positions), dim=1)[:, None]
        seen = age >= 0 if window is None else (age >= 0) & (age < window)
        if branch is not None:
            other = F.pad(branch, (before, 0))[:, None]
            seen &= (other == 0) | (other == branch[:, :, None])
        return seen

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

"""Attention itself: every query of a row over its keys and values, or one a row over a cache.

Dimension letters as of transformer.py; P slots of what all rows begin with.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# What `scaled_dot_product_attention` calls on a CPU; these tell the softmax's sum, which it keeps.
ATTEND = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
ATTEND_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
KERNEL_KEYS = 512  # that it computes at once, seen or not
BLOCK = 64  # queries or keys of a call
AT_ONCE = 2048  # tokens of the rows of a call

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # (q, k, v) -> mixed values, (B, H, T, C)


def attend_causally(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of (B, H, T, C) over (B, K, S, C); `mask` (B or 1, 1, T, S), None: plain causal.

    On a CPU in float32, whatever the products around it have: its bfloat16 kernel is slower.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            return attend_causally(q.float(), k.float(), v.float(), mask).to(q.dtype)
    if (mask is None and q.device.type == "cpu" and q.dtype == torch.float32
            and 2 * BLOCK < q.shape[2] <= KERNEL_KEYS):
        if not torch.compiler.is_compiling():
            return InBlocks.apply(q, k, v)
        if not torch.is_grad_enabled():
            return in_quarters(q, k, v)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )


class InBlocks(torch.autograd.Function):
    """Plain causal attention of (B, H, T, C) over (B, K, T, C), float32 on a CPU.

    torch's kernel computes every query over all of up to KERNEL_KEYS keys and then leaves out those
    ahead. Here it is given a block of queries and the keys up to their last; for the gradient a
    block of keys and the queries from their first on, since of all keys only the output and the
    softmax's sum are needed (Dao et al. 2022, algorithm 4). So little more than the triangle is
    computed; a few rows at a time, which stay in the processor's cache.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ANN001
        T, mixed, sums = q.shape[2], torch.empty_like(q), torch.empty_like(q[..., 0])
        ahead = torch.full((T, T), -torch.inf).triu_(1)
        for asking, keys, values, out, total in few_rows(q, k, v, mixed, sums):
            for end in range(BLOCK, T + BLOCK, BLOCK):
                block = slice(end - BLOCK, end)
                out[:, :, block], total[:, :, block] = ATTEND(
                    asking[:, :, block], keys[:, :, :end], values[:, :, :end],
                    attn_mask=ahead[block, :end])
        ctx.save_for_backward(q, k, v, mixed, sums)
        return mixed

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN001
        q, k, v, mixed, sums = ctx.saved_tensors
        by_q, by_k, by_v = (torch.empty_like(x) for x in (q, k, v))
        for asking, keys, values, into_q, into_k, into_v, *rest in few_rows(
                q, k, v, by_q, by_k, by_v, mixed, sums, gradient):
            for start in range(0, q.shape[2], BLOCK):
                block = slice(start, start + BLOCK)
                out, total, given = (x[:, :, start:] for x in rest)
                part, into_k[:, :, block], into_v[:, :, block] = ATTEND_BACKWARD(
                    given, asking[:, :, start:], keys[:, :, block], values[:, :, block], out, total,
                    0.0, True)
                if start:
                    into_q[:, :, start:] += part
                else:
                    into_q.copy_(part)
        return by_q, by_k, by_v


def in_quarters(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As `InBlocks`, for a compiler, which would make a graph of its own for each number of blocks:
    always four of them, of all rows.
    """
    T = q.shape[2]
    ahead = torch.full((T, T), -torch.inf).triu_(1)
    ends = [T * quarter // 4 for quarter in range(5)]
    return torch.cat([
        ATTEND(q[:, :, start:end], k[:, :, :end], v[:, :, :end],
               attn_mask=ahead[start:end, :end])[0]
        for start, end in itertools.pairwise(ends)], dim=2)


def few_rows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of tensors (B, heads, T, ...) of as many rows as hold AT_ONCE tokens, or one."""
    rows = max(1, AT_ONCE // tensors[0].shape[2])
    return zip(*(x.split(rows) for x in tensors), strict=True)


def attend_from_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
                    shared: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Attention of one query a row, (B, H, 1, C), over a cache (B, K, S, C); `mask` (B, 1, 1, S).

    The query heads of a group are folded into rows, so keys and values are never repeated; plain
    products are faster here than a fused kernel on a CPU. `shared` keys and values (1, K, P, C)
    come before those of every row and are read once for all; `mask` is then (B, 1, 1, P + S).
    """
    rows = q.unflatten(1, (k.shape[1], -1))[:, :, :, 0]
    scores = scaled_products(rows, k)
    if shared is not None:
        before = torch.einsum("bkgc,kpc->bkgp", rows * rows.shape[-1] ** -0.5, shared[0][0])
        scores = torch.cat((before, scores), dim=-1)
    # A softmax whose sum divides last: once a query, not once a cached token.
    scores = scores.masked_fill(~mask, -torch.inf).float()
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights.to(v.dtype)
    mixed = weighed_sums(weights[..., -v.shape[2]:], v)
    if shared is not None:
        P = shared[1].shape[2]
        mixed = mixed + torch.einsum("bkgp,kpc->bkgc", weights[..., :P], shared[1][0])
    return (mixed / total).to(v.dtype).flatten(1, 2)[:, :, None]


def scaled_products(q: Tensor, k: Tensor) -> Tensor:
    """Scores (B, K, G, S) of queries (B, K, G, C) and keys (B, K, S, C)."""
    scale = q.shape[-1] ** -0.5
    if in_loops(q):
        # Scaled last, once a score and not once a channel of it.
        return (q[:, :, :, None] * k[:, :, None]).sum(-1) * scale
    return q * scale @ k.transpose(-1, -2)


def weighed_sums(weights: Tensor, v: Tensor) -> Tensor:
    """Values (B, K, S, C) summed by weights (B, K, G, S): (B, K, G, C)."""
    if in_loops(v):
        return (weights[..., None] * v[:, :, None]).sum(-2)
    return weights @ v


def in_loops(x: Tensor) -> bool:
    """Whether a compiler turns what is done with `x` into loops of its own, as on a CPU.

    These are better told the sum: of a product they know a row and a head as one number, which they
    divide for every cached token.
    """
    return torch.compiler.is_compiling() and x.device.type == "cpu"

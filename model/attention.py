"""Attention itself: every query of a row over its keys and values, or one a row over a cache.

Dimension letters as of transformer.py; P slots of what all rows begin with.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # (q, k, v) -> mixed values, (B, H, T, C)


def attend_causally(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of (B, H, T, C) over (B, K, S, C); `mask` (B or 1, 1, T, S), None: plain causal.

    On a CPU in float32, whatever the products around it have: its bfloat16 kernel is slower.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            return attend_causally(q.float(), k.float(), v.float(), mask).to(q.dtype)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )


def attend_from_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor,
                    shared: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Attention of one query a row, (B, H, 1, C), over a cache (B, K, S, C); `mask` (B, 1, 1, S).

    The query heads of a group are folded into rows, so keys and values are never repeated; plain
    products are faster here than a fused kernel on a CPU. `shared` keys and values (1, K, P, C)
    come before those of every row and are read once for all; `mask` is then (B, 1, 1, P + S).
    """
    rows = q.unflatten(1, (k.shape[1], -1))[:, :, :, 0] * q.shape[-1] ** -0.5
    scores = rows @ k.transpose(-1, -2)
    if shared is not None:
        before = torch.einsum("bkgc,kpc->bkgp", rows, shared[0][0])
        scores = torch.cat((before, scores), dim=-1)
    # A softmax whose sum divides last: once a query, not once a cached token.
    scores = scores.masked_fill(~mask, -torch.inf).float()
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights.to(v.dtype)
    mixed = weights[..., -v.shape[2]:] @ v
    if shared is not None:
        P = shared[1].shape[2]
        mixed = mixed + torch.einsum("bkgp,kpc->bkgc", weights[..., :P], shared[1][0])
    return (mixed / total).to(v.dtype).flatten(1, 2)[:, :, None]

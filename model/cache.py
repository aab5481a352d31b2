"""Keys and values of the tokens read so far, one row a sequence, allocated once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class KVCache:
    """Static buffers (B, K, S, C), two a layer; slot s of a row holds its token at position P + s.

    P is the length of `after`, a cache of one row: what all rows begin with, held once. A row's
    tokens stand at slots 0, 1, 2... with no gap. What lies beyond a row's length is stale and must
    be masked by the reader.
    """

    def __init__(self, layers: int, rows: int, kv_heads: int, slots: int, head_dim: int,
                 dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
                 after: KVCache | None = None):
        # Not one buffer for all layers: a compiled step would copy all of it at every write. Scores
        # of keys that nothing wrote are masked; such values are multiplied by 0, so must be finite.
        shape = (rows, kv_heads, slots, head_dim)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.after = after
        self.start = 0 if after is None else after.keys[0].shape[2]
        self.first = torch.arange(rows * kv_heads, device=device).view(rows, kv_heads) * slots

    def fill(self, layer: int, rows: Tensor, k: Tensor, v: Tensor) -> None:
        """Write `k`, `v` (B, K, T, C) into the first T slots of `rows` (B,) int64."""
        for held, new in ((self.keys[layer], k), (self.values[layer], v)):
            held[:, :, : new.shape[2]].index_copy_(0, rows, new.to(held.dtype))

    def append(self, layer: int, rows: Tensor | slice, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Write one token a row to `rows` (B,), `k`, `v` (B, K, 1, C), at `slots` (B,)."""
        place = (self.first[rows] + slots[:, None]).flatten()
        for held, new in ((self.keys[layer], k), (self.values[layer], v)):
            held.view(-1, k.shape[-1]).index_copy_(0, place, new.flatten(0, 2).to(held.dtype))

    def parts(self, layer: int, rows: Tensor | slice,
              parts: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of `rows` (B,) in `parts`, (rows, length) each: (rows, K, length, C).

        Of a slice, which has one part, they are views.
        """
        some = [rows] if isinstance(rows, slice) else rows.split([size for size, _ in parts])
        keys, values = ([taken(held[layer][:, :, :length], part)
                         for part, (_, length) in zip(some, parts, strict=True)]
                        for held in (self.keys, self.values))
        return list(zip(keys, values, strict=True))

    def shared(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values (1, K, P, C) of what all rows begin with, where they begin alike."""
        return None if self.after is None else (self.after.keys[layer], self.after.values[layer])

    def move(self, to: Tensor, source: Tensor, length: int) -> None:
        """Copy the first `length` slots of rows `source` (n,) int64 to rows `to` (n,)."""
        for held in (*self.keys, *self.values):
            used = held[:, :, :length]
            used.index_copy_(0, to, used.index_select(0, source))


def taken(held: Tensor, rows: Tensor | slice) -> Tensor:
    """`held[rows]`; that each of `rows` exists is not checked, which a compiled step would do for
    every cached token.
    """
    return held[rows] if isinstance(rows, slice) else torch.ops.aten._unsafe_index(held, [rows])

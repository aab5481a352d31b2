"""Keys and values of the tokens read so far, one row a sequence, allocated once."""

import torch
from torch import Tensor


class KVCache:
    """Static buffers (L layers, B, K, S, C); slot s of a row holds its token at position s.

    A row's tokens stand at slots 0, 1, 2... with no gap, so a slot is also the rotary position.
    What lies beyond a row's length is stale and must be masked by the reader.
    """

    def __init__(self, layers: int, rows: int, kv_heads: int, slots: int, head_dim: int,
                 dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"):
        shape = (layers, rows, kv_heads, slots, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.all_rows = torch.arange(rows, device=device)

    def fill(self, layer: int, rows: Tensor, k: Tensor, v: Tensor) -> None:
        """Write `k`, `v` (B, K, T, C) into the first T slots of `rows` (B,) int64."""
        T = k.shape[2]
        self.keys[layer, :, :, :T].index_copy_(0, rows, k.to(self.keys.dtype))
        self.values[layer, :, :, :T].index_copy_(0, rows, v.to(self.values.dtype))

    def append(self, layer: int, slots: Tensor, k: Tensor, v: Tensor,
               length: int) -> tuple[Tensor, Tensor]:
        """Write one token a row, `k`, `v` (B, K, 1, C), at `slots` (B,); return the first `length`.

        Returns views (B, K, length, C).
        """
        self.keys[layer][self.all_rows, :, slots] = k[:, :, 0].to(self.keys.dtype)
        self.values[layer][self.all_rows, :, slots] = v[:, :, 0].to(self.values.dtype)
        return self.keys[layer, :, :, :length], self.values[layer, :, :, :length]

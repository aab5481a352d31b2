"""Sampling noise as a function of what is sampled, not of when or beside what."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def uniforms(keys: Sequence[str], steps: int) -> Tensor:
    """One uniform a token, (N, steps) float64 in [0, 1), for N noise keys.

    Entry (n, t) is a function of (key n, t) alone: a longer row begins with the shorter one, and
    a reply does not depend on the batch, the slot or the restart in which it is sampled.
    """
    stream = b"".join(hashlib.shake_128(key.encode()).digest(8 * steps) for key in keys)
    bits = torch.frombuffer(bytearray(stream), dtype=torch.int64).view(len(keys), steps)
    return ((bits >> 11) & ((1 << 53) - 1)).double() * 2.0**-53

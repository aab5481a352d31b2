"""Drawing a token: temperature, top-k and nucleus, then the inverse distribution function."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens. A temperature of 0 takes the likeliest token."""

    max_new: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new < 1:
            raise ValueError(f"max_new: {self.max_new}, must be at least 1")
        if self.temperature < 0:
            raise ValueError(f"temperature: {self.temperature}, must not be negative")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k: {self.top_k}, must be at least 1")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p}, must be in (0, 1]")


def sample_token(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """One token a row from `logits` (B, V) by the inverse distribution function at `uniform` (B,).

    Returns tokens (B,) int64 and their log-probs (B,) float32.
    """
    logits = logits.float()
    rows = torch.arange(len(logits), device=logits.device)
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return token, logits.log_softmax(-1)[rows, token]
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    probabilities = filtered(logits, sampling).softmax(-1)
    # First the block of words in which the noise falls, then the word: one pass over all words.
    V = logits.shape[-1]
    width = max(divisor for divisor in range(1, math.isqrt(V) + 1) if V % divisor == 0)
    blocks = probabilities.unflatten(-1, (-1, width))
    until = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    aim = below(uniform[:, None] * until[:, -1:], until[:, -1:])
    block = torch.searchsorted(until, aim, right=True)[:, 0]
    within = blocks[rows, block].double().cumsum(-1)
    before = F.pad(until, (1, 0))[rows, block, None]
    place = torch.searchsorted(within, below(aim - before, within[:, -1:]), right=True)[:, 0]
    token = block * width + place
    return token, probabilities[rows, token].log()


def below(x: Tensor, bound: Tensor) -> Tensor:
    """`x`, or where rounding took it there, the greatest number under `bound`.

    So that a search never passes the last token with mass.
    """
    return torch.minimum(x, torch.nextafter(bound, torch.zeros_like(bound)))


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """`logits` (B, V) with all but the top-k and the nucleus (Holtzman et al. 2020) at -inf."""
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass_before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = torch.zeros_like(logits, dtype=torch.bool)
        drop.scatter_(-1, order, mass_before >= sampling.top_p)
        logits = logits.masked_fill(drop, -torch.inf)
    return logits

"""Sequences of unequal length to batches with little padding."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

Member = TypeVar("Member")

# Tokens read at a time where nothing is learnt: few stay in a CPU's cache, many keep a GPU busy.
READ_TOKENS = {"cpu": 2048, "cuda": 4096}


def pad_right(rows: Sequence[Sequence[int]], width: int | None = None, fill: int = 0,
              device: torch.device | str = "cpu") -> Tensor:
    """`rows` as one (B, T) int64 tensor, `fill` after each row's end; T = `width` or longest."""
    T = max(len(row) for row in rows) if width is None else width
    return torch.tensor([[*row, *[fill] * (T - len(row))] for row in rows], device=device)


def cut(x: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """As `torch.split`, but a single part is `x` itself, whose gradient need not be copied."""
    return x.split(sizes) if len(sizes) > 1 else [x]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """As `torch.cat`, but a single part is not copied."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def in_parts(members: Sequence[Member], parts: int) -> list[list[Member]]:
    """`members` in at most `parts` parts whose sizes differ by one at most, none of them empty."""
    size = len(members)
    return [list(members[size * n // parts: size * (n + 1) // parts])
            for n in range(parts) if size * n // parts < size * (n + 1) // parts]


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of all sequences in batches of about equal length, the shortest first.

    A batch holds at most `batch_tokens` tokens, padding counted (a longer sequence stands alone).
    """
    batches: list[list[int]] = []
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if not batches or lengths[n] * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(n)
    return batches


def random_steps(lengths: Sequence[int], step_tokens: int,
                 generator: torch.Generator) -> list[list[int]]:
    """Indices of all sequences once, in random order, in steps of about `step_tokens` tokens.

    A training step is to see every kind of text; `alike` then groups it, so little is padded.
    """
    steps: list[list[int]] = []
    total = step_tokens
    for n in torch.randperm(len(lengths), generator=generator).tolist():
        if total >= step_tokens:
            steps.append([])
            total = 0
        steps[-1].append(n)
        total += lengths[n]
    return steps


def alike(lengths: Sequence[int], spread: float = 0.8) -> list[list[int]]:
    """Indices of all sequences in groups whose shortest has at least `spread` of the longest."""
    groups: list[list[int]] = []
    for n in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if not groups or lengths[n] < spread * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(n)
    return groups

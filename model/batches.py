"""Sequences of unequal length to batches with little padding."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_right(rows: Sequence[Sequence[int]], width: int | None = None, fill: int = 0,
              device: torch.device | str = "cpu") -> Tensor:
    """`rows` as one (B, T) int64 tensor, `fill` after each row's end; T = `width` or longest."""
    T = max(len(row) for row in rows) if width is None else width
    return torch.tensor([[*row, *[fill] * (T - len(row))] for row in rows], device=device)


def batches_by_length(lengths: Sequence[int], batch_tokens: int,
                      generator: torch.Generator | None = None) -> list[list[int]]:
    """Indices of all sequences in batches of about equal length.

    A batch holds at most `batch_tokens` tokens, padding counted (a longer sequence stands alone).
    With a `generator`, sequences of one length are shuffled among themselves, and so are the
    batches: every epoch differs and yet pads little.
    """
    order = torch.arange(len(lengths))
    if generator is not None:
        order = torch.randperm(len(lengths), generator=generator)
    order = sorted(order.tolist(), key=lambda n: lengths[n])
    batches: list[list[int]] = []
    for n in order:
        if not batches or lengths[n] * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(n)
    if generator is not None:
        batches = [batches[n] for n in torch.randperm(len(batches), generator=generator)]
    return batches


def steps_of(lengths: Sequence[int], step_tokens: int, parts: int,
             generator: torch.Generator) -> list[list[list[int]]]:
    """Indices of all sequences as steps of about `step_tokens` tokens, each in `parts` batches.

    A step draws its sequences at random, so that every step sees every kind of text; its batches
    group them by length, so that little is padded. The gradients of its batches are to be added.
    """
    steps, members, total = [], [], 0
    for n in torch.randperm(len(lengths), generator=generator).tolist():
        members.append(n)
        total += lengths[n]
        if total >= step_tokens:
            steps.append(_parts(members, lengths, total / parts))
            members, total = [], 0
    return steps + ([_parts(members, lengths, total / parts)] if members else [])


def _parts(members: list[int], lengths: Sequence[int], part_tokens: float) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    held = 0
    for n in sorted(members, key=lambda n: lengths[n]):
        if held >= part_tokens:
            batches.append([])
            held = 0
        batches[-1].append(n)
        held += lengths[n]
    return batches

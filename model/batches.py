"""Sequences of unequal length to batches with little padding."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_right(rows: Sequence[Sequence[int]], width: int | None = None, fill: int = 0,
              device: torch.device | str = "cpu") -> Tensor:
    """`rows` as one (B, T) int64 tensor, `fill` after each row's end; T = `width` or longest."""
    T = max(len(row) for row in rows) if width is None else width
    return torch.tensor([[*row, *[fill] * (T - len(row))] for row in rows], device=device)


def next_tokens(rows: Sequence[Sequence[int]], given: Sequence[int], width: int | None = None,
                device: torch.device | str = "cpu") -> Tensor:
    """The token that follows each one of `rows`, (B, T) int64, -1 where there is none to learn.

    Of each row the first `given` tokens are not learnt. T = `width`, or that of the longest row
    without its last token, which nothing follows.
    """
    return pad_right([[*[-1] * max(0, count - 1), *row[max(1, count):]]
                      for row, count in zip(rows, given, strict=True)], width, -1, device)


def learning(rows: Sequence[Sequence[int]], given: Sequence[int],
             device: torch.device | str = "cpu") -> tuple[list[Tensor], Tensor, Tensor]:
    """What a step learns of `rows`, of each all but its first `given` tokens.

    Returns (groups, targets, states): groups of like length as `forward_groups` takes them, the N
    tokens that are learnt, (N,) int64, and the positions among all groups' that they follow (N,).
    """
    groups = alike([len(row) for row in rows])
    tokens = [pad_right([rows[n][:-1] for n in group], device=device) for group in groups]
    after = torch.cat([next_tokens([rows[n] for n in group], [given[n] for n in group],
                                   device=device).flatten() for group in groups])
    states = (after >= 0).nonzero()[:, 0]
    return tokens, after[states], states


def in_parts(members: Sequence[int], parts: int) -> list[list[int]]:
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

"""Sequences that begin alike, packed so that what they share is read once.

A row of a packed batch holds what the sequences of one family begin with, then the rest of each:
its branches. A token sees the shared part and its own branch, at the positions that it has in its
sequence, so hidden states are those of each sequence alone.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.batches import alike, pad_right

WORTH = 32  # tokens that all sequences must share before these are read apart
TILE = 16  # tokens that an attention kernel takes at a time; what is left over costs as much

Sequences = Sequence[list[int]] | Mapping[int, list[int]]  # or some of them, by index


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all of `sequences` begin with alike."""
    first, last = min(sequences), max(sequences)
    pairs = enumerate(zip(first, last, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))


def shared_by_all(sequences: Sequence[Sequence[int]], limit: int) -> int:
    """The length, at most `limit`, of a prefix worth reading once for all; 0 where none is."""
    length = min(common_prefix(sequences), limit) if len(sequences) > 1 else 0
    return length - length % TILE if length >= WORTH else 0


def families(sequences: Sequence[list[int]]) -> list[list[int]]:
    """Indices of all sequences, those together that begin alike so far that packing them pays.

    A sequence joins a family where that spares a quarter of its tokens, and the row stays within
    twice its longest sequence: a row's attention grows with the square of its length.
    """
    found: list[list[int]] = []
    spared = total = longest = 0
    for n in sorted(range(len(sequences)), key=sequences.__getitem__):
        length, joined = len(sequences[n]), 0
        if found:
            joined = len(found[-1]) * common_prefix((sequences[found[-1][0]], sequences[n]))
        if (4 * (joined - spared) >= length
                and total + length - joined <= 2 * max(longest, length)):
            found[-1].append(n)
            spared, total, longest = joined, total + length, max(longest, length)
        else:
            found.append([n])
            spared, total, longest = 0, length, length
    return found


@dataclass(frozen=True)
class Packed:
    """The sequences of B families in B rows of T tokens, family by family."""

    tokens: Tensor
    """(B, T) int64, padded right."""
    positions: Tensor
    """(B, T) int64, or (1, T) where each row is one sequence: the place in the sequence."""
    branch: Tensor | None
    """(B, T) int64: 0 for what a row shares, n for the rest of its n-th sequence, -1 for padding;
    None where each row is one sequence."""
    row: Tensor
    """(N,) int64: the row of each sequence."""
    columns: list[list[int]]
    """For each sequence the column of each of its tokens."""

    def at(self, places: Sequence[range]) -> tuple[Tensor, Tensor]:
        """Columns (B, M) int64 of the `places` of each sequence, row by row, and which count."""
        wanted: list[list[int]] = [[] for _ in range(len(self.tokens))]
        for row, columns, chosen in zip(self.row.tolist(), self.columns, places, strict=True):
            wanted[row] += columns[chosen.start: chosen.stop]
        counts = torch.tensor([len(each) for each in wanted], device=self.row.device)
        at = pad_right(wanted, device=self.row.device)
        return at, torch.arange(at.shape[1], device=at.device) < counts[:, None]


def row_length(sequences: Sequences, family: Sequence[int]) -> int:
    """Tokens of the row that holds `family`."""
    shared = common_prefix([sequences[n] for n in family])
    return sum(len(sequences[n]) for n in family) - (len(family) - 1) * shared


def pack(sequences: Sequences, groups: Sequence[Sequence[int]],
         device: torch.device | str = "cpu") -> Packed:
    """`groups` of indices of `sequences` as one batch, a row a group."""
    tokens, positions, branches, columns = [], [], [], []
    for group in groups:
        members = [sequences[n] for n in group]
        shared = common_prefix(members)
        row, place, branch = members[0][:shared], list(range(shared)), [0] * shared
        for number, member in enumerate(members, 1):
            columns.append([*range(shared), *range(len(row), len(row) + len(member) - shared)])
            row, place = row + member[shared:], place + list(range(shared, len(member)))
            branch += [number] * (len(member) - shared)
        tokens.append(row)
        positions.append(place)
        branches.append(branch)
    row = torch.tensor(list(itertools.chain.from_iterable(
        [number] * len(group) for number, group in enumerate(groups))), device=device)
    longest = max(map(len, tokens))
    width = longest + (-longest % TILE if TILE * (-longest % TILE) <= longest else 0)
    batch = pad_right(tokens, width, device=device)
    if len(columns) == len(groups):
        return Packed(batch, torch.arange(width, device=device)[None], None, row, columns)
    return Packed(batch, pad_right(positions, width, device=device),
                  pad_right(branches, width, -1, device), row, columns)


def pack_alike(sequences: Sequences, together: Sequence[Sequence[int]],
               device: torch.device | str = "cpu") -> tuple[list[Packed], dict[int, list[int]]]:
    """Families `together` in groups of like length, as `forward_groups` takes them, and for each
    sequence of these the position of each of its tokens among all groups'.
    """
    groups = [[together[n] for n in group]
              for group in alike([row_length(sequences, family) for family in together])]
    packed = [pack(sequences, group, device) for group in groups]
    places, passed = {}, 0
    for group, batch in zip(groups, packed, strict=True):
        B, T = batch.tokens.shape
        columns = iter(batch.columns)
        for row, family in enumerate(group):
            for n in family:
                places[n] = [passed + row * T + column for column in next(columns)]
        passed += B * T
    return packed, places


class Learning(NamedTuple):
    """What a training step learns: N tokens, drawn from M states."""

    groups: list[Packed]
    """What is read, as `forward_groups` takes it."""
    at: Tensor
    """(M,) int64: the positions whose states are wanted, none twice."""
    drawn_from: Tensor
    """(N,) int64: which of these states each token is drawn from."""
    targets: Tensor
    """(N,) int64: the tokens."""


def learning(rows: Sequence[list[int]], given: Sequence[int], together: Sequence[Sequence[int]],
             device: torch.device | str = "cpu") -> Learning:
    """What is learnt of the rows of families `together`: of each all but its first `given` tokens.
    """
    members = [n for family in together for n in family]
    groups, places = pack_alike({n: rows[n][:-1] for n in members}, together, device)
    # Where nothing is given the first token is not learnt either: it is drawn from no state.
    known = {n: max(1, given[n]) for n in members}
    states = torch.tensor([place for n in members for place in places[n][known[n] - 1:]],
                          device=device)
    targets = torch.tensor([token for n in members for token in rows[n][known[n]:]], device=device)
    at, drawn_from = states.unique(return_inverse=True)
    return Learning(groups, at, drawn_from, targets)

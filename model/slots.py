"""The rows of decoding: which sequence each holds, where it stands, and which go first."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from model.batches import in_parts
from model.cache import KVCache
from model.sampling import Sampling, sample_token
from model.transformer import Transformer


class Slots:
    """The state of decoding: which record each row holds and where it stands.

    The first rows are decoded, as many as a step is told; others hold what was read ahead. `held`
    is what the host knows of `record`: None where a row is free.
    """

    def __init__(self, model: Transformer, rows: int, capacity: int, records: int, max_new: int,
                 after: KVCache | None):
        config, weight = model.config, model.lm_head.weight
        # One slot more than is ever looked at: a compiler takes equal sizes for one.
        self.cache = KVCache(config.layers, rows, config.kv_heads, capacity + 1, config.head_dim,
                             weight.dtype, weight.device, after)
        self.capacity = capacity
        device = weight.device
        # Row `records` of the outputs takes what idle slots write, column `max_new` what is drawn
        # between a row's last token and the next look of the host.
        self.tokens = torch.zeros(records + 1, max_new + 1, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(records + 1, max_new + 1, device=device)
        self.record = torch.full((rows,), records, device=device)
        self.held: list[int | None] = [None] * rows
        self.token = torch.zeros(rows, dtype=torch.int64, device=device)
        self.slot = torch.zeros(rows, dtype=torch.int64, device=device)
        self.step = torch.zeros(rows, dtype=torch.int64, device=device)

    def place(self, rows: Tensor, records: Sequence[int], lengths: Tensor) -> None:
        """Let `rows` hold `records`, their prompts of `lengths` tokens read, no token drawn yet."""
        for row, record in zip(rows.tolist(), records, strict=True):
            self.held[row] = record
        self.record[rows] = torch.tensor(records, device=rows.device)
        self.slot[rows] = lengths - 1
        self.step[rows] = -1

    def release(self, row: int) -> None:
        """Let `row` be free: what is drawn there from now on is of no record."""
        self.held[row] = None
        self.record[row] = len(self.tokens) - 1

    def draw(self, rows: Tensor | slice, logits: Tensor, uniforms: Tensor,
             sampling: Sampling) -> None:
        """Draw the next token of `rows` from `logits` (len(rows), V) and keep it.

        `uniforms` (records + 1, max_new + 1) float64 are the noise of each of `tokens`.
        """
        # Bounds are read off tensors: any other number is handed to a compiled step at each call.
        last, end = self.tokens.shape[1] - 1, self.cache.keys[0].shape[2] - 2
        step = (self.step[rows] + 1).clamp_max(last)
        record = self.record[rows]
        token, logprob = sample_token(logits, uniforms[record, step], sampling)
        self.tokens[record, step] = token
        self.logprobs[record, step] = logprob
        self.token[rows], self.step[rows] = token, step
        self.slot[rows] = (self.slot[rows] + 1).clamp_max(end)

    def drawn(self, begun: Sequence[int], count: int) -> list[list[int]]:
        """Of each of the first rows `count` tokens of its record, from its token `begun` on."""
        device = self.token.device
        columns = torch.tensor(begun, device=device)[:, None] + torch.arange(count, device=device)
        records = self.record[: len(begun), None]
        return self.tokens[records, columns.clamp_max(self.tokens.shape[1] - 1)].tolist()

    def move(self, moves: Sequence[tuple[int, int]], length: int) -> None:
        """Of each (to, from), let the one row hold what the other held, at most `length` slots."""
        if not moves:
            return
        for here, there in moves:
            self.held[here], self.held[there] = self.held[there], None
        to, source = torch.tensor(moves, device=self.slot.device).unbind(1)
        self.cache.move(to, source, length)
        for held in (self.token, self.slot, self.step):
            held[to] = held[source]
        records = self.record[source]
        self.record[source] = len(self.tokens) - 1
        self.record[to] = records

    def settle(self, lengths: Sequence[int], sizes: Sequence[int]) -> None:
        """Let the longest rows stand first, so that later parts have the free ones.

        `lengths`: tokens that each row holds; `sizes`: rows of each part that is decoded.
        """
        moves, decoded = longest_first(lengths, sizes), sum(sizes)
        # Apart, for what was read ahead is short.
        for moved in ([move for move in moves if move[1] < decoded],
                      [move for move in moves if move[1] >= decoded]):
            self.move(moved, max((lengths[source] for _, source in moved), default=0))


def sizes(rows: int, parts: int) -> list[int]:
    """How many of `rows` each part has; a single part where they are few."""
    return [len(part) for part in in_parts(range(rows), parts if rows >= 2 * parts else 1)]


def longest_first(lengths: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Moves (to, from) after which no free row, whose length is 0, stands in an earlier part than a
    row that is held; the longest go first. `sizes`: rows of each part.
    """
    left, moves = list(lengths), []
    for size, end in zip(sizes, itertools.accumulate(sizes), strict=True):
        for row in range(end - size, end):
            longest = max(range(end, len(left)), key=left.__getitem__, default=row)
            if left[row] == 0 < left[longest]:
                moves.append((row, longest))
                left[row], left[longest] = left[longest], 0
    return moves

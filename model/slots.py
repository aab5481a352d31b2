"""The rows of decoding: which sequence each holds, where it stands, and which are decoded next."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.cache import KVCache
from model.sampling import Sampling, sample_token
from model.transformer import Transformer

MOVE = 16  # Once one row in so many is free, others take their places.


class Slots:
    """The state of decoding: which record each row holds and where it stands.

    A step decodes the rows of `turn`, as many as it is told, or the first ones; others hold what
    was read ahead. `held` is what the host knows of `record`: rows that are free are not in it, the
    others in the order in which they were placed or moved.
    """

    def __init__(self, model: Transformer, rows: int, capacity: int, records: int, max_new: int,
                 after: KVCache | None):
        config, weight = model.config, model.lm_head.weight
        # One slot more than is ever looked at: a compiler takes equal sizes for one.
        self.cache = KVCache(config.layers, rows, config.kv_heads, capacity + 1, config.head_dim,
                             weight.dtype, weight.device, after)
        self.rows, self.capacity = rows, capacity
        device = weight.device
        # Row `records` of the outputs takes what idle slots write, column `max_new` what is drawn
        # between a row's last token and the next look of the host.
        self.tokens = torch.zeros(records + 1, max_new + 1, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(records + 1, max_new + 1, device=device)
        self.record = torch.full((rows,), records, device=device)
        self.held: dict[int, int] = {}
        self.token = torch.zeros(rows, dtype=torch.int64, device=device)
        self.slot = torch.zeros(rows, dtype=torch.int64, device=device)
        self.step = torch.zeros(rows, dtype=torch.int64, device=device)
        self.turn = torch.arange(rows, device=device)
        self.decoded: list[int] = []  # rows that are held, since the last `line_up`

    def place(self, rows: Tensor, records: Sequence[int], lengths: Tensor) -> None:
        """Let `rows` hold `records`, their prompts of `lengths` tokens read, no token drawn yet."""
        for row, record in zip(rows.tolist(), records, strict=True):
            self.held[row] = record
        self.record[rows] = torch.tensor(records, device=rows.device)
        self.slot[rows] = lengths - 1
        self.step[rows] = -1

    def release(self, row: int) -> None:
        """Let `row` be free: what is drawn there from now on is of no record."""
        del self.held[row]
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
        """Of each row that is decoded `count` tokens of its record, from its token `begun` on."""
        device = self.token.device
        columns = torch.tensor(begun, device=device)[:, None] + torch.arange(count, device=device)
        records = self.record[torch.tensor(self.decoded, device=device)][:, None]
        return self.tokens[records, columns.clamp_max(self.tokens.shape[1] - 1)].tolist()

    def free(self) -> list[int]:
        """Rows that hold nothing."""
        return [row for row in range(self.rows) if row not in self.held]

    def line_up(self, rows: int, lengths: Mapping[int, int],
                parts: int) -> list[tuple[int, int]]:
        """Choose which are `decoded` next, at most `rows`; returned in parts of (rows, longest).

        `lengths`: tokens of each row that is held. In several parts those that were placed first
        are decoded, wherever they stand, the longest in the first part. In one, or where they are
        few, the first `rows` are, to which others move as far as they are free.
        """
        if parts > 1 and min(rows, len(self.held)) >= 4 * parts:
            self.decoded = sorted(list(self.held)[:rows], key=lengths.__getitem__, reverse=True)
            self.turn[: len(self.decoded)] = torch.tensor(self.decoded, device=self.turn.device)
            return cut_by_length([lengths[row] for row in self.decoded], parts)
        free = [row for row in range(rows) if row not in self.held]
        moves = list(zip(free, [row for row in self.held if row >= rows], strict=False))
        if MOVE * len(free) < rows:
            moves = []
        coming = [lengths[row] for _, row in moves]
        longest = max([*coming, *(lengths[row] for row in self.held if row < rows)])
        self.move(moves, max(coming, default=0))
        self.decoded = [row for row in range(rows) if row in self.held]
        return [(rows, longest)]

    def move(self, moves: Sequence[tuple[int, int]], length: int) -> None:
        """Of each (to, from), let the one row hold what the other held, at most `length` slots."""
        if not moves:
            return
        for here, there in moves:
            self.held[here] = self.held.pop(there)
        to, source = torch.tensor(moves, device=self.slot.device).unbind(1)
        self.cache.move(to, source, length)
        for held in (self.token, self.slot, self.step):
            held[to] = held[source]
        records = self.record[source]
        self.record[source] = len(self.tokens) - 1
        self.record[to] = records


def cut_by_length(lengths: Sequence[int], parts: int) -> list[tuple[int, int]]:
    """The members of each part of `lengths`, which fall, and the longest of them.

    One cut after another, where it spares most, or in the middle where none does. Of four times as
    many members as parts no part has a single one, for which a compiler makes a program of its own.
    """
    pieces = [lengths]
    for _ in range(parts - 1):
        _, _, n, at = max(((piece[0] - piece[at]) * (len(piece) - at), min(at, len(piece) - at),
                           n, at) for n, piece in enumerate(pieces)
                          for at in range(2, len(piece) - 1))
        pieces[n: n + 1] = pieces[n][:at], pieces[n][at:]
    return [(len(piece), piece[0]) for piece in pieces]

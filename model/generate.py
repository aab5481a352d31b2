"""Sampling continuations: prefill by length, then one token a step for a full batch of slots.

A finished sequence's slot takes the next prompt, in groups; every shape is static, positions and
noise are tensors, and the host looks at what was sampled only every few steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.batches import pad_right
from model.cache import KVCache
from model.errors import PromptError
from model.transformer import Transformer

Cut = Callable[[list[int]], int | None]  # tokens so far -> how many to keep, once they must stop


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


@dataclass(frozen=True)
class Completion:
    """One sampled continuation. `tokens` includes the end token where the sequence `ended`.

    `logprobs` are those of the distribution that was sampled: after temperature and filters.
    """

    tokens: list[int]
    logprobs: list[float]
    ended: bool


def sample_token(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """One token a row from `logits` (B, V) by the inverse distribution function at `uniform` (B,).

    Returns tokens (B,) int64 and their log-probs (B,) float32.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        logprobs = logits.log_softmax(-1)
        token = logits.argmax(-1)
    else:
        logprobs = filtered(logits / sampling.temperature, sampling).log_softmax(-1)
        cumulative = logprobs.double().exp().cumsum(-1)
        # One step towards zero, so that rounding up never reaches past the last token with mass.
        threshold = uniform[:, None] * cumulative[:, -1:]
        threshold = torch.nextafter(threshold, torch.zeros_like(threshold))
        token = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
        token = token.clamp_max(logits.shape[-1] - 1)
    return token, logprobs.gather(-1, token[:, None])[:, 0]


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


class Slots:
    """The state of one decoding batch: which record each row holds and where it stands."""

    def __init__(self, model: Transformer, rows: int, capacity: int, records: int, max_new: int):
        config, weight = model.config, model.lm_head.weight
        self.cache = KVCache(config.layers, rows, config.kv_heads, capacity, config.head_dim,
                             weight.dtype, weight.device)
        self.capacity = capacity
        device = weight.device
        # Row `records` of the outputs takes what idle slots write, column `max_new` what is drawn
        # between a row's last token and the next look of the host.
        self.tokens = torch.zeros(records + 1, max_new + 1, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(records + 1, max_new + 1, device=device)
        self.record = torch.full((rows,), records, device=device)
        self.token = torch.zeros(rows, dtype=torch.int64, device=device)
        self.slot = torch.zeros(rows, dtype=torch.int64, device=device)
        self.step = torch.zeros(rows, dtype=torch.int64, device=device)

    def place(self, rows: Tensor, records: Tensor, lengths: Tensor) -> None:
        """Let `rows` hold `records`, their prompts of `lengths` tokens read, no token drawn yet."""
        self.record[rows] = records
        self.slot[rows] = lengths - 1
        self.step[rows] = -1

    def draw(self, rows: Tensor, logits: Tensor, uniforms: Tensor, sampling: Sampling) -> None:
        """Draw the next token of `rows` from `logits` (len(rows), V) and keep it."""
        step = (self.step[rows] + 1).clamp_max(sampling.max_new)
        record = self.record[rows]
        noise = uniforms[record, step.clamp_max(sampling.max_new - 1)]
        token, logprob = sample_token(logits, noise, sampling)
        self.tokens[record, step] = token
        self.logprobs[record, step] = logprob
        self.token[rows], self.step[rows] = token, step
        self.slot[rows] = (self.slot[rows] + 1).clamp_max(self.capacity - 1)


@torch.inference_mode()
def generate(model: Transformer, prompts: Sequence[Sequence[int]], sampling: Sampling,
             uniforms: Tensor, end_tokens: Sequence[int], cut: Cut | None = None,
             rows: int = 128, stride: int = 4,
             advanced: Callable[[int], None] = lambda finished: None) -> list[Completion]:
    """Continue every prompt, in the order given.

    `uniforms` (N, >= max_new) float64 is the noise of each. A sequence ends with the first of
    `end_tokens`, or where `cut` (looked at every `stride` steps) says that a stop string came.
    `rows` sequences are decoded at a time; `advanced` hears how many more have finished.
    Raises PromptError where a prompt is empty or leaves no room for `max_new` tokens.
    """
    for n, prompt in enumerate(prompts):
        if not prompt or len(prompt) + sampling.max_new > model.config.context:
            raise PromptError(f"prompt {n}: {len(prompt)} tokens, but a prompt needs 1 to "
                              f"{model.config.context - sampling.max_new} here (context "
                              f"{model.config.context} less {sampling.max_new} new tokens)")
    N, rows = len(prompts), min(rows, len(prompts))
    if not N:
        return []
    device = model.table.device
    longest = max(map(len, prompts)) + sampling.max_new
    capacity = min(-(-longest // 32) * 32, model.config.context)
    state = Slots(model, rows, capacity, N, sampling.max_new)
    uniforms = torch.cat((uniforms, uniforms[:1])).to(device)
    waiting = sorted(range(N), key=lambda n: -len(prompts[n]))
    held: list[int | None] = [None] * rows
    drawn = [0] * rows
    done: list[Completion | None] = [None] * N
    everywhere = torch.arange(rows, device=device)
    while waiting or any(n is not None for n in held):
        free = [row for row in range(rows) if held[row] is None]
        if waiting and (len(free) >= max(1, rows // 8) or len(free) == rows):
            fresh = [waiting.pop() for _ in free[: len(waiting)]]
            taken = free[: len(fresh)]
            for row, n in zip(taken, fresh, strict=True):
                held[row], drawn[row] = n, 1
            start(model, state, prompts, fresh, taken, uniforms, sampling)
        span = max(len(prompts[n]) + drawn[row] for row, n in enumerate(held) if n is not None)
        for _ in range(min(stride, sampling.max_new - 1)):
            length = min(-(-(span + 1) // 32) * 32, state.capacity)
            hidden = model.decode_one(state.token, state.slot, state.cache, length)
            state.draw(everywhere, model.logits(hidden), uniforms, sampling)
            span += 1
        finished = 0
        sampled = state.tokens[state.record].tolist()
        logprobs = state.logprobs[state.record].tolist()
        for row, n in enumerate(held):
            if n is None:
                continue
            drawn[row] = min(drawn[row] + stride, sampling.max_new)
            kept, ended = finish(sampled[row][: drawn[row]], end_tokens, cut)
            if ended or drawn[row] == sampling.max_new:
                done[n] = Completion(kept, logprobs[row][: len(kept)], ended)
                held[row], finished = None, finished + 1
                state.record[row] = N
        advanced(finished)
    return done


def start(model: Transformer, state: Slots, prompts: Sequence[Sequence[int]],
          records: list[int], rows: list[int], uniforms: Tensor, sampling: Sampling) -> None:
    """Read the prompts of `records` into `rows` and draw each one's first token."""
    device = state.token.device
    at, lengths = torch.tensor(rows, device=device), [len(prompts[n]) for n in records]
    ends = torch.tensor(lengths, device=device)
    hidden = model.prefill(pad_right([prompts[n] for n in records], device=device),
                           state.cache, at)
    state.place(at, torch.tensor(records, device=device), ends)
    last = hidden[torch.arange(len(records), device=device), ends - 1]
    state.draw(at, model.logits(last), uniforms, sampling)


def finish(tokens: list[int], end_tokens: Sequence[int], cut: Cut | None) -> tuple[list[int], bool]:
    """The tokens to keep of what was drawn so far, and whether they have ended."""
    ends = [i for i, token in enumerate(tokens) if token in end_tokens]
    kept = tokens[: ends[0] + 1] if ends else tokens
    if cut is not None and (length := cut(kept)) is not None:
        return kept[:length], True
    return kept, bool(ends)

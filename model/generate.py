"""Sampling continuations: prefill by length, then one token a step for a full batch of slots.

A finished sequence's place takes the next prompt, of which many are read at a time, ahead of
need; and then the longest rows go first, so that the others need not look as far. Positions and
noise are tensors, and the host looks at what was sampled only every few steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.batches import READ_TOKENS, batches_by_length
from model.errors import PromptError
from model.sampling import Sampling
from model.sharing import families, pack, row_length, shared_by_all
from model.slots import Slots
from model.transformer import Transformer

Cut = Callable[[list[int]], int | None]  # tokens so far -> how many to keep, once they must stop

# Parts of a refilled batch, the longest rows first, of which each looks only as far as its longest
# needs. On CUDA a graph stands for one length; and where nothing is fused, rows that stand apart
# would be copied.
PARTS = {"cpu": 3, "cuda": 1}
# Rows that hold what was read ahead: one to so many that are decoded. Few short prompts do not keep
# a CPU's cores busy; on a GPU their memory is dearer.
AHEAD = {"cpu": 2, "cuda": 8}


@dataclass(frozen=True)
class Completion:
    """One sampled continuation. `tokens` includes the end token where the sequence `ended`.

    `logprobs` are those of the distribution that was sampled: after temperature and filters.
    """

    tokens: list[int]
    logprobs: list[float]
    ended: bool


def step(model: Transformer, state: Slots, uniforms: Tensor, sampling: Sampling,
         parts: Sequence[tuple[int, int]]) -> None:
    """Draw the next token of the first rows, or, in several `parts`, of those whose turn it is.

    `parts`: (rows, slots of the cache that these look at) each.
    """
    B = sum(size for size, _ in parts)
    rows = slice(B) if len(parts) == 1 else state.turn[:B]
    hidden = model.decode_one(state.token[rows], state.slot[rows], state.cache, rows, parts)
    state.draw(rows, model.logits(hidden), uniforms, sampling)


# On a CPU pieces of more than nine operations are kept: else each is computed anew for every cached
# token that meets it. Of fewer, a query's products with its keys would be kept before their sum.
# A small model's step is many short calls, which C++ makes faster than Python.
ON_CPU = {"realize_opcount_threshold": 9, "cpp_wrapper": True,
          "cpp.enable_floating_point_contract_flag": "fast"}
fused_step = {"cpu": torch.compile(step, fullgraph=True, dynamic=True, options=ON_CPU),
              "cuda": torch.compile(step, fullgraph=True, dynamic=True)}


class Steps:
    """The steps of one decoding batch: fused where the model is, and then on CUDA a graph a length.

    A graph replays on the state's own tensors, so these are written in place, never replaced.
    """

    def __init__(self, model: Transformer, state: Slots, uniforms: Tensor, sampling: Sampling):
        self.arguments, self.capacity = (model, state, uniforms, sampling), state.capacity
        device = model.table.device.type
        self.step = fused_step[device] if model.fused else step
        self.graphs: dict[tuple, torch.cuda.CUDAGraph] | None = (
            {} if model.fused and device == "cuda" else None)

    def __call__(self, parts: Sequence[tuple[int, int]]) -> None:
        """Draw a token for every row of `parts`; none stands beyond the length of its part."""
        if self.graphs is None:
            self.step(*self.arguments, tuple(parts))
            return
        parts = tuple((rows, min(bucket(length), self.capacity)) for rows, length in parts)
        if parts in self.graphs:
            self.graphs[parts].replay()
        else:
            self.step(*self.arguments, parts)
            # Capturing runs nothing: the step itself was the call before.
            self.graphs[parts] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graphs[parts]):
                self.step(*self.arguments, parts)


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
    check_room(prompts, sampling.max_new, model.config.context)
    N, rows, max_new = len(prompts), min(rows, len(prompts)), sampling.max_new
    if not N:
        return []
    P = shared_by_all(prompts, min(map(len, prompts)) - 1)
    own = [list(prompt[P:]) for prompt in prompts]
    capacity = min(bucket(max(map(len, own)) + max_new), model.config.context - P)
    device = model.table.device
    # Never none: a compiler takes equal sizes, here of all rows and of those decoded, for one.
    ahead = max(1, min(N - rows, rows // AHEAD[device.type],
                       READ_TOKENS[device.type] // max(map(len, own))))
    state = Slots(model, rows + ahead, capacity, N, max_new,
                  model.read_once(prompts[0][:P]) if P else None)
    # As large as the tokens: what nobody keeps is drawn too.
    uniforms = F.pad(uniforms[:, :max_new], (0, 1, 0, 1)).to(device)
    steps = Steps(model, state, uniforms, sampling)
    waiting = in_turn(own)
    parts = PARTS[device.type] if model.fused and N > rows else 1
    tokens: list[list[int]] = [[] for _ in range(N)]
    ended = [False] * N
    while True:
        if waiting and len(state.held) < rows:
            read_ahead(model, state, own, waiting, uniforms, sampling)
        if not state.held:
            break
        if 4 * len(state.held) <= 3 * rows:
            rows = len(state.held)  # nothing waits: fewer end what is left
        reach = state.line_up(rows, {row: len(own[n]) + max(len(tokens[n]), 1)
                                     for row, n in state.held.items()}, parts)
        begun = [len(tokens[state.held[row]]) for row in state.decoded]
        for further in range(1, 1 + min(stride, max_new - max(1, min(begun)))):
            steps([(size, min(length + further, capacity)) for size, length in reach])
        finished = 0
        for row, known, drawn in zip(state.decoded, begun, state.drawn(begun, stride + 1),
                                     strict=True):
            n, count = state.held[row], min(max(known, 1) + stride, max_new)
            ended[n] = extend(tokens[n], drawn[: count - known], end_tokens, cut)
            if ended[n] or count == max_new:
                state.release(row)
                finished += 1
        advanced(finished)
    logprobs = state.logprobs.tolist()
    return [Completion(kept, logprobs[n][: len(kept)], ended[n]) for n, kept in enumerate(tokens)]


def check_room(prompts: Sequence[Sequence[int]], max_new: int, context: int) -> None:
    """Raise PromptError where a prompt is empty or leaves no room for `max_new` tokens."""
    for n, prompt in enumerate(prompts):
        if not prompt or len(prompt) + max_new > context:
            raise PromptError(f"prompt {n}: {len(prompt)} tokens, but a prompt needs 1 to "
                              f"{context - max_new} here (context {context} less {max_new} new "
                              "tokens)")


def bucket(length: int) -> int:
    """`length` rounded up, by at most 8 or an eighth, so that there are few graphs."""
    grain = max(8, (1 << length.bit_length()) // 16)
    return -(-length // grain) * grain


def in_turn(prompts: Sequence[list[int]]) -> list[int]:
    """Indices of all prompts, the first to be read last: short before long, families together."""
    groups = families(prompts)
    groups.sort(key=lambda group: -max(len(prompts[n]) for n in group))
    return [n for group in groups for n in group]


def read_ahead(model: Transformer, state: Slots, prompts: Sequence[list[int]],
               waiting: list[int], uniforms: Tensor, sampling: Sampling) -> None:
    """Read so many of the prompts that wait, the last first, as there are free rows."""
    free = state.free()
    fresh = [waiting.pop() for _ in free[: len(waiting)]]
    start(model, state, prompts, fresh, free[: len(fresh)], uniforms, sampling)


def start(model: Transformer, state: Slots, prompts: Sequence[list[int]],
          records: list[int], rows: list[int], uniforms: Tensor, sampling: Sampling) -> None:
    """Read the prompts of `records` into `rows` and draw each one's first token."""
    device = state.token.device
    fresh = [prompts[n] for n in records]
    groups = families(fresh)
    for batch in batches_by_length([row_length(fresh, group) for group in groups],
                                   READ_TOKENS[device.type]):
        together = [groups[g] for g in batch]
        order = [n for group in together for n in group]
        packed = pack(fresh, together, device)
        at, counts = packed.at([range(len(fresh[n]) - 1, len(fresh[n])) for n in order])
        into = torch.tensor([rows[n] for n in order], device=device)
        hidden = model.prefill(packed, state.cache, into, at)[counts]
        state.place(into, [records[n] for n in order],
                    torch.tensor([len(fresh[n]) for n in order], device=device))
        state.draw(into, model.logits(hidden), uniforms, sampling)


def extend(tokens: list[int], drawn: list[int], end_tokens: Sequence[int], cut: Cut | None) -> bool:
    """Add to `tokens`, in place, what was `drawn` since, up to their end; whether that has come."""
    end = next((i + 1 for i, token in enumerate(drawn) if token in end_tokens), None)
    tokens += drawn[:end]
    if cut is not None and (length := cut(tokens)) is not None:
        del tokens[length:]
        return True
    return end is not None

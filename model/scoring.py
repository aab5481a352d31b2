"""Log-probabilities of given tokens: whole continuations, and answers to multiple choice.

R response tokens of row b stand at start[b], start[b] + 1, ... of its T tokens; the state from
which response token r is drawn is the hidden state one position before it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.batches import READ_TOKENS, batches_by_length
from model.errors import PromptError
from model.sharing import families, pack, row_length, shared_by_all
from model.transformer import Transformer
from model.vocabulary import token_logprobs


def at_response(x: Tensor, start: Tensor, R: int) -> Tensor:
    """`x` (B, T, ...) at the states from which R response tokens are drawn: (B, R, ...).

    `start` (B,) int64 is the index of the first response token. Indices beyond T repeat the last
    position: they belong to no response token and must be masked.
    """
    index = (start[:, None] - 1 + torch.arange(R, device=x.device)).clamp(0, x.shape[1] - 1)
    return x[torch.arange(len(x), device=x.device)[:, None], index]


@torch.no_grad()
def score_continuations(model: Transformer, prompts: Sequence[Sequence[int]],
                        continuations: Sequence[Sequence[int]], temperature: float = 1.0,
                        batch_tokens: int | None = None) -> list[Tensor]:
    """Log-probability of every token of each continuation after its prompt.

    Returns one float32 tensor a pair, as long as its continuation. What sequences begin with alike
    is read once; rows are grouped by length and padded right, at most `batch_tokens` tokens with
    padding at a time (READ_TOKENS where none is given).
    Raises ValueError where a prompt or a continuation is empty, or both pass the context.
    """
    for n, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        if not prompt or not continuation:
            raise ValueError(f"pair {n}: a prompt and a continuation need a token each")
        check_context(model, len(prompt) + len(continuation), n)
    # The last token is drawn, never read.
    read = [[*p, *c[:-1]] for p, c in zip(prompts, continuations, strict=True)]
    drawn_from = [range(len(p) - 1, len(row)) for p, row in zip(prompts, read, strict=True)]
    scores: list[Tensor] = [torch.empty(0)] * len(read)
    for batch, hidden in states_at(model, read, drawn_from, batch_tokens):
        targets = torch.tensor([token for n in batch for token in continuations[n]],
                               device=hidden.device)
        logprobs = token_logprobs(model, hidden, targets, temperature).cpu()
        for n, row in zip(batch, logprobs.split([len(continuations[n]) for n in batch]),
                          strict=True):
            scores[n] = row
    return scores


def states_at(model: Transformer, sequences: Sequence[list[int]], places: Sequence[range],
              batch_tokens: int | None) -> Iterator[tuple[list[int], Tensor]]:
    """Hidden states at the `places` of each of `sequences`, batch by batch.

    Yields the indices of a batch's sequences and their states (M, D), one sequence after another.
    """
    device = model.table.device
    P = shared_by_all(sequences, min((place.start for place in places), default=0))
    after = model.read_once(sequences[0][:P]) if P else None
    own = [sequence[P:] for sequence in sequences]
    groups = families(own)
    # Of the prefix a row holds keys and values alone: about a quarter of what a token takes.
    lengths = [row_length(own, group) + P // 4 for group in groups]
    for batch in batches_by_length(lengths, batch_tokens or READ_TOKENS[device.type]):
        together = [groups[g] for g in batch]
        order = [n for group in together for n in group]
        packed = pack(own, together, device)
        at, counts = packed.at([range(places[n].start - P, places[n].stop - P) for n in order])
        hidden = model(packed.tokens, None, packed.positions, packed.branch, at, after)
        yield order, hidden[counts]


@torch.no_grad()
def score_choices(model: Transformer, prompts: Sequence[Sequence[int]],
                  choices: Sequence[Sequence[int]], batch_tokens: int | None = None) -> Tensor:
    """Log-probability (N, choices) float32 of each choice as the continuation of each prompt.

    Choices of one prompt begin alike, so one forward a prompt serves all that differ in their last
    token.
    """
    every = score_continuations(model, [p for p in prompts for _ in choices],
                                [c for _ in prompts for c in choices], batch_tokens=batch_tokens)
    sums = [row.sum() for row in every]
    return (torch.stack(sums) if sums else torch.empty(0)).view(len(prompts), len(choices))


def check_context(model: Transformer, length: int, n: int) -> None:
    """Raise PromptError where sequence `n` of `length` tokens passes the model's context."""
    if length > model.config.context:
        raise PromptError(f"sequence {n}: {length} tokens, but the context holds "
                          f"{model.config.context}")

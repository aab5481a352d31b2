"""Log-probabilities of given tokens: whole continuations, and answers to multiple choice.

R response tokens of row b stand at start[b], start[b] + 1, ... of its T tokens; the state from
which response token r is drawn is the hidden state one position before it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from model.batches import batches_by_length, pad_right
from model.errors import PromptError
from model.transformer import Transformer

CHUNK = 8192  # rows of logits held at a time


def at_response(x: Tensor, start: Tensor, R: int) -> Tensor:
    """`x` (B, T, ...) at the states from which R response tokens are drawn: (B, R, ...).

    `start` (B,) int64 is the index of the first response token. Indices beyond T repeat the last
    position: they belong to no response token and must be masked.
    """
    index = (start[:, None] - 1 + torch.arange(R, device=x.device)).clamp(0, x.shape[1] - 1)
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def token_logprobs(model: Transformer, hidden: Tensor, targets: Tensor,
                   temperature: float = 1.0) -> Tensor:
    """Log-probability (...) float32 of each of `targets` (...) int64 from `hidden` (..., D).

    The vocabulary is read `CHUNK` rows at a time; under autograd each chunk's logits are kept.
    """
    return token_logprobs_and_entropy(model, hidden, targets, temperature, entropy=False)[0]


def token_logprobs_and_entropy(model: Transformer, hidden: Tensor, targets: Tensor,
                               temperature: float = 1.0,
                               entropy: bool = True) -> tuple[Tensor, Tensor | None]:
    """As `token_logprobs`, and the entropy (...) in nats of each distribution, where asked."""
    rows, wanted = rearrange(hidden, "... d -> (...) d"), rearrange(targets, "... -> (...)")
    logprobs, entropies = [], []
    for chunk, target in zip(rows.split(CHUNK), wanted.split(CHUNK), strict=True):
        logits = model.logits(chunk).float() / temperature
        logprobs.append(-F.cross_entropy(logits, target, reduction="none"))
        if entropy:
            every = logits.log_softmax(-1)
            entropies.append(-(every.exp() * every).sum(-1))
    shape = targets.shape
    return torch.cat(logprobs).view(shape), torch.cat(entropies).view(shape) if entropy else None


@torch.no_grad()
def score_continuations(model: Transformer, prompts: Sequence[Sequence[int]],
                        continuations: Sequence[Sequence[int]], temperature: float = 1.0,
                        batch_tokens: int = 16_384) -> list[Tensor]:
    """Log-probability of every token of each continuation after its prompt.

    Returns one float32 tensor a pair, as long as its continuation. Sequences are grouped by
    length and padded right, at most `batch_tokens` tokens with padding at a time.
    Raises ValueError where a prompt or a continuation is empty, or both pass the context.
    """
    rows = [list(p) + list(c) for p, c in zip(prompts, continuations, strict=True)]
    for n, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        if not prompt or not continuation:
            raise ValueError(f"pair {n}: a prompt and a continuation need a token each")
        check_context(model, len(rows[n]), n)
    scores: list[Tensor] = [torch.empty(0)] * len(rows)
    device = model.table.device
    for batch in batches_by_length([len(row) for row in rows], batch_tokens):
        tokens = pad_right([rows[n] for n in batch], device=device)
        start = torch.tensor([len(prompts[n]) for n in batch], device=device)
        answer = pad_right([continuations[n] for n in batch], device=device)
        hidden = at_response(model(tokens), start, answer.shape[1])
        logprobs = token_logprobs(model, hidden, answer, temperature)
        for n, row in zip(batch, logprobs, strict=True):
            scores[n] = row[: len(continuations[n])].cpu()
    return scores


@torch.no_grad()
def score_choices(model: Transformer, prompts: Sequence[Sequence[int]],
                  choices: Sequence[Sequence[int]], batch_tokens: int = 16_384) -> Tensor:
    """Log-probability (N, choices) float32 of each choice as the continuation of each prompt.

    What all choices begin with is read once; where only one token then tells them apart, one
    forward a prompt serves them all.
    """
    shared = 0
    while all(len(c) > shared + 1 and c[shared] == choices[0][shared] for c in choices):
        shared += 1
    if any(len(c) != shared + 1 for c in choices):
        every = score_continuations(
            model, [p for p in prompts for _ in choices],
            [c for _ in prompts for c in choices], batch_tokens=batch_tokens)
        return torch.stack([row.sum() for row in every]).view(len(prompts), len(choices))
    rows = [[*p, *choices[0][:shared]] for p in prompts]
    last = torch.tensor([c[-1] for c in choices])
    scores = torch.empty(len(prompts), len(choices))
    for n, row in enumerate(rows):
        check_context(model, len(row), n)
    for batch in batches_by_length([len(row) for row in rows], batch_tokens):
        tokens = pad_right([rows[n] for n in batch], device=model.table.device)
        end = torch.tensor([len(rows[n]) for n in batch], device=tokens.device)
        hidden = model(tokens)
        final = model.logits(at_response(hidden, end, 1)[:, 0]).float().log_softmax(-1)
        scores[batch] = final[:, last.to(final.device)].cpu()
    if shared:
        prefix = list(choices[0][:shared])
        before = score_continuations(model, prompts, [prefix] * len(prompts),
                                     batch_tokens=batch_tokens)
        scores += repeat(torch.stack([row.sum() for row in before]), "n -> n c", c=len(choices))
    return scores


def check_context(model: Transformer, length: int, n: int) -> None:
    """Raise PromptError where sequence `n` of `length` tokens passes the model's context."""
    if length > model.config.context:
        raise PromptError(f"sequence {n}: {length} tokens, but the context holds "
                          f"{model.config.context}")

"""Rollouts: prompts with sampled replies as tensors, and what the models say of them.

B rollouts, T tokens, R response tokens. A row is prompt then response without a gap, padded right:
response token r of row b is tokens[b, start[b] + r]. A mask is True where a token counts, and
masked positions of every (B, R) field hold zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from model.batches import alike
from model.scoring import at_response
from model.vocabulary import token_logprobs


@dataclass(frozen=True)
class Rollout:
    """B replies as they were sampled. Nothing in it changes during an update.

    ValueError at construction for a shape or dtype other than the one stated here.
    """

    tokens: Tensor
    """(B, T) int64: prompt, response, padding."""
    start: Tensor
    """(B,) int64: prompt lengths, and so the place of the first response token."""
    response_mask: Tensor
    """(B, R) bool: a prefix of each row, the end token included."""
    logprobs: Tensor
    """(B, R) float32: the sampling policy's, recomputed by the forward pass that trains it."""
    reference_logprobs: Tensor
    """(B, R) float32: the reference's, at the same temperature."""
    values: Tensor
    """(B, R) float32: the value of the state from which response token r was drawn."""
    scores: Tensor
    """(B,) float32: the reward of the whole reply, as given."""
    ended: Tensor
    """(B,) bool: whether the reply ended by itself rather than at the length limit."""
    kind: tuple[str, ...]
    """B prompt kinds, such as red_team and helpful."""

    def __post_init__(self) -> None:
        rows, responses = self.response_mask.shape
        expected = {
            "tokens": ((rows, self.tokens.shape[-1]), torch.int64),
            "start": ((rows,), torch.int64),
            "response_mask": ((rows, responses), torch.bool),
            "logprobs": ((rows, responses), torch.float32),
            "reference_logprobs": ((rows, responses), torch.float32),
            "values": ((rows, responses), torch.float32),
            "scores": ((rows,), torch.float32),
            "ended": ((rows,), torch.bool),
        }
        for name, (shape, dtype) in expected.items():
            found = getattr(self, name)
            if tuple(found.shape) != shape or found.dtype != dtype:
                raise ValueError(
                    f"{name}: found {tuple(found.shape)} {found.dtype}, expected {shape} {dtype}"
                )
        if len(self.kind) != rows:
            raise ValueError(f"kind: found {len(self.kind)} entries, expected {rows}")


def pack(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """(tokens (B, T), start (B,), response_mask (B, R)) of token lists, padded right with `pad`.

    T is the longest prompt with its completion, R the longest completion. ValueError for an empty
    prompt (nothing to draw the first token from), an empty completion, or unequal counts.
    """
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts but {len(completions)} completions")
    if not prompts or not all(prompts) or not all(completions):
        raise ValueError("a rollout needs one prompt at least, and no empty prompt or completion")
    pairs = zip(prompts, completions, strict=True)
    rows = [[*prompt, *completion] for prompt, completion in pairs]
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    counts = torch.tensor([len(completion) for completion in completions])
    response_mask = torch.arange(int(counts.max())) < counts.unsqueeze(1)
    return tokens, torch.tensor([len(prompt) for prompt in prompts]), response_mask


def select(rollout: Rollout, rows: Tensor) -> Rollout:
    """The rollouts at `rows` (N,) int64, in that order, at full width."""
    chosen = {
        field.name: getattr(rollout, field.name)[rows]
        for field in fields(Rollout)
        if field.name != "kind"
    }
    return Rollout(**chosen, kind=tuple(rollout.kind[row] for row in rows.tolist()))


def chunks_by_length(start: Tensor, response_mask: Tensor, chunk_rows: int) -> list[Tensor]:
    """All rows in chunks (N,) int64 of `chunk_rows` of about equal length, the last one smaller."""
    lengths = start + response_mask.sum(dim=1)
    return list(lengths.argsort(stable=True).split(chunk_rows))


def grouped(
    tokens: Tensor, start: Tensor, response_mask: Tensor
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Rows as groups of like length, and where in these the response tokens are drawn from.

    Returns (groups, states, targets): groups as `forward_groups` takes them; of the N True places
    of the mask, row by row, states (N,) int64 the index of the state before each response token
    among all positions of all groups, and targets (N,) int64 these tokens. A row's last token is
    left out: nothing is drawn after it.
    """
    lengths = start + response_mask.sum(dim=1) - 1
    first, passed, groups = torch.empty_like(start), 0, []
    for rows in alike(lengths.tolist()):
        width = int(lengths[rows].max())
        groups.append(tokens[rows, :width])
        first[rows] = torch.arange(passed, passed + groups[-1].numel(), width,
                                   device=start.device)
        passed += groups[-1].numel()
    response = torch.arange(response_mask.shape[1], device=start.device)
    states = (first + start - 1)[:, None] + response
    return groups, states[response_mask], response_tokens(tokens, start, response_mask)


def response_tokens(tokens: Tensor, start: Tensor, response_mask: Tensor) -> Tensor:
    """The response tokens (N,) int64 at the mask's True places, row by row."""
    return at_response(tokens, start + 1, response_mask.shape[1])[response_mask]


def response_logprobs(
    policy: nn.Module,
    tokens: Tensor,
    start: Tensor,
    response_mask: Tensor,
    temperature: float = 1.0,
    chunk_rows: int = 64,
) -> Tensor:
    """Log-probabilities (B, R) of the response tokens, without gradient, chunk by chunk.

    The same forward pass as in training, so that the first ratio of an update is 1; for the
    policy and for the reference alike.
    """

    def score(groups: list[Tensor], states: Tensor, targets: Tensor) -> Tensor:
        hidden = policy.forward_groups(groups, states)
        return token_logprobs(policy, hidden, targets, temperature)

    return _by_length(score, tokens, start, response_mask, chunk_rows)


def response_values(
    value_model: nn.Module,
    tokens: Tensor,
    start: Tensor,
    response_mask: Tensor,
    chunk_rows: int = 64,
) -> Tensor:
    """Values (B, R) of the states before the response tokens, without gradient, by chunks."""

    def score(groups: list[Tensor], states: Tensor, targets: Tensor) -> Tensor:
        return value_model.score_groups(groups, states)

    return _by_length(score, tokens, start, response_mask, chunk_rows)


def response_logprobs_and_values(
    policy: nn.Module,
    value_model: nn.Module,
    tokens: Tensor,
    start: Tensor,
    response_mask: Tensor,
    temperature: float = 1.0,
    chunk_rows: int = 64,
) -> tuple[Tensor, Tensor]:
    """Both of the above, by one pass where policy and value model share their trunk."""
    packed = tokens, start, response_mask
    if not shares_trunk(policy, value_model):
        return (response_logprobs(policy, *packed, temperature, chunk_rows),
                response_values(value_model, *packed, chunk_rows))

    def score(groups: list[Tensor], states: Tensor, targets: Tensor) -> Tensor:
        hidden = policy.forward_groups(groups, states)
        return torch.stack((token_logprobs(policy, hidden, targets, temperature),
                            value_model.read(hidden)), dim=-1)

    return _by_length(score, *packed, chunk_rows).unbind(-1)


def shares_trunk(policy: nn.Module, value_model: nn.Module) -> bool:
    """Whether the values are read off the policy's own hidden states."""
    return getattr(value_model, "transformer", None) is policy


@torch.no_grad()
def _by_length(
    score: Callable[[list[Tensor], Tensor, Tensor], Tensor],
    tokens: Tensor,
    start: Tensor,
    response_mask: Tensor,
    chunk_rows: int,
) -> Tensor:
    """`score` (N, ...) of every row, in its own place (B, R, ...) float32, zero where masked."""
    result = None
    for rows in chunks_by_length(start, response_mask, chunk_rows):
        mask = response_mask[rows]
        scored = score(*grouped(tokens[rows], start[rows], mask)).float()
        if result is None:
            result = scored.new_zeros(*response_mask.shape, *scored.shape[1:])
        # The rows of this chunk, each its responses in order: as `scored` counts them.
        result[rows[:, None].expand_as(mask)[mask], mask.nonzero()[:, 1]] = scored
    return result

"""Packing, selecting and scoring rollouts, with a small causal model whose every token matters."""

from dataclasses import replace

import pytest
import torch
from fakes import Grouped
from torch import nn

from rl.rollout import (
    Rollout,
    chunks_by_length,
    grouped,
    pack,
    response_logprobs,
    response_values,
    select,
)

PROMPTS = [[5, 6, 7], [8], [9, 4], [3, 3, 3, 3]]
COMPLETIONS = [[1, 2], [3, 4, 5, 6], [7], [2, 8, 1]]


class CausalSum(Grouped):
    """State t is a squashed sum of the embeddings up to t; counts the states given to the head."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Parameter(torch.randn(10, 6, generator=generator))
        self.lm_head = nn.Linear(6, 10, bias=False)
        self.lm_head.weight.data.normal_(generator=generator)
        self.logit_rows = 0

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(self.embedding[tokens].cumsum(dim=1))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        self.logit_rows += hidden[..., 0].numel()
        return self.lm_head(hidden)


class CausalScalar(Grouped):
    """The scalar at t is the sum of the token ids up to t."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return tokens.float().cumsum(dim=1)


def rollout() -> Rollout:
    tokens, start, response_mask = pack(PROMPTS, COMPLETIONS)
    numbers = torch.arange(16.0).view(4, 4) * response_mask
    return Rollout(
        tokens, start, response_mask, numbers, numbers + 1, numbers + 2,
        torch.arange(4.0), torch.tensor([True, False, True, False]), ("a", "b", "c", "d"),
    )


def test_rows_are_prompt_then_response_padded_right() -> None:
    tokens, start, mask = pack(PROMPTS, COMPLETIONS)
    assert tokens.dtype == torch.int64 and tokens.tolist() == [
        [5, 6, 7, 1, 2, 0, 0], [8, 3, 4, 5, 6, 0, 0], [9, 4, 7, 0, 0, 0, 0], [3, 3, 3, 3, 2, 8, 1],
    ]
    assert start.tolist() == [3, 1, 2, 4]
    assert mask.tolist() == [[True] * n + [False] * (4 - n) for n in (2, 4, 1, 3)]
    for b, completion in enumerate(COMPLETIONS):
        assert [int(tokens[b, start[b] + r]) for r in range(len(completion))] == completion


@pytest.mark.parametrize(
    ("prompts", "completions"), [([[]], [[1]]), ([[1]], [[]]), ([], []), ([[1], [2]], [[1]])]
)
def test_what_cannot_be_packed_is_refused(prompts, completions) -> None:
    with pytest.raises(ValueError):
        pack(prompts, completions)


def test_a_wrong_shape_or_dtype_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="values"):
        replace(rollout(), values=torch.zeros(4, 3))
    with pytest.raises(ValueError, match="start"):
        replace(rollout(), start=torch.zeros(4))
    with pytest.raises(ValueError, match="kind"):
        replace(rollout(), kind=("a",))


def test_select_takes_every_field_of_the_rows_in_order() -> None:
    whole, chosen = rollout(), select(rollout(), torch.tensor([2, 0]))
    assert chosen.kind == ("c", "a") and chosen.scores.tolist() == [2.0, 0.0]
    assert chosen.ended.tolist() == [True, True] and chosen.start.tolist() == [2, 3]
    for name in ("tokens", "response_mask", "logprobs", "reference_logprobs", "values"):
        assert torch.equal(getattr(chosen, name)[1], getattr(whole, name)[0])


def test_chunks_hold_every_row_once_the_short_ones_together() -> None:
    whole = rollout()
    chunks = chunks_by_length(whole.start, whole.response_mask, 3)
    assert [sorted(rows.tolist()) for rows in chunks] == [[0, 1, 2], [3]]


def test_groups_hold_each_row_but_its_last_token_and_point_to_each_response() -> None:
    packed = pack([[5] * 20, [8], [9, 4]], [[1, 2], [3, 4, 5, 6], [7]])
    groups, states, targets = grouped(*packed)
    assert [group.shape for group in groups] == [(1, 21), (1, 4), (1, 2)]
    assert targets.tolist() == [1, 2, 3, 4, 5, 6, 7]
    flat = torch.cat([group.flatten() for group in groups])
    # Each response token is drawn from the state at the token before it.
    assert flat[states].tolist() == [5, 1, 8, 3, 4, 5, 4]


def by_hand(model: CausalSum, b: int, temperature: float) -> list[float]:
    """Each token's log-prob from a forward pass over its own history alone."""
    row, found = list(PROMPTS[b]), []
    for token in COMPLETIONS[b]:
        logits = model.logits(model(torch.tensor([row]))[0, -1]) / temperature
        found.append(float(logits.log_softmax(-1)[token].detach()))
        row.append(token)
    return found


@pytest.mark.parametrize("chunk_rows", [1, 3, 64])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_each_token_after_its_own_history(chunk_rows, temperature) -> None:
    model, packed = CausalSum(), pack(PROMPTS, COMPLETIONS)
    found = response_logprobs(model, *packed, temperature, chunk_rows)
    assert not found.requires_grad and not found[~packed[2]].any()
    for b, completion in enumerate(COMPLETIONS):
        expected = by_hand(model, b, temperature)
        assert found[b, : len(completion)].tolist() == pytest.approx(expected, abs=1e-5)


def test_what_pads_a_row_changes_no_logprob() -> None:
    model, (tokens, start, mask) = CausalSum(), pack(PROMPTS, COMPLETIONS)
    padded = nn.functional.pad(tokens, (0, 3), value=9)
    torch.testing.assert_close(response_logprobs(model, padded, start, mask),
                               response_logprobs(model, tokens, start, mask))


def test_the_vocabulary_is_applied_at_response_positions_only() -> None:
    model, packed = CausalSum(), pack([[1] * 50, [2] * 50], [[3, 4], [5]])
    response_logprobs(model, *packed)
    assert model.logit_rows == 3


@pytest.mark.parametrize("chunk_rows", [1, 64])
def test_values_are_those_before_each_token(chunk_rows) -> None:
    values = response_values(CausalScalar(), *pack(PROMPTS, COMPLETIONS), chunk_rows)
    assert values.tolist() == [[18, 19, 0, 0], [8, 11, 15, 20], [13, 0, 0, 0], [12, 14, 22, 0]]

"""Bradley-Terry loss, accuracy, mixture weights, and pairs from voted answers."""

import math

import pytest
import torch

from rl.preference import (
    accuracy,
    binarised,
    bradley_terry_loss,
    comparison_losses,
    mixture_weights,
    vote_score,
    voted_pairs,
)


def test_loss_is_the_closed_form() -> None:
    first, second = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.0])
    targets = torch.tensor([1.0, 0.3])
    # P(first better) = 1 / (1 + exp(second - first)), worked out in double precision.
    one, two = 1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(2.0))
    expected = [-math.log(one), -(0.3 * math.log(two) + 0.7 * math.log(1 - two))]
    assert comparison_losses(first, second, targets).tolist() == pytest.approx(expected)
    assert float(bradley_terry_loss(first, second, targets)) == pytest.approx(sum(expected) / 2)


def test_gradient_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(5, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, generator=generator, dtype=torch.float64)

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return bradley_terry_loss(scores[0], scores[1], targets, weights)

    assert torch.autograd.gradcheck(loss, scores)
    loss(scores).backward()
    expected = weights * (torch.sigmoid(scores[0] - scores[1]) - targets) / 5
    torch.testing.assert_close(scores.grad[0], expected.detach())


@pytest.mark.parametrize("target", [0.2, 0.5, 0.9])
def test_soft_target_has_no_gradient_at_its_optimum_and_pulls_towards_it(target: float) -> None:
    optimum = math.log(target / (1 - target))
    for offset, sign in ((0.0, 0), (0.5, 1), (-0.5, -1)):
        first = torch.tensor([optimum + offset], dtype=torch.float64, requires_grad=True)
        targets = torch.tensor([target], dtype=torch.float64)
        bradley_terry_loss(first, torch.zeros(1, dtype=torch.float64), targets).backward()
        gradient = float(first.grad)
        assert abs(gradient) < 1e-12 if sign == 0 else gradient * sign > 0.01


def test_only_score_differences_matter() -> None:
    first, second, targets = torch.tensor([1.0]), torch.tensor([-2.0]), torch.tensor([0.7])
    shifted = bradley_terry_loss(first + 8, second + 8, targets)
    torch.testing.assert_close(shifted, bradley_terry_loss(first, second, targets))


def test_weights_multiply_each_loss_and_a_zero_weight_silences_it() -> None:
    first, second = torch.tensor([1.0, 3.0]), torch.zeros(2)
    targets = torch.tensor([1.0, 0.0])
    losses = comparison_losses(first, second, targets)
    weighted = bradley_terry_loss(first, second, targets, torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(weighted, losses[0])


def test_mixture_weights_keep_the_ratio_and_have_mean_one() -> None:
    weights = mixture_weights(["red_team", "helpful", "helpful"], {"red_team": 1, "helpful": 4})
    assert weights.tolist() == pytest.approx([1 / 3, 4 / 3, 4 / 3])
    with pytest.raises(ValueError, match="helpful"):
        mixture_weights(["helpful"], {"red_team": 1.0})
    with pytest.raises(ValueError, match="above 0"):
        mixture_weights(["helpful"], {"helpful": 0.0})


def test_accuracy_follows_targets_and_skips_the_undecided() -> None:
    first = torch.tensor([2.0, 0.0, 1.0, 5.0, 1.0])
    second = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    targets = torch.tensor([0.9, 0.1, 0.8, 0.5, 0.2])
    # Right, right, equal scores (one half), left out, wrong.
    assert accuracy(first, second, targets) == pytest.approx(2.5 / 4)
    assert math.isnan(accuracy(first, second, torch.full((5,), 0.5)))


@pytest.mark.parametrize(
    ("votes", "accepted", "score"),
    [(0, False, 0), (1, False, 1), (2, False, 2), (4, False, 2), (5, False, 3), (7, True, 4),
     (100, False, 7), (0, True, 1), (-1, False, -1), (-9, True, -1)],
)
def test_vote_score(votes: int, accepted: bool, score: int) -> None:
    assert vote_score(votes, accepted) == score


def test_voted_pairs_put_the_better_answer_first_and_drop_ties() -> None:
    assert sorted(voted_pairs([1, 3, 1, -1])) == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]
    assert voted_pairs([2]) == []


def test_binarised_judges_each_answer_alone() -> None:
    assert binarised("A", "B", "GOOD:", "BAD:") == (("GOOD:A", "BAD:A"), ("BAD:B", "GOOD:B"))
    assert binarised([1], [2], [8], [9]) == (([8, 1], [9, 1]), ([9, 2], [8, 2]))

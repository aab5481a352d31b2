"""Preference learning: the Bradley-Terry loss with soft targets, and pairs from voted answers.

N comparisons. A comparison has a first and a second response; its target is the probability that
the first is the better one. Only score differences matter (Bai et al. 2022, arXiv 2204.05862,
eq. 4.2); soft targets as in Constitutional AI, section 4.1.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

Text = TypeVar("Text", str, list[int])


def comparison_losses(first: Tensor, second: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each target with the model's P(first better) = sigmoid(first - second).

    first, second: (N,) scores; targets: (N,) in [0, 1]. Returns (N,) nats, gradient
    sigmoid(first - second) - target with respect to `first`.
    """
    return F.binary_cross_entropy_with_logits(first - second, targets, reduction="none")


def bradley_terry_loss(
    first: Tensor, second: Tensor, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean of weight x loss over comparisons, a scalar in nats.

    The divisor is N and not the sum of the weights: a minibatch that happens to hold one kind
    only must keep that kind's weight. See `mixture_weights`.
    """
    losses = comparison_losses(first, second, targets)
    return losses.mean() if weights is None else (weights * losses).mean()


def mixture_weights(kinds: Sequence[str], weight_of: Mapping[str, float]) -> Tensor:
    """Weights (N,) float32 of a whole data set's comparisons, with mean 1.

    `weight_of` gives each kind its relative weight, such as {"red_team": 0.5, "helpful": 1};
    how much harmlessness weighs against helpfulness decides how evasive the policy becomes
    (arXiv 2204.05862, figure 27). ValueError for a kind without a weight or no positive weight.
    """
    missing = sorted(set(kinds) - set(weight_of))
    if missing:
        raise ValueError(f"no weight for the kind {missing[0]!r}, have {sorted(weight_of)}")
    weights = torch.tensor([float(weight_of[kind]) for kind in kinds])
    if not len(kinds) or bool((weights < 0).any()) or not float(weights.sum()) > 0:
        raise ValueError("weights must not be negative, and one at least must be above 0")
    return weights / weights.mean()


def accuracy(first: Tensor, second: Tensor, targets: Tensor) -> float:
    """Share of the comparisons whose better response (by target) has the higher score.

    first, second, targets: (N,). Targets of exactly 0.5 are left out, equal scores count one
    half. NaN when every target is 0.5: no comparison decides anything.
    """
    decided = targets != 0.5
    ahead = torch.sign(first.detach() - second.detach()) * torch.sign(targets - 0.5)
    return float(((ahead + 1) / 2)[decided].mean())


def vote_score(votes: int, accepted: bool) -> int:
    """Score of a voted answer: round(log2(1 + votes)), 1 more if accepted, -1 for negative votes.

    The rule of preference-model pretraining (Askell et al. 2021, arXiv 2112.00861); a negative
    count gives -1 whether or not the answer was accepted.
    """
    if votes < 0:
        return -1
    return round(math.log2(1 + votes)) + int(accepted)


def voted_pairs(scores: Sequence[int]) -> list[tuple[int, int]]:
    """Index pairs (better, worse) of one question's answers whose scores differ."""
    pairs = combinations(range(len(scores)), 2)
    return [
        (i, j) if scores[i] > scores[j] else (j, i) for i, j in pairs if scores[i] != scores[j]
    ]


def binarised(
    better: Text, worse: Text, good: Text, bad: Text
) -> tuple[tuple[Text, Text], tuple[Text, Text]]:
    """Two (better, worse) pairs from one: good+better > bad+better, and bad+worse > good+worse.

    Texts or token lists alike. Pretraining on judgements of single answers rather than on the
    pair itself transfers better (arXiv 2112.00861, section 4).
    """
    return (good + better, bad + better), (bad + worse, good + worse)

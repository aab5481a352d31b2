"""From scores to token rewards: the missing-end rule, the KL to the reference, its coefficient.

B rollouts, R response tokens. A mask is True where a token counts; masked results are zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rl.options import Estimator, MissingEnd

Turns = Sequence[str]

Reward = Callable[[list[Turns], list[str]], list[float]]
"""What PPO maximises: (dialogues that end on a human turn, one reply to each) -> one score each.

A preference model is one such callable; so are a length rule, a judge with a principle, or a sum
of several. It may have its own tokenizer and need not be differentiable.
"""


def score_replies(reward: Reward, turns: list[Turns], replies: list[str]) -> Tensor:
    """The reward's scores (B,) float32. ValueError for a wrong count or a score not finite."""
    scores = torch.tensor([float(score) for score in reward(turns, replies)])
    if len(scores) != len(replies):
        raise ValueError(f"the reward gave {len(scores)} scores for {len(replies)} replies")
    if not bool(torch.isfinite(scores).all()):
        row = int((~torch.isfinite(scores)).nonzero()[0])
        raise ValueError(f"the reward gave {scores[row]} for reply {row}, expected a finite score")
    return scores


def missing_end_scores(scores: Tensor, ended: Tensor, rule: MissingEnd, value: float) -> Tensor:
    """Scores (B,) in which replies that never ended get `value` ("replace"), or lose it.

    ended: (B,) bool. Replacing is Ziegler et al. 2019 (arXiv 1909.08593); subtracting keeps the
    order among unfinished replies, as TRL does.
    """
    unfinished = torch.full_like(scores, value) if rule == "replace" else scores - value
    return torch.where(ended, scores, unfinished)


def kl_k1(logprobs: Tensor, other: Tensor) -> Tensor:
    """log p - log q at tokens drawn from p: unbiased for KL(p || q), may be negative."""
    return logprobs - other


def kl_k3(logprobs: Tensor, other: Tensor) -> Tensor:
    """q/p - 1 - log(q/p) at tokens drawn from p: unbiased for KL(p || q), never negative.

    Lower variance than k1 while p and q are close (Schulman, "Approximating KL divergence").
    """
    log_ratio = other - logprobs
    return torch.expm1(log_ratio) - log_ratio


ESTIMATORS: dict[Estimator, Callable[[Tensor, Tensor], Tensor]] = {"k1": kl_k1, "k3": kl_k3}


def token_kl(
    logprobs: Tensor, reference_logprobs: Tensor, response_mask: Tensor, estimator: Estimator
) -> Tensor:
    """Estimated KL (B, R) in nats of the policy to the reference at each response token.

    Its sum over R is a reply's KL; the mean of these sums is what an adaptive coefficient reads.
    """
    estimate = ESTIMATORS[estimator](logprobs, reference_logprobs)
    return estimate.masked_fill(~response_mask, 0.0)


def token_rewards(
    scores: Tensor, kl: Tensor, response_mask: Tensor, coefficient: float
) -> Tensor:
    """Rewards (B, R): -coefficient x kl at every response token, plus the score at the last one.

    scores: (B,); kl: (B, R) from `token_kl`; the mask marks a non-empty prefix of each row.
    r = score - coefficient x KL of arXiv 2204.05862, section 4.1, with the KL paid token by token
    (arXiv 1909.08593).
    """
    counts = response_mask.sum(dim=1)
    if not bool((counts > 0).all()):
        raise ValueError("a reply without tokens has no place for its score")
    rewards = -coefficient * kl
    last = (counts - 1).unsqueeze(1)
    return rewards.scatter_add(1, last, scores.to(rewards.dtype).unsqueeze(1))


@dataclass(frozen=True)
class FixedKL:
    """A KL coefficient (reward per nat) that stays."""

    coefficient: float

    def updated(self, kl: float, replies: int) -> "FixedKL":
        """Itself, whatever was measured."""
        return self


@dataclass(frozen=True)
class AdaptiveKL:
    """A KL coefficient that rises when the KL is above target (arXiv 1909.08593, section 2.2)."""

    coefficient: float
    target: float
    horizon: float

    def updated(self, kl: float, replies: int) -> "AdaptiveKL":
        """The controller after `replies` replies whose mean KL was `kl` nats.

        The relative error is clipped to 0.2 each way, so one odd batch moves it little.
        """
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return replace(self, coefficient=self.coefficient * (1 + error * replies / self.horizon))


def kl_controller(
    coefficient: float, target: float | None, horizon: float
) -> FixedKL | AdaptiveKL:
    """A fixed coefficient without a target, an adaptive one with it."""
    return FixedKL(coefficient) if target is None else AdaptiveKL(coefficient, target, horizon)

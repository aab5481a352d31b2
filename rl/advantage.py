"""Advantages and returns from token rewards and values, and masked whitening.

B rollouts, R response tokens. A mask is True where a token counts; masked results are zero, and
whatever stands at a masked position of an input changes nothing.
"""

import torch
from torch import Tensor

# Keeps the division finite when everything is equal; small beside any variance of interest.
_EPSILON = 1e-8


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns, both (B, R) (arXiv 1506.02438, eq. 16).

    rewards, values: (B, R), the value being that of the state from which token r is drawn;
    mask: (B, R) bool. The episode ends with the last response token, cut off or not: the value
    beyond it is 0. returns = advantages + values.
    """
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(values)
    later_advantage = later_value = torch.zeros_like(values[:, 0])
    for r in reversed(range(values.shape[1])):
        error = rewards[:, r] + gamma * later_value - values[:, r]
        later_advantage = error + gamma * lam * later_advantage
        later_value = values[:, r]
        advantages[:, r] = later_advantage
    return advantages, advantages + values


def leave_one_out(scores: Tensor, replies: int) -> Tensor:
    """Each score (B,) less the mean of the others to its prompt (RLOO, arXiv 2402.14740, eq. 9).

    The `replies` to one prompt stand in consecutive rows; ValueError where B is no multiple of it.
    """
    grouped = _by_prompt(scores, replies)
    others = (grouped.sum(1, keepdim=True) - grouped) / (replies - 1)
    return (grouped - others).flatten()


def group_relative(scores: Tensor, replies: int) -> Tensor:
    """Each score (B,) less its prompt's mean, over its prompt's deviation (GRPO, arXiv 2402.03300).

    Rows as in `leave_one_out`. Where all replies to a prompt score alike, their advantage is zero.
    """
    grouped = _by_prompt(scores, replies)
    shifted = grouped - grouped.mean(1, keepdim=True)
    return (shifted * torch.rsqrt(shifted.square().mean(1, keepdim=True) + _EPSILON)).flatten()


def _by_prompt(scores: Tensor, replies: int) -> Tensor:
    if replies < 2 or len(scores) % replies:
        raise ValueError(f"found {len(scores)} scores and {replies} replies a prompt, expected 2 "
                         "replies or more and a multiple of them")
    return scores.view(-1, replies)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over True positions, a scalar; x and mask of one shape. Zero for an empty mask."""
    return x.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def masked_variance(x: Tensor, mask: Tensor) -> Tensor:
    """Biased variance of x over True positions, a scalar: divided by the count, not count - 1."""
    return masked_mean((x - masked_mean(x, mask)).square(), mask)


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """x shifted and scaled to masked mean 0 and masked biased variance 1."""
    shifted = x - masked_mean(x, mask)
    return scale_only(shifted, mask)


def scale_only(x: Tensor, mask: Tensor) -> Tensor:
    """x divided by its masked standard deviation: variance 1, and zero stays zero.

    lm-human-preferences scales about the mean instead, which adds one constant to every token's
    reward, and so pays or charges for length.
    """
    scaled = x * torch.rsqrt(masked_variance(x, mask) + _EPSILON)
    return scaled.masked_fill(~mask, 0.0)

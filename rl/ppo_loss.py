"""The losses of PPO and what is worth watching while they fall.

B rollouts, R response tokens; all inputs (B, R) unless said otherwise. Each result is a mean over
the True positions of the mask, so every token weighs the same. Whatever finite number stands at a
masked position changes neither value nor gradient. Sources: PPO, arXiv 1707.06347; its use on
language models, arXiv 1909.08593 and 2403.17031.
"""

import torch
from torch import Tensor

from rl.advantage import masked_mean, masked_variance
from rl.reward import kl_k1, kl_k3


def log_ratios(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """log(new / old probability) (B, R), zero at masked positions, before any exponential."""
    return (logprobs - old_logprobs).masked_fill(~mask, 0.0)


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Clipped surrogate objective, negated: a scalar (arXiv 1707.06347, eq. 7).

    Where the ratio has left [1 - clip, 1 + clip] in the direction that the advantage asks for,
    the gradient is exactly zero.
    """
    ratios = log_ratios(logprobs, old_logprobs, mask).exp()
    surrogate = torch.minimum(
        ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages
    )
    return -masked_mean(surrogate, mask)


def value_loss(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error of the values, a scalar."""
    return 0.5 * masked_mean((values - returns).square(), mask)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Half the mean of the larger squared error: of the value, or of it held within `clip`.

    A value further than `clip` from its rollout value, on the way to its return, has no gradient.
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    errors = torch.maximum((values - returns).square(), (held - returns).square())
    return 0.5 * masked_mean(errors, mask)


def entropy_bonus(entropy: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """What the entropy takes off the policy's loss: coefficient x mean token entropy (nats)."""
    return coefficient * masked_mean(entropy, mask)


def ratio_statistics(
    logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, clip: float
) -> dict[str, Tensor]:
    """How far the policy moved from the rollouts', as detached scalars.

    kl_k1, kl_k3: estimates of KL(old || new) in nats per token; clip_fraction: share of tokens
    whose ratio lies outside 1 -+ clip; ratio_mean; ratio_max; ratio_deviation: largest |ratio - 1|.
    """
    log_ratio = log_ratios(logprobs, old_logprobs, mask).detach()
    ratios = log_ratio.exp()
    zeros = torch.zeros_like(log_ratio)
    deviation = (ratios - 1).abs()
    return {
        "kl_k1": masked_mean(kl_k1(zeros, log_ratio), mask),
        "kl_k3": masked_mean(kl_k3(zeros, log_ratio), mask),
        "clip_fraction": masked_mean((deviation > clip).to(ratios.dtype), mask),
        "ratio_mean": masked_mean(ratios, mask),
        "ratio_max": ratios.masked_fill(~mask, 0.0).max(),
        "ratio_deviation": deviation.max(),
    }


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns), a scalar: 1 is perfect, 0 as good as a constant.

    Zero when the returns do not vary.
    """
    variance = masked_variance(returns, mask)
    unexplained = masked_variance(returns - values, mask)
    explained = 1 - unexplained / variance.clamp(min=torch.finfo(variance.dtype).tiny)
    return torch.where(variance > 0, explained, torch.zeros_like(variance))

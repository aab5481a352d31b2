"""One PPO update: epochs of minibatches over a batch of rollouts.

B rollouts, R response tokens. Policy and value model are stepped by their own optimizers, which
the caller makes and schedules; randomness comes from the caller's generator.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from model.vocabulary import token_loss
from rl.advantage import gae, group_relative, leave_one_out, scale_only, whiten
from rl.options import PPOOptions
from rl.ppo_loss import (
    clipped_value_loss,
    entropy_bonus,
    explained_variance,
    policy_loss,
    ratio_statistics,
    value_loss,
)
from rl.reward import missing_end_scores, token_kl, token_rewards
from rl.rollout import Rollout, chunks_by_length, grouped, select, shares_trunk


def penalised_rewards(
    rollout: Rollout, coefficient: float, options: PPOOptions
) -> tuple[Tensor, Tensor]:
    """Token rewards (B, R) and each reply's KL to the reference (B,), in nats.

    The score, after the missing-end rule, at the last token; less `coefficient` x KL at each.
    """
    mask = rollout.response_mask
    scores = missing_end_scores(
        rollout.scores, rollout.ended, options.missing_end, options.missing_end_value
    )
    kl = token_kl(rollout.logprobs, rollout.reference_logprobs, mask, options.kl_estimator)
    rewards = token_rewards(scores, kl, mask, coefficient)
    return scale_only(rewards, mask) if options.whiten_rewards else rewards, kl.sum(dim=1)


def estimate(rollout: Rollout, rewards: Tensor, options: PPOOptions) -> tuple[Tensor, Tensor]:
    """Advantages and returns (B, R); the advantages whitened over the whole batch as asked.

    The returns come from the advantages before whitening, in the units of the rewards. RLOO and
    GRPO give every token of a reply the same advantage, from the sum of the reply's rewards.
    """
    mask = rollout.response_mask
    if options.advantages == "gae":
        advantages, returns = gae(rewards, rollout.values, mask, options.gamma, options.lam)
    else:
        compare = leave_one_out if options.advantages == "rloo" else group_relative
        totals = rewards.masked_fill(~mask, 0.0).sum(dim=1)
        advantages = compare(totals, options.replies).unsqueeze(1) * mask
        returns = totals.unsqueeze(1) * mask
    if options.whiten_advantages == "shift":
        advantages = whiten(advantages, mask)
    elif options.whiten_advantages == "scale":
        advantages = scale_only(advantages, mask)
    return advantages, returns


def ppo_update(
    policy: nn.Module,
    value_model: nn.Module,
    policy_optimizer: Optimizer,
    value_optimizer: Optimizer,
    rollout: Rollout,
    advantages: Tensor,
    returns: Tensor,
    options: PPOOptions,
    generator: torch.Generator,
) -> dict[str, float]:
    """Step both models over the rollouts; the figures are means over the minibatches seen.

    Where they share their trunk, one pass serves both, the value's loss reaches the trunk by its
    weight, and the policy's optimizer is to step all but the value's head.

    advantages, returns: (B, R) of `estimate`; generator: a CPU generator that shuffles the rows.
    Figures: policy_loss, value_loss, entropy (nats a token), policy_grad_norm, value_grad_norm
    (before clipping), those of `ratio_statistics`; and, once an update, first_ratio (largest
    |ratio - 1| of the first minibatch: 0 but for rounding, or the log-probs are inconsistent),
    explained_variance of the rollout's values, steps taken, and stopped (1 if stop_kl ended it).
    ValueError for fewer rollouts than minibatches; RuntimeError for a gradient that is not finite,
    before the step is taken.
    """
    if len(rollout.kind) < options.minibatches:
        raise ValueError(
            f"{options.minibatches} minibatches need as many rollouts, found {len(rollout.kind)}"
        )
    optimizers = (policy_optimizer, value_optimizer)
    seen: list[dict[str, Tensor]] = []
    steps, stopped = 0, False
    for _ in range(options.epochs):
        epoch_start = len(seen)
        for rows in shuffled_minibatches(len(rollout.kind), options.minibatches, generator):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            figures = _accumulate(policy, value_model, rollout, advantages, returns, rows, options)
            seen.append(figures)
            if options.stop_check == "minibatch" and _too_far([figures], options):
                stopped = True
                break
            figures["policy_grad_norm"] = _clip_gradients(policy_optimizer, options.max_grad_norm)
            figures["value_grad_norm"] = _clip_gradients(value_optimizer, options.max_grad_norm)
            for optimizer in optimizers:
                optimizer.step()
            steps += 1
        if stopped or (options.stop_check == "epoch" and _too_far(seen[epoch_start:], options)):
            stopped = True
            break
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    explained = explained_variance(rollout.values, returns, rollout.response_mask)
    return _means(seen) | {
        "first_ratio": float(seen[0]["ratio_deviation"]),
        "explained_variance": float(explained),
        "steps": float(steps),
        "stopped": float(stopped),
    }


def shuffled_minibatches(
    rows: int, minibatches: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Every row index once, in random order, in parts whose sizes differ by one at most."""
    yield from torch.randperm(rows, generator=generator).tensor_split(minibatches)


def _accumulate(
    policy: nn.Module,
    value_model: nn.Module,
    rollout: Rollout,
    advantages: Tensor,
    returns: Tensor,
    rows: Tensor,
    options: PPOOptions,
) -> dict[str, Tensor]:
    """Gradients of one minibatch's mean losses, summed over chunks, and its figures."""
    rows = rows.to(rollout.tokens.device)
    part, advantages, returns = select(rollout, rows), advantages[rows], returns[rows]
    tokens = part.response_mask.sum()
    total: dict[str, Tensor] = {}
    for chunk in chunks_by_length(part.start, part.response_mask, options.chunk_rows):
        # Means over a chunk's tokens, weighted by their number, add up to the minibatch's mean.
        share = part.response_mask[chunk].sum() / tokens
        figures = _learn(policy, value_model, select(part, chunk), advantages[chunk],
                         returns[chunk], share, options)
        total = _add(total, figures, share)
    return total


def _learn(
    policy: nn.Module,
    value_model: nn.Module,
    chunk: Rollout,
    advantages: Tensor,
    returns: Tensor,
    share: Tensor,
    options: PPOOptions,
) -> dict[str, Tensor]:
    """Gradients of `share` of a chunk's mean losses, and its figures. N response tokens."""
    mask = chunk.response_mask
    groups, states, targets = grouped(chunk.tokens, chunk.start, mask)
    counted = torch.ones_like(targets, dtype=torch.bool)
    old_logprobs, advantages = chunk.logprobs[mask], advantages[mask]

    def surrogate(logprobs: Tensor, entropy: Tensor, rows: slice) -> Tensor:
        loss = policy_loss(logprobs, old_logprobs[rows], advantages[rows], counted[rows],
                           options.clip)
        if options.entropy_coefficient > 0:
            loss = loss - entropy_bonus(entropy, counted[rows], options.entropy_coefficient)
        return share * loss * len(logprobs) / len(targets)

    hidden = policy.forward_groups(groups, states)
    learnt = token_loss(policy, hidden, targets, surrogate, options.temperature, entropy=True)
    given = learnt.logprobs, old_logprobs
    figures = ratio_statistics(*given, counted, options.clip) | {
        "policy_loss": policy_loss(*given, advantages, counted, options.clip),
        "entropy": learnt.entropy.mean(),
    }
    losses, gradients = [hidden], [learnt.gradient]
    if options.advantages == "gae":
        one_trunk = shares_trunk(policy, value_model)
        if not one_trunk:
            # What the policy keeps for its gradient goes before the value model keeps its own.
            _backward(losses, gradients)
            losses, gradients = [], []
        values = value_model.read(hidden) if one_trunk else value_model.score_groups(groups, states)
        seen = values, chunk.values[mask], returns[mask], counted
        errors = (clipped_value_loss(*seen, options.value_clip) if options.value_clip > 0
                  else value_loss(values, returns[mask], counted))
        losses.append(share * errors * (options.value_weight if one_trunk else 1.0))
        gradients.append(None)
        figures["value_loss"] = errors.detach()
    _backward(losses, gradients)
    return figures


def _backward(losses: list[Tensor], gradients: list[Tensor | None]) -> None:
    """Gradients in the types that the forward pass chose: autocast would lower others' anew."""
    with torch.autocast(losses[0].device.type, enabled=False):
        torch.autograd.backward(losses, gradients)


def _add(
    total: dict[str, Tensor], figures: dict[str, Tensor], weight: Tensor
) -> dict[str, Tensor]:
    """Running weighted sums of a minibatch's figures; a maximum stays a maximum."""
    if not total:
        total = {name: torch.zeros_like(figure) for name, figure in figures.items()}
    return {
        name: torch.maximum(total[name], figure)
        if name in ("ratio_max", "ratio_deviation")
        else total[name] + weight * figure
        for name, figure in figures.items()
    }


def _too_far(figures: list[dict[str, Tensor]], options: PPOOptions) -> bool:
    """Whether the mean old-to-new KL of these minibatches is above stop_kl."""
    if options.stop_kl is None:
        return False
    return sum(float(one["kl_k3"]) for one in figures) / len(figures) > options.stop_kl


def _clip_gradients(optimizer: Optimizer, max_norm: float) -> Tensor:
    """Scale the gradients of what the optimizer steps to norm `max_norm` at most; their norm."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    limit = max_norm if max_norm > 0 else float("inf")
    return nn.utils.clip_grad_norm_(parameters, limit, error_if_nonfinite=True)


def _means(seen: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean of each figure over the minibatches that have it."""
    values: dict[str, list[float]] = {}
    for figures in seen:
        for name, figure in figures.items():
            values.setdefault(name, []).append(float(figure))
    return {name: sum(each) / len(each) for name, each in values.items()}

"""The vocabulary, read a chunk of rows at a time: log-probabilities, and losses of them.

N rows, D width, V vocabulary; n rows of one chunk. However many rows there are, no more than one
chunk's logits are held where a loss is learnt from, and none is computed twice.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

# The most rows and the most logits of a chunk. On a CPU a product of few rows mostly arranges the
# weight anew, and beyond 32 MB the C library asks the system for new memory each time; on a GPU a
# chunk of few rows would mostly add to the weight's gradient.
ROWS = {"cpu": 1024, "cuda": 16_384}
LOGITS = {"cpu": 8 * 10**6, "cuda": 2**28}

#: loss(logprobs (n,), entropy (n,) or None, rows): what these rows add to the loss, a scalar.
PartialLoss = Callable[[Tensor, Tensor | None, slice], Tensor]


class TokenLoss(NamedTuple):
    """A loss of N tokens' log-probabilities, learnt from; everything is detached."""

    loss: Tensor
    """() float32: the sum of all parts."""
    gradient: Tensor
    """(N, D): that of the hidden states, to go on through the trunk with."""
    logprobs: Tensor
    """(N,) float32."""
    entropy: Tensor | None
    """(N,) float32 in nats, where asked for."""


def token_logprobs(model: nn.Module, hidden: Tensor, targets: Tensor,
                   temperature: float = 1.0) -> Tensor:
    """Log-probability (...) float32 of each of `targets` (...) int64 from `hidden` (..., D).

    Under autograd every chunk's logits are kept: `token_loss` trains without that.
    """
    states, wanted = rearrange(hidden, "... d -> (...) d"), rearrange(targets, "... -> (...)")
    return torch.cat([
        nn.functional.log_softmax(_logits(model, states[rows], temperature), dim=-1)
        .gather(1, wanted[rows, None])[:, 0] for rows in chunks(model, states)]).view(targets.shape)


def learn_tokens(model: nn.Module, hidden: Tensor, targets: Tensor,
                 weights: Tensor | None = None, count: int | None = None) -> Tensor:
    """Gradients of the mean cross-entropy of `targets` (N,) from `hidden` (N, D); the loss ().

    `weights` (N,) multiplies each token's. The divisor is N all the same, or `count` where these
    are but a part of a step's tokens.
    """
    count = len(targets) if count is None else count

    def part(logprobs: Tensor, entropy: Tensor | None, rows: slice) -> Tensor:
        return -(logprobs if weights is None else weights[rows] * logprobs).sum() / count

    learnt = token_loss(model, hidden, targets, part)
    # Gradients have the types that the forward pass chose; autocast would lower others' anew.
    with torch.autocast(hidden.device.type, enabled=False):
        hidden.backward(learnt.gradient)
    return learnt.loss


@torch.no_grad()
def token_loss(model: nn.Module, hidden: Tensor, targets: Tensor, loss: PartialLoss,
               temperature: float = 1.0, entropy: bool = False) -> TokenLoss:
    """A loss of the log-probabilities of `targets` (N,) int64 from `hidden` (N, D), learnt from.

    The gradient of the vocabulary's weight is added to it here; that of `hidden` is returned, for
    `hidden.backward`. `loss` must be a sum over rows: each chunk is learnt from by itself.
    """
    states, weight = hidden.detach(), model.lm_head.weight
    total, gradient = torch.zeros((), device=states.device), torch.empty_like(states)
    logprobs = torch.empty(len(states), device=states.device)
    entropies = torch.empty_like(logprobs) if entropy else None
    for rows in chunks(model, states):
        every = nn.functional.log_softmax(_logits(model, states[rows], temperature), dim=-1)
        of_target = every.gather(1, targets[rows, None])[:, 0]
        probabilities = every.exp() if entropy else every.exp_()
        of_all = -_row_products(probabilities, every) if entropy else None
        part, *slopes = _slopes(loss, of_target, of_all, rows)
        slope, entropy_slope = (each if each is None else each / temperature for each in slopes)
        # d log p(target) = onehot - p, and d entropy = -p (log p + entropy), a logit each.
        if entropy_slope is not None:
            every.add_(of_all[:, None]).mul_(entropy_slope[:, None]).add_(slope[:, None])
            by_logit = probabilities.mul_(every).neg_()
        else:
            by_logit = probabilities.mul_(-slope[:, None])
        by_logit.scatter_add_(1, targets[rows, None], slope[:, None])
        gradient[rows] = by_logit.to(weight.dtype) @ weight
        if weight.requires_grad:
            _add_product(weight, by_logit.mT, states[rows])
        total += part
        logprobs[rows] = of_target
        if entropy:
            entropies[rows] = of_all
    return TokenLoss(total, gradient, logprobs, entropies)


def chunks(model: nn.Module, states: Tensor) -> Iterator[slice]:
    """Slices of the rows of `states` (N, D) whose logits may be held together."""
    kind = states.device.type
    size = max(1, min(ROWS[kind], LOGITS[kind] // len(model.lm_head.weight)))
    for start in range(0, max(1, len(states)), size):
        yield slice(start, start + size)


def _row_products(left: Tensor, right: Tensor) -> Tensor:
    """Of each row of `left` with that of `right`, in float32: autocast takes it for a product."""
    with torch.autocast(left.device.type, enabled=False):
        return torch.linalg.vecdot(left, right)


def _logits(model: nn.Module, states: Tensor, temperature: float) -> Tensor:
    logits = model.logits(states).float()
    return logits if temperature == 1 else logits / temperature


@torch.enable_grad()
def _slopes(loss: PartialLoss, logprobs: Tensor, entropy: Tensor | None,
            rows: slice) -> tuple[Tensor, Tensor, Tensor | None]:
    """The partial loss and its slopes (n,) by log-probability and, where it counts, by entropy."""
    given = [logprobs.detach().requires_grad_()]
    if entropy is not None:
        given.append(entropy.detach().requires_grad_())
    part = loss(given[0], given[1] if entropy is not None else None, rows)
    slopes = torch.autograd.grad(part, given, allow_unused=True)
    return part.detach(), slopes[0], slopes[1] if entropy is not None else None


def _add_product(weight: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to the gradient of `weight`, in place: no second gradient stands beside."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    if torch.is_autocast_enabled(weight.device.type):
        weight.grad += left @ right
    else:
        weight.grad.addmm_(left, right)

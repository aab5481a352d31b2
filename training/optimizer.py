"""AdamW and the learning-rate schedules of the paper and of the PPO literature."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from training.muon import Muon


def adamw(model: nn.Module, rate: float, decay: float = 0.0, eps: float = 1e-8,
          betas: tuple[float, float] = (0.9, 0.95)) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; decay on matrices alone, fused where it exists."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trainable if p.dim() >= 2], "weight_decay": decay},
              {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=eps, fused=True)


def muon_and_adamw(model: nn.Module, muon_rate: float, rate: float,
                   decay: float) -> tuple[Muon, torch.optim.AdamW]:
    """Muon for the matrices of the blocks, AdamW for embeddings, vocabulary and norms."""
    inner = [p for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name]
    outer = [p for name, p in model.named_parameters() if p.dim() != 2 or ".layers." not in name]
    return (Muon(inner, muon_rate, weight_decay=decay),
            torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True))


#: Optimizers, each with its peak learning rate.
Optimizers = list[tuple[torch.optim.Optimizer, float]]


def fine_tuning(model: nn.Module, name: Literal["adamw", "muon"], rate: float) -> Optimizers:
    """The optimizers of fine-tuning; beside Muon, what it does not step learns at a sixth."""
    if name == "adamw":
        return [(adamw(model, rate), rate)]
    muon, rest = muon_and_adamw(model, rate, rate / 6, decay=0.0)
    return [(muon, rate), (rest, rate / 6)]


def take_step(optimizers: Optimizers, share: float) -> None:
    """One step of each at a `share` of its peak learning rate; gradients are then cleared."""
    for optimizer, peak in optimizers:
        set_rate(optimizer, peak * share)
        optimizer.step()
        optimizer.zero_grad()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step of every group be taken at `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def linear(step: int, steps: int, warmup: int, final: float = 0.0) -> float:
    """Share of the peak rate at `step` of `steps`: linear warm-up, then linear decay to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 - (1.0 - final) * (step - warmup) / max(1, steps - warmup)


def clip_gradients(parameters: Iterable[nn.Parameter], norm: float) -> float:
    """Scale gradients to at most `norm` together (0: leave them); return the norm before."""
    return float(nn.utils.clip_grad_norm_(parameters, norm or torch.inf))

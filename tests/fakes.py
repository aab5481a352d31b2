"""What the fakes of models share: groups of unequal length, and hidden states that are logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Grouped(nn.Module):
    """A model whose `forward` of (B, T) tokens is all it has."""

    def forward_groups(self, groups: Sequence[Tensor], at: Tensor | None = None) -> Tensor:
        every = torch.cat([self(group).flatten(0, 1) for group in groups])
        return every if at is None else every[at]

    def score_groups(self, groups: Sequence[Tensor], last: Tensor) -> Tensor:
        return self.forward_groups(groups, last)


class LogitModel(Grouped):
    """A policy of `words` words whose hidden states are its logits."""

    def __init__(self, words: int):
        super().__init__()
        self.lm_head = nn.Linear(words, words, bias=False).requires_grad_(False)
        self.lm_head.weight.copy_(torch.eye(words))

    def logits(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden)

"""A scalar a position: preference models and value functions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.sharing import Packed
from model.transformer import Transformer


class ScalarModel(nn.Module):
    """A transformer whose vocabulary is replaced by one number a position.

    The head starts at zero, so a new preference model is indifferent and a new value function
    predicts zero (the choice of Ziegler et al. 2019 for the value head).
    """

    def __init__(self, transformer: Transformer):
        super().__init__()
        self.transformer = transformer
        self.head = nn.Linear(transformer.config.width, 1, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def config(self):  # noqa: ANN201 - the trunk's ModelConfig
        return self.transformer.config

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scalar (B, T) float32 at every position of `tokens` (B, T) int64."""
        return self.read(self.transformer(tokens, mask))

    def score(self, tokens: Tensor, last: Tensor) -> Tensor:
        """The scalar (B,) float32 at index `last` (B,) int64, where the end-of-context token is."""
        hidden = self.transformer(tokens)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.read(hidden[rows, last])

    def score_groups(self, groups: Sequence[Tensor] | Sequence[Packed], last: Tensor) -> Tensor:
        """As `score` of groups of unequal length; `last` counts as `forward_groups` does."""
        return self.read(self.transformer.forward_groups(groups, last))

    def read(self, hidden: Tensor) -> Tensor:
        """The scalar (...) float32 that the head reads off hidden states (..., D)."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(hidden.float())[..., 0]

"""The mean of a model's weights over the last part of its training (Polyak & Juditsky 1992)."""

import torch
from torch import nn


class WeightMean:
    """Running mean of the weights that train, each step's counted alike.

    It takes out most of what the last few steps happened to show: with few steps at a high rate the
    mean ranks unseen pairs better than the weights at the end do.
    """

    def __init__(self, model: nn.Module):
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.means = [weight.detach().clone() for weight in self.weights]
        self.count = 0

    @torch.no_grad()
    def add(self) -> None:
        """Count the model's present weights."""
        self.count += 1
        for mean, weight in zip(self.means, self.weights, strict=True):
            mean.lerp_(weight, 1 / self.count)

    @torch.no_grad()
    def put(self) -> None:
        """Give the model the mean of what was counted; without any its weights stay."""
        if self.count:
            for mean, weight in zip(self.means, self.weights, strict=True):
                weight.copy_(mean)

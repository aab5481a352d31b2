"""The mean of weights over steps is the mean, and leaves alone what does not train."""

import torch
from torch import nn

from training.averaging import WeightMean


def test_the_mean_counts_every_step_alike():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    bias, mean = model.bias.clone(), WeightMean(model)
    seen = []
    for step in range(5):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, generator=torch.Generator().manual_seed(step)))
        seen.append(model.weight.detach().clone())
        mean.add()
    mean.put()
    torch.testing.assert_close(model.weight.detach(), torch.stack(seen).mean(0))
    assert torch.equal(model.bias, bias)


def test_without_steps_the_weights_stay():
    model = nn.Linear(3, 2)
    weight, mean = model.weight.detach().clone(), WeightMean(model)
    with torch.no_grad():
        model.weight += 1
    mean.put()
    assert torch.equal(model.weight, weight + 1)

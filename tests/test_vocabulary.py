"""The vocabulary in chunks: log-probabilities, and losses whose gradients equal autograd's."""

import math

import pytest
import torch
from torch import Tensor

from model import vocabulary
from model.heads import ScalarModel
from model.vocabulary import learn_tokens, token_logprobs, token_loss

TARGETS = torch.tensor([3, 1, 0, 39, 7])
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0])


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of 40 words at a time."""
    monkeypatch.setitem(vocabulary.LOGITS, "cpu", 80)


def states(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(TARGETS), 32, generator=generator, requires_grad=True)


def test_logprobs_and_entropy_of_known_distributions(tiny, monkeypatch) -> None:
    model = tiny(vocab_size=4, width=4, tied=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.eye(4))
    p = torch.tensor([0.5, 0.25, 0.125, 0.125])
    hidden = torch.stack((torch.zeros(4), p.log(), p.log() + 3.0))
    monkeypatch.setitem(vocabulary.LOGITS, "cpu", 8)
    targets = torch.tensor([3, 1, 0])
    found = token_loss(model, hidden, targets, lambda logprobs, entropy, rows: logprobs.sum(),
                       entropy=True)
    torch.testing.assert_close(found.logprobs, torch.tensor([0.25, 0.25, 0.5]).log())
    torch.testing.assert_close(found.entropy, torch.tensor([2.0, 1.75, 1.75]) * math.log(2))
    torch.testing.assert_close(token_logprobs(model, hidden[None], targets[None])[0],
                               found.logprobs)
    squared = p.square() / p.square().sum()
    cool = token_logprobs(model, hidden, targets, temperature=0.5)
    torch.testing.assert_close(
        cool, torch.stack((torch.tensor(0.25), squared[1], squared[0])).log())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("bonus", [0.0, 0.3])
def test_the_gradients_equal_autograds(tiny, small_chunks, temperature: float,
                                       bonus: float) -> None:
    """Of a loss that is no linear function of the log-probabilities, with and without entropy."""
    model, hidden = tiny(tied=False), states()

    def part(logprobs: Tensor, entropy: Tensor, rows: slice) -> Tensor:
        loss = (WEIGHTS[rows] * (0.3 * logprobs).exp()).sum()
        return loss + bonus * entropy.square().sum() if bonus else loss

    found = token_loss(model, hidden, TARGETS, part, temperature, entropy=True)
    weight = model.lm_head.weight
    every = (hidden @ weight.T / temperature).log_softmax(-1)
    of_target = every[torch.arange(len(TARGETS)), TARGETS]
    entropy = -(every.exp() * every).sum(-1)
    expected = part(of_target, entropy, slice(None))
    by_hidden, by_weight = torch.autograd.grad(expected, (hidden, weight))
    torch.testing.assert_close(found.loss, expected.detach())
    torch.testing.assert_close(found.gradient, by_hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weight.grad, by_weight, rtol=1e-4, atol=1e-5)
    token_loss(model, hidden, TARGETS, part, temperature, entropy=True)
    torch.testing.assert_close(weight.grad, 2 * by_weight, rtol=1e-4, atol=1e-5)


def test_a_frozen_vocabulary_has_no_gradient_and_passes_one_on(tiny, small_chunks) -> None:
    model, hidden = tiny().requires_grad_(False), states()
    learn_tokens(model, hidden, TARGETS)
    assert model.lm_head.weight.grad is None and hidden.grad.abs().min() > 0


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_learning_tokens_is_the_gradient_of_their_cross_entropy(tiny, small_chunks,
                                                                weights) -> None:
    """Through the whole model, tied vocabulary and embedding together."""
    model, reference = tiny(), tiny()
    tokens, places = torch.tensor([[1, 2, 3, 1, 2, 9]]), torch.tensor([0, 1, 3, 4, 5])
    loss = learn_tokens(model, model(tokens)[0][places], TARGETS, weights)
    logits = reference.lm_head(reference(tokens)[0][places])
    each = torch.nn.functional.cross_entropy(logits, TARGETS, reduction="none")
    expected = (each if weights is None else weights * each).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    for (name, one), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_no_more_than_a_chunk_of_logits_is_made_at_a_time(tiny, small_chunks) -> None:
    model, made = tiny(), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: made.append(len(output)))
    learn_tokens(model, states(), TARGETS)
    assert made == [2, 2, 1]


def test_under_autocast_entropy_stays_float32_and_no_gradient_is_lowered(tiny) -> None:
    model = tiny(vocab_size=4, width=4, tied=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.eye(4))
    hidden = torch.tensor([[0.0, 1.0, -2.0, 0.5]], requires_grad=True)  # exact in bfloat16
    given = hidden.detach(), torch.tensor([1]), lambda logprobs, entropy, rows: logprobs.sum()
    whole, lowered = token_loss(model, *given, entropy=True).entropy, []
    hidden.register_hook(lambda _: lowered.append(torch.is_autocast_enabled("cpu")))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(token_loss(model, *given, entropy=True).entropy, whole)
        learn_tokens(model, hidden, given[1])
    assert lowered == [False]


def test_a_scalar_is_read_in_float32_under_autocast(tiny) -> None:
    model = ScalarModel(tiny(width=4))
    model.head.weight.data.fill_(1.0)
    hidden = torch.tensor([1 + 2.0**-12, 0.0, 0.0, 0.0])
    with torch.autocast("cpu", torch.bfloat16):
        assert model.read(hidden).item() == 1 + 2.0**-12

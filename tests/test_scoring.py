"""The scorer against cross-entropy, and its two ways to one number."""

import pytest
import torch
import torch.nn.functional as F

from model.batches import pad_right
from model.heads import ScalarModel
from model.scoring import (
    at_response,
    score_choices,
    score_continuations,
)

PAIRS = [([5], [6, 7, 8]), ([7, 8, 9, 1], [2]), ([1, 2, 3, 4, 5, 6], [39, 0]), ([30, 31], [4] * 9),
         ([11] * 12, [12, 13]), ([3, 17], [5, 5, 5, 5])]
PROMPTS, CONTINUATIONS = [p for p, _ in PAIRS], [c for _, c in PAIRS]


def cross_entropies(model, prompt: list[int], continuation: list[int]) -> torch.Tensor:
    """Minus the loss of each continuation token, its sequence alone in the batch."""
    tokens = torch.tensor([[*prompt, *continuation]])
    with torch.no_grad():
        logits = model.logits(model(tokens[:, :-1]))[0]
    losses = F.cross_entropy(logits, tokens[0, 1:], reduction="none")
    return -losses[len(prompt) - 1:]


def test_scores_are_cross_entropies(any_family) -> None:
    for batch_tokens in (16_384, 1):
        scores = score_continuations(any_family, PROMPTS, CONTINUATIONS, batch_tokens=batch_tokens)
        for (prompt, continuation), found in zip(PAIRS, scores, strict=True):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, cross_entropies(any_family, prompt, continuation),
                                       rtol=0, atol=2e-5)


def test_temperature_divides_the_logits(tiny) -> None:
    model, halved = tiny(tied=False), tiny(tied=False)
    with torch.no_grad():
        halved.lm_head.weight.div_(2)
    hot = score_continuations(model, PROMPTS, CONTINUATIONS, temperature=2.0)
    cold = score_continuations(halved, PROMPTS, CONTINUATIONS)
    for one, other in zip(hot, cold, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_grouping_by_length_changes_nothing(tiny) -> None:
    model, forwards = tiny(), []
    model.register_forward_hook(lambda module, inputs, output: forwards.append(len(inputs[0])))
    together = score_continuations(model, PROMPTS, CONTINUATIONS)
    assert forwards == [6]
    apart = score_continuations(model, PROMPTS, CONTINUATIONS, batch_tokens=12)
    assert len(forwards) > 3 and sum(forwards) == 12
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_what_sequences_share_is_read_once_and_changes_nothing(any_family) -> None:
    """A prefix of all, more that a few share, the same prompt twice, a prompt that begins another;
    a row that is widened past the context."""
    few_shot, widths = [(7 * n) % 40 for n in range(36)], []
    ends = [[], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9], [1, 2, 3, 4, 9], [1, 2, 3, 4, 9, 9, 2], [8, 1],
            [3] * 24]
    prompts = [[*few_shot, *end] for end in ends]
    any_family.register_forward_hook(lambda module, inputs, out: widths.append(inputs[0].shape))
    continuations = [[5, 6], [7], [8, 8], [8, 9], [3], [4, 4, 4], [1, 2, 3, 4]]
    scores = score_continuations(any_family, prompts, continuations, batch_tokens=10_000)
    assert sum(width.numel() for width in widths) < sum(map(len, prompts)) / 2
    widths.clear()
    for prompt, continuation, found in zip(prompts, continuations, scores, strict=True):
        torch.testing.assert_close(found, cross_entropies(any_family, prompt, continuation),
                                   rtol=0, atol=2e-5)


def test_a_row_may_be_widened_past_the_context(tiny) -> None:
    model = tiny(context=63)
    scores = score_continuations(model, [[n % 40 for n in range(60)]] * 2, [[1, 2, 3], [4]])
    torch.testing.assert_close(scores[0], cross_entropies(model, [n % 40 for n in range(60)],
                                                          [1, 2, 3]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("choices", [
    [[4], [9], [4]], [[5, 4], [5, 9]], [[5, 6, 4], [5, 6, 9], [5, 6, 0]],
    [[4], [9, 2, 3]], [[5, 4, 1], [5, 9, 1]], [[5], [5, 9]], [[5, 6], [5, 6]]], ids=str)
def test_choices_equal_summed_continuations(tiny, choices: list[list[int]]) -> None:
    model = tiny()
    for batch_tokens in (16_384, 8):
        scores = score_choices(model, PROMPTS, choices, batch_tokens=batch_tokens)
        assert scores.shape == (len(PROMPTS), len(choices))
        for prompt, row in zip(PROMPTS, scores, strict=True):
            wanted = [cross_entropies(model, prompt, choice).sum() for choice in choices]
            torch.testing.assert_close(row, torch.stack(wanted), rtol=0, atol=5e-5)


def test_choices_of_every_word_sum_to_one(tiny) -> None:
    scores = score_choices(tiny(), PROMPTS, [[v] for v in range(40)])
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(len(PROMPTS)))


def test_at_response_by_hand() -> None:
    """Row 0 answers at 2 and 3, so from the states 1 and 2; row 1 runs over the end."""
    x = torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23]])
    assert at_response(x, torch.tensor([2, 3]), 3).tolist() == [[11, 12, 13], [22, 23, 23]]
    wide = torch.stack((x, -x), dim=-1)
    assert at_response(wide, torch.tensor([1, 4]), 1).tolist() == [[[10, -10]], [[23, -23]]]


def test_impossible_pairs_are_refused(tiny) -> None:
    for prompt, continuation in (([], [1]), ([1], [])):
        with pytest.raises(ValueError, match="pair 1: a prompt and a continuation"):
            score_continuations(tiny(), [[1], prompt], [[2], continuation])
    with pytest.raises(ValueError, match="sequence 1: 65 tokens, but the context holds 64"):
        score_continuations(tiny(), [[1], [1] * 60], [[2], [2] * 5])


def test_a_scalar_is_read_at_the_index_asked_for(tiny) -> None:
    model = ScalarModel(tiny()).eval()
    tokens, last = pad_right(PROMPTS), torch.tensor([len(p) - 1 for p in PROMPTS])
    with torch.no_grad():
        assert (model(tokens) == 0).all()
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        model.head.bias.fill_(0.5)
        scores = model.score(tokens, last)
        for prompt, score in zip(PROMPTS, scores, strict=True):
            alone = model(torch.tensor([prompt]))
            assert alone.shape == (1, len(prompt))
            torch.testing.assert_close(score, alone[0, -1], rtol=0, atol=2e-5)


def test_a_scalar_is_the_same_in_groups_of_unequal_length(tiny) -> None:
    model = ScalarModel(tiny()).eval()
    model.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    groups = [torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([[7, 8]])]
    with torch.no_grad():
        together = model.score_groups(groups, torch.tensor([3, 5, 9]))
        alone = torch.cat([model.score(groups[0], torch.tensor([3, 1])),
                           model.score(groups[1], torch.tensor([1]))])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)

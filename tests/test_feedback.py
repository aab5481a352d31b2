"""AI feedback: both orders, principles, examples, reasoning. Scorer and sampler are functions."""

import math
from collections import Counter

import pytest

from cai.constitution import Constitution, FeedbackExample, FeedbackPrinciple
from cai.feedback import label_pairs, longest_question, sample_pairs
from cai.records import Comparison, Prompt

PRINCIPLES = tuple(FeedbackPrinciple(f"p{i}", f"prefer by rule {i}") for i in range(6))
EXAMPLE = FeedbackExample(("shown",), "shown one", "shown two", (), 1)
HELD = FeedbackExample(("held",), "held one", "held two", PRINCIPLES[2:4], 0)
REASONED = FeedbackExample(("why",), "why one", "why two", (), 0, reasoning="shown reasoning")
CONSTITUTION = Constitution((), PRINCIPLES, (), (EXAMPLE, HELD), (REASONED,))


def pairs(count):
    return [Comparison(f"c{i}", f"id{i}", ("question",), "red_team", 0, 0, ("good", "bad"), ())
            for i in range(count)]


class Judge:
    """P(letter) is proportional to its reply's worth times the letter's pull; (A) pulls 3 to 1."""

    worth = {"good": 4.0, "bad": 1.0}
    pull = (3.0, 1.0)

    def __init__(self):
        self.prompts = []

    def __call__(self, prompts, choices):
        assert choices == (" (A)", " (B)")
        self.prompts += prompts
        rows = []
        for prompt in prompts:
            options = prompt.split("Options:\n")[-1].split("\n\n")[0].split("\n")
            assert [line[:4] for line in options] == ["(A) ", "(B) "]
            rows.append(tuple(math.log(self.worth[line[4:]] * pull) - 7.0
                              for line, pull in zip(options, self.pull, strict=True)))
        return rows


def echo(prompts, keys):
    return [f"<{key}>" for key in keys]


def run(count=1, **options):
    judge = Judge()
    labels = label_pairs(pairs(count), CONSTITUTION, judge, **({"seed": 1} | options))
    return labels, judge.prompts


def test_both_orders_keep_raw_log_probs_of_the_letters_for_each_response():
    ((label,),), prompts = run()
    assert label.source == "model" and label.swapped == (False, True) and label.reasoning == ()
    straight, turned = label.logprobs
    assert straight == pytest.approx((math.log(12) - 7, math.log(1) - 7))
    assert turned == pytest.approx((math.log(4) - 7, math.log(3) - 7))
    assert label.preference == pytest.approx((12 / 13 + 4 / 7) / 2)
    assert prompts[0].endswith("\n(A) good\n(B) bad\n\nThe answer is:")
    assert prompts[1].endswith("\n(A) bad\n(B) good\n\nThe answer is:")


def test_a_judge_that_only_likes_a_letter_prefers_nothing_in_both_orders():
    class Partial(Judge):
        worth = {"good": 1.0, "bad": 1.0}

    ((label,),) = label_pairs(pairs(1), CONSTITUTION, Partial(), seed=0)
    assert label.preference == pytest.approx(0.5)


def test_one_order_is_drawn_evenly():
    labels, prompts = run(400, both_orders=False)
    assert len(prompts) == 400
    swapped = Counter(label.swapped for (label,) in labels)
    assert abs(swapped[(True,)] - 200) < 50 and set(swapped) == {(True,), (False,)}
    for (label,) in labels:
        expected = 4 / 7 if label.swapped[0] else 12 / 13
        assert label.preference == pytest.approx(expected)


def test_principles_are_drawn_without_replacement_and_evenly():
    labels, prompts = run(600, principles=3)
    assert len(prompts) == 600 * 3 * 2
    drawn = [tuple(label.principle for label in each) for each in labels]
    assert all(len(set(each)) == 3 for each in drawn)
    counts = Counter(name for each in drawn for name in each)
    assert max(abs(count - 300) for count in counts.values()) < 5 * (600 * 0.25) ** 0.5
    every, _ = run(1, principles=6)
    assert {label.principle for label in every[0]} == {p.id for p in PRINCIPLES}


def test_each_question_names_its_label_s_principle_after_the_examples():
    labels, prompts = run(20, principles=2)
    names = [label.principle for each in labels for label in each for _ in label.swapped]
    for name, prompt in zip(names, prompts, strict=True):
        assert prompt.split("Principle: ")[-1].startswith(f"prefer by rule {name[1:]}\n")


def test_each_example_has_a_principle_drawn_for_it_and_equal_in_both_orders():
    _, prompts = run(300)
    assert all(a.split("question")[0] == b.split("question")[0]
               for a, b in zip(prompts[::2], prompts[1::2], strict=True))
    shown = [[part.split("\n")[0][-1] for part in prompt.split("Principle: ")[1:]]
             for prompt in prompts[::2]]
    assert all(len(each) == 3 for each in shown)
    free, held, asked = (Counter(column) for column in zip(*shown, strict=True))
    assert set(free) == set("012345") and set(held) == {"2", "3"} and set(asked) == set("012345")
    together = sum(a == c for a, _, c in shown)
    assert abs(together - 50) < 5 * (300 * 5 / 36) ** 0.5
    assert prompts[0].count("The answer is: (B)") == 1
    assert prompts[0].count("The answer is: (A)") == 1
    assert "shown" not in run(examples=False)[1][0]


def test_reasoning_comes_first_and_is_kept():
    asked = []

    def reason(prompts, keys):
        asked.extend(zip(prompts, keys, strict=True))
        return echo(prompts, keys)

    labels, prompts = run(3, principles=2, reason=reason)
    assert len({key for _, key in asked}) == len(asked) == 12
    texts = [text for each in labels for label in each for text in label.reasoning]
    assert texts == [f"<{key}>" for _, key in asked]
    for (first, _), text, then in zip(asked, texts, prompts, strict=True):
        assert first.endswith("\n\nLet's think step by step:")
        assert then == f"{first} {text}\n\nThe answer is:"
        assert first.count("shown reasoning") == 1 and "shown one" not in first


def test_a_label_is_the_same_alone_and_in_company():
    together, _ = run(5, principles=2, reason=echo)
    alone = [label_pairs([pair], CONSTITUTION, Judge(), seed=1, principles=2, reason=echo)[0]
             for pair in pairs(5)]
    assert together == alone
    assert run(5, principles=2, seed=2)[0] != run(5, principles=2)[0]


def test_pairs_are_two_samples_with_noise_of_their_own():
    prompts = [Prompt(f"id{i}", (f"q{i}",), kind) for i, kind in
               enumerate(("red_team", "helpful"))]
    found = sample_pairs(prompts, lambda asked, keys: [
        f"{prompt[9:11]} {key}" for prompt, key in zip(asked, keys, strict=True)],
        seed=4, draws=2)
    assert [(pair.prompt, pair.kind, pair.draw) for pair in found] == [
        ("id0", "red_team", 0), ("id0", "red_team", 1), ("id1", "helpful", 0),
        ("id1", "helpful", 1)]
    replies = [reply for pair in found for reply in pair.responses]
    assert len(set(replies)) == 8 and len({pair.id for pair in found}) == 4
    assert all(reply.startswith(pair.turns[0]) for pair in found for reply in pair.responses)


def test_impossible_options_are_refused():
    for principles in (0, 7):
        with pytest.raises(ValueError, match="principles a pair"):
            run(principles=principles)
    with pytest.raises(ValueError, match="scores"):
        label_pairs(pairs(1), CONSTITUTION, lambda prompts, choices: [], seed=0)


@pytest.mark.parametrize("reasoned", [False, True])
@pytest.mark.parametrize("examples", [False, True])
def test_the_longest_question_is_the_longest_that_is_asked(reasoned, examples):
    wordy = FeedbackPrinciple("wordy", "prefer what is said in the longest way of all")
    constitution = Constitution((), (*PRINCIPLES, wordy), (), (EXAMPLE, HELD), (REASONED,))
    judge = Judge()
    label_pairs(pairs(200), constitution, judge, seed=1, principles=2, examples=examples,
                reason=(lambda prompts, keys: ["why."] * len(prompts)) if reasoned else None)
    written = len("question" + "good" + "bad" + "why." * reasoned)
    longest = longest_question(constitution, len, examples, reasoned)
    assert max(map(len, judge.prompts)) + len(" (A)") == written + longest

"""Differences between two models, against cases whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

import evaluate
from cai.compare import (
    compare_replies,
    compare_shares,
    difference_table,
    paired_difference,
    read_replies,
    read_shares,
    unpaired_difference,
)
from cai.constitution import FeedbackPrinciple
from cai.evaluation import Reply
from cai.faithfulness import coverage, faithfulness, never_exercised, principle_table
from cai.records import InputError, Label, write_jsonl
from cai.statistics import wilson_interval
from training.options import Common


def reply(model: str, number: int, kind: str = "red_team", grade: str = "comply",
          steps: bool = True, text: str = "text", **more: object) -> Reply:
    return Reply(f"{model}{kind}{number}", model, f"{kind}{number}", ("Hello?",), kind, text,
                 grade, steps, False, **more)


def test_a_pair_of_equal_models_differs_in_nothing_and_pairs_narrow_the_interval():
    outcomes = np.random.default_rng(0).random(400) < 0.5
    same = paired_difference(outcomes, outcomes, seed=1)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0) and not same.clear
    better = outcomes.copy()
    better[:30] = True
    paired = paired_difference(outcomes, better, seed=1)
    apart = unpaired_difference(*({"value": each.mean(), "trials": 400,
                                   **dict(zip(("low", "high"), wilson_interval(
                                       int(each.sum()), 400), strict=True))}
                                  for each in (outcomes, better)))
    assert paired.value == pytest.approx(apart.value) and paired.value > 0.01
    assert paired.clear and not apart.clear
    assert paired.high - paired.low < (apart.high - apart.low) / 2
    with pytest.raises(ValueError, match="found 2 and 1"):
        paired_difference([0, 1], [1], seed=0)


def test_the_interval_covers_the_true_difference():
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(100):
        first = generator.random(150)
        gain = generator.normal(0.1, 0.3, 150)
        found = paired_difference(first, first + gain, trial, resamples=200)
        covered += found.low <= 0.1 <= found.high
    assert 88 <= covered <= 100


def test_newcombe_by_its_published_example():
    """56 of 70 less 48 of 80 is 0.2, with the interval 0.0524 to 0.3339 (Newcombe 1998)."""
    first, second = ({"value": hits / trials, "trials": trials,
                      **dict(zip(("low", "high"), wilson_interval(hits, trials, 1.959964),
                                 strict=True))} for hits, trials in ((48, 80), (56, 70)))
    found = unpaired_difference(first, second)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert found.count == 70 and found.clear


def test_shares_of_replies_are_compared_prompt_by_prompt():
    first = [reply("a", n) for n in range(10)] + [reply("a", n, "helpful") for n in range(10)]
    second = [reply("b", n, steps=n < 4, grade="comply" if n < 4 else "reasoned")
              for n in reversed(range(10))]
    second += [reply("b", n, "helpful", "wrong" if n == 0 else "comply") for n in range(10)]
    found = compare_replies(first, second, seed=0, resamples=200,
                            judge=lambda one, other: float(one.gives_steps < other.gives_steps))
    assert (found["harmful"].first, found["harmful"].second) == (1.0, 0.4)
    assert found["harmful"].value == pytest.approx(-0.6) and found["harmful"].clear
    assert found["reasoned"].second == pytest.approx(0.6) and found["reasoned"].count == 10
    assert found["helpful"].value == pytest.approx(-0.1) and not found["helpful"].clear
    assert "dual_harmful" not in found and "preference" not in found, "nothing to compare there"
    assert found["elo_harmlessness"].second > 100, "the second wins whenever it gives no steps"
    assert "harmful" in difference_table(found) and "-0.600*" in difference_table(found)
    with pytest.raises(ValueError, match="found 1 prompts"):
        compare_replies(first, second[1:], seed=0)


def test_offers_are_compared_where_both_decline_and_words_on_every_harmful_request():
    declines = [reply("a", n, grade="reasoned", steps=False, offers=n < 2) for n in range(4)]
    others = [reply("b", n, grade="reasoned" if n else "evasive", steps=False, offers=True,
                    text="Not this one.") for n in range(4)]
    helped = [[reply(model, 9, "helpful", text=words, offers=True)]
              for model, words in (("a", "one"), ("b", "one and two and three"))]
    found = compare_replies(declines + helped[0], others + helped[1], seed=0)
    assert (found["offers"].first, found["offers"].second) == (pytest.approx(1 / 3), 1.0)
    assert found["offers"].count == 3, "the second dodges the first request"
    assert (found["words"].first, found["words"].second) == (1.0, 3.0)
    assert found["words"].count == 4, "help is not measured by its length"
    unknown = [reply("c", n, grade="reasoned", steps=False) for n in range(4)]
    assert "offers" not in compare_replies(unknown, unknown, seed=0)


def test_scores_are_compared_where_nothing_is_graded():
    first, second = ([reply(model, n, score=n + gain, grade=None) for n in range(5)]
                     for model, gain in (("a", 0.0), ("b", 2.0)))
    found = compare_replies(first, second, seed=0)
    assert found.keys() == {"preference", "words"} and found["preference"].value == 2.0


def test_what_two_evaluations_left_on_disk(tmp_path: Path):
    for name, hits in (("a", 8), ("b", 4)):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "replies.jsonl", [reply("rl_cai", n) for n in range(3)])
        low, high = wilson_interval(hits, 10)
        bounds = {"low": low, "high": high, "trials": 10}
        nothing = {"low": 0.0, "high": 1.0, "trials": 0}
        for file, value, unknown in (("report", hits / 10, None),
                                     ("report_intervals", bounds, nothing)):
            (tmp_path / name / f"{file}.json").write_text(json.dumps({
                "revisions": [value], "labels": {"agreement": unknown},
                "pm": {"accuracy": value}}))
    found = compare_shares(read_shares(tmp_path / "a"), read_shares(tmp_path / "b"))
    assert found.keys() == {"revisions_0", "pm_accuracy"}
    assert found["revisions_0"].value == pytest.approx(-0.4)
    assert len(read_replies(tmp_path / "a", "rl_cai")) == 3
    with pytest.raises(InputError, match="found no reply of base"):
        read_replies(tmp_path / "a", "base")


def labels(**preferences: float) -> tuple[Label, ...]:
    return tuple(Label("model", value, name) for name, value in preferences.items())


def test_faithfulness_is_the_mean_preference_under_each_principle():
    found = faithfulness([labels(kind=0.9, short=0.2), labels(kind=0.7, short=0.2)], seed=0)
    assert found["kind"].value == pytest.approx(0.8) and found["kind"].count == 2
    assert found["kind"].low == pytest.approx(0.7) and found["kind"].high == pytest.approx(0.9)
    assert found["short"].value == found["short"].low == pytest.approx(0.2)


def test_coverage_counts_the_labels_that_a_principle_turns():
    """"short" stands alone twice in four prompts; on a tie nobody turns anything."""
    found = coverage([labels(kind=0.9, true=0.8, fair=0.8, short=0.1),
                      labels(kind=0.9, true=0.8, fair=0.8, short=0.9),
                      labels(kind=0.1, true=0.3, fair=0.2, short=0.9),
                      labels(kind=0.5, true=0.5, fair=0.5, short=0.5)], seed=0)
    assert {name: mean.value for name, mean in found.items()} == {
        "kind": 0.0, "true": 0.0, "fair": 0.0, "short": 0.5}
    assert 0.0 <= found["short"].low < 0.5 < found["short"].high <= 1.0
    principles = [FeedbackPrinciple(name, "Choose.") for name in ("kind", "short", "new")]
    assert never_exercised(principles, found) == ["kind", "new"]
    told = principle_table(faithfulness([labels(kind=0.9)], 0), found)
    assert "0.900 [0.900, 0.900]" in told and "| short" in told
    with pytest.raises(ValueError, match="found 1 labels"):
        coverage([labels(kind=0.9)], seed=0)


def test_two_evaluations_of_one_model_are_compared_by_the_script(world_base: Path, tmp_path: Path):
    """An evaluation and itself differ in nothing, and no principle prefers either."""
    common = Common(name="one", runs=tmp_path / "runs")
    evaluate.main(evaluate.Options(base=world_base, requests=6, chains=2, pairs=2, principles=1,
                                   resamples=20, common=common))
    folder = tmp_path / "runs" / "one" / "evaluate"
    found = evaluate.main(evaluate.Options(
        base=world_base, compare=(folder, folder), compared="base", pairs=2, resamples=20,
        common=common))
    assert {"harmful", "helpful", "elo_harmlessness", "revisions_0"} <= found["differences"].keys()
    for name, each in found["differences"].items():
        assert each["first"] == each["second"] and each["low"] <= 0.0 <= each["high"], name
    assert len(found["faithfulness"]) == len(found["coverage"]) == 16
    for each in found["faithfulness"].values():
        assert each["value"] == pytest.approx(0.5), "both replies are the same, in both orders"
    assert len(found["never_exercised"]) == 16
    with pytest.raises(InputError, match="found no reply of rl_cai"):
        evaluate.main(evaluate.Options(compare=(folder, folder), common=common))

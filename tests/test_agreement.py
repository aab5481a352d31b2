"""Agreement with people: the published files, made-up judges whose figures are known, the script.
"""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

import evaluate
from cai import formats
from cai.agreement import (
    HELPFUL,
    agreement_of,
    agreement_report,
    by_subset,
    people_kappa,
    under,
    verdict,
)
from cai.annotated import read, read_pairs
from cai.constitution import load_constitution
from cai.feedback import Judge, askable, label_pairs
from cai.records import Comparison, InputError, Label
from cai.statistics import Mean, cohen_kappa
from training.options import Common, OptionError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PANDA, BAR = DATA / "PandaLM", DATA / "LLMBar"
SMALL = load_constitution("constitutions/small.toml")
A, B = (0.0, -800.0), (-800.0, 0.0)


def panda(**changes: object) -> dict:
    """A row of the shape of PandaLM's."""
    return {"idx": 0, "motivation_app": "x", "cmp_key": "x_y", "instruction": "Add.",
            "input": "1 and 1", "response1": "good", "response2": "bad", "annotator1": 1,
            "annotator2": 1, "annotator3": 2} | changes


def bar(**changes: object) -> dict:
    """A row of the shape of LLMBar's."""
    return {"input": "Add.", "output_1": "bad", "output_2": "good", "label": 2} | changes


def pair(*said: float, responses: tuple[str, str] = ("good", "bad")) -> Comparison:
    return Comparison("x", "y", ("Why?",), "helpful", 0, 0, responses,
                      tuple(Label("people", each) for each in said))


def label(*rows: tuple[float, float]) -> Label:
    """A judge's label in both orders; a row is (first, second), whichever stood as (A)."""
    return Label("model", 0.5, "p", rows, (False, True))


def letters(answer) -> Judge:
    """A judge that is sure of the letter that `answer` gives for what stands as (A) and as (B)."""
    def score(prompts, choices):
        shown = (prompt.rsplit("\n(A) ", 1)[1].removesuffix("\n\nThe answer is:").split("\n(B) ")
                 for prompt in prompts)
        return [(-0.01, -5.0) if answer(*both) == "A" else (-5.0, -0.01) for both in shown]
    return Judge(score, lambda prompt, choices: True)


def find_good(first: str, second: str) -> str:
    return "A" if first == "good" else "B"


def test_both_published_forms_are_read(tmp_path):
    (tmp_path / "Natural").mkdir()
    (tmp_path / "Natural" / "dataset.json").write_text(json.dumps([bar(), bar(label=1)]))
    (tmp_path / "testset-v1.json").write_text(json.dumps([
        panda(), panda(instruction=" ", annotator3=0), panda(input="", response1=7)]))
    (tmp_path / "other.json").write_text("{")
    found = read(tmp_path)
    assert {name: len(pairs) for name, pairs in found.items()} == {"Natural": 2, "testset-v1": 3}
    assert [each.preference for row in found["Natural"] for each in row.labels] == [0.0, 1.0]
    first, blank, bare = found["testset-v1"]
    assert (first.turns, blank.turns, bare.turns) == (("Add.\n\n1 and 1",), ("1 and 1",), ("Add.",))
    assert [each.preference for each in blank.labels] == [1.0, 1.0, 0.5]
    assert first.responses == ("good", "bad") and bare.responses == ("7", "bad")
    assert len({each.id for each in found["testset-v1"]}) == 3
    assert read(tmp_path / "Natural" / "dataset.json") == {"Natural": found["Natural"]}


@pytest.mark.parametrize(("wrong", "told"), [
    (bar(label=0), "found label 0"), (bar(label=True), "found label True"),
    (bar(label=[1]), r"found label \[1\]"), (bar(input=""), "nothing in input"),
    (panda(annotator2=3), "found annotator2 3"), (panda(annotator3=None), "annotator3 None"),
    (panda(instruction="", input=" "), "nothing in instruction or input"),
    (panda(response2=None), "no text as response2"), (bar(output_1={}), "no text as output_1"),
    ({}, "no text as instruction"), (3, "no object"), (bar(output_2="\ud800"), "surrogate")])
def test_a_bad_row_is_named_by_its_line(tmp_path, wrong, told):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps([bar(), panda(), wrong, bar()], indent=2))
    rows = "[\n" + ",\n".join(json.dumps(row, indent=2) for row in (bar(), panda())) + ",\n"
    with pytest.raises(InputError, match=f"{path}:{rows.count(chr(10)) + 1}: .*{told}"):
        read_pairs(path)


@pytest.mark.parametrize(("text", "told"), [
    ("", "empty file"), ("[]", "empty list"), ("{}", "JSON list"), ('[\n{"input": }]', ":2: "),
    ("plain", "JSON list"), ('[1]\n[2]', "no object")])
def test_a_broken_file_is_refused(tmp_path, text, told):
    path = tmp_path / "testset-v1.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_pairs(path)
    with pytest.raises(InputError, match="none.json"):
        read(tmp_path / "none.json")
    path.rename(tmp_path / "other")
    with pytest.raises(InputError, match="found no file"):
        read(tmp_path)


@pytest.mark.parametrize(("said", "wanted"), [
    ((1.0,), 1.0), ((0.0, 1.0, 0.0), 0.0), ((0.5, 0.5, 1.0), 0.5), ((0.0, 0.5, 1.0), None),
    ((1.0, 0.0), None), ((1.0, 1.0, 0.5), 1.0)])
def test_most_people_give_the_verdict(said, wanted):
    assert verdict(pair(*said).labels) == wanted


def test_kappa_is_that_of_others():
    one, other = [0, 1, 1, 2, 0, 1, 2, 2, 1], [0, 1, 2, 2, 1, 1, 0, 2, 1]
    assert cohen_kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))
    assert cohen_kappa("abab", "abab") == 1.0 and cohen_kappa("abab", "baba") == -1.0
    assert cohen_kappa("aabb", "abab") == 0.0
    assert cohen_kappa("aa", "aa") is None and cohen_kappa("", "") is None
    triples = list(zip(one, other, [1, 1, 0, 2, 0, 1, 2, 0, 1], strict=True))
    by_hand = [cohen_kappa_score(*zip(*[(row[a], row[b]) for row in triples], strict=True))
               for a, b in ((0, 1), (0, 2), (1, 2))]
    assert people_kappa([pair(*(n / 2 for n in row)) for row in triples]) == pytest.approx(
        sum(by_hand) / 3)
    assert people_kappa([pair(1.0)]) is None and people_kappa([]) is None


def test_every_figure_by_hand():
    pairs = [pair(1.0, 1.0, 1.0), pair(1.0, 1.0, 0.0), pair(0.0, 0.0, 0.5), pair(0.5, 0.5, 1.0),
             pair(0.0, 0.5, 1.0)]
    labels = [label(A, A), label(B, (-1.0, -1.0)), label(A, (-2.0, -1.0)), label(B, B),
              label(A, A)]
    found = agreement_of(pairs, labels, left_out=5, seed=0, resamples=20)
    # Decided are the first three: right; wrong, one order on 1/2; wrong, the orders apart.
    assert (found.accuracy.hits, found.accuracy.trials) == (1, 3)
    assert found.one_order.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.judge_with_one.value == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found.one_with_another.value == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert (found.flips.hits, found.flips.trials) == (1, 5)
    assert (found.ties, found.split) == (1, 1)
    assert (found.left_out.hits, found.left_out.trials) == (5, 10)
    # P((A)) by order: A first and then as (B); the swapped order turns the second row.
    third = 1 / (1 + math.e)
    wanted = [(1 + 0) / 2, (0 + 0.5) / 2, (1 + 1 - third) / 2, (0 + 1) / 2, (1 + 0) / 2]
    assert found.position_bias.value == pytest.approx(sum(wanted) / 5 - 0.5)


def test_a_letter_alone_tells_nothing_and_shows_as_bias():
    subsets = {"one": [pair(1.0), pair(1.0)], "other": [pair(0.0, responses=("bad", "good"))]}

    def ask(judge: Judge) -> dict:
        return by_subset(subsets, {"one": 1, "other": 0}, under(SMALL, None), judge,
                         examples=False, seed=0, resamples=20)

    always = ask(letters(lambda first, second: "A"))["all"]
    assert always.position_bias.value == pytest.approx(0.5, abs=0.01)
    assert always.flips.value == 1.0 and always.one_order.value == 0.5
    knows = ask(letters(find_good))
    assert list(knows) == ["one", "other", "all"]
    assert all(each.accuracy.value == 1.0 and each.flips.value == 0.0 for each in knows.values())
    assert knows["all"].position_bias.value == pytest.approx(0.0)
    assert (knows["all"].left_out.hits, knows["all"].left_out.trials) == (1, 4)
    assert (knows["other"].kappa, knows["other"].one_with_another) == (None, None)
    against = ask(letters(lambda *both: "B" if find_good(*both) == "A" else "A"))
    assert against["all"].accuracy.value == 0.0


@pytest.mark.parametrize("reason", [None, lambda prompts, keys: [""] * len(prompts)])
def test_what_must_fit_is_what_is_asked(reason):
    """Both orders with their examples; without a text yet where there is to be a reasoning."""
    english = under(load_constitution("constitutions/english.toml"), None)
    pairs = [dataclasses.replace(pair(1.0), id=name, responses=("good", name)) for name in "xyz"]
    looked, scored = [], []

    def fits(prompt, choices):
        looked.append(prompt)
        return "(A) y" not in prompt

    def score(prompts, choices):
        scored.extend(prompts)
        return [(-1.0, -1.0)] * len(prompts)

    kept = askable(pairs, english, Judge(score, fits, reason), seed=0)
    assert [each.id for each in kept] == ["x", "z"]
    label_pairs(pairs, english, score, seed=0, reason=reason)
    assert looked == scored and len(set(scored)) == 6


def test_the_principle_is_one_of_the_constitution_or_helpfulness():
    assert under(SMALL, None).feedback == (HELPFUL,)
    named = SMALL.feedback[3]
    assert under(SMALL, named.id).feedback == (named,)
    assert under(SMALL, None).feedback_examples == SMALL.feedback_examples
    with pytest.raises(InputError, match=f"--principle: found none, expected .*{named.id}"):
        under(SMALL, "none")


def test_the_report_holds_each_figure_with_its_ends():
    found = {"x": agreement_of([pair(1.0, 1.0)], [label(A, A)], 1, seed=0, resamples=5)}
    figures, bounds, table = agreement_report(found)
    assert figures["agreement"]["x"]["accuracy"] == 1.0
    assert figures["agreement"]["x"]["left_out"] == 0.5 and figures["agreement"]["x"]["ties"] == 0
    assert figures["agreement"]["x"]["kappa"] is None
    assert bounds["agreement"]["x"]["accuracy"]["trials"] == 1
    assert 0 < bounds["agreement"]["x"]["accuracy"]["low"] < 1
    assert isinstance(found["x"].one_order, Mean) and "| x " in table
    json.dumps((figures, bounds), allow_nan=False)


def test_the_script_asks_a_judge_and_reports_by_subset(world_base, tmp_path, capsys):
    folder, runs = tmp_path / "bar", Common(runs=tmp_path / "runs")
    for name, rows in (("Natural", [bar(input=f"Add {n}.") for n in range(3)]),
                       ("Manual", [bar(), bar(output_1="long " * 4000)])):
        (folder / name).mkdir(parents=True)
        (folder / name / "dataset.json").write_text(json.dumps(rows))
    asked = {"agreement": folder, "model": (world_base,), "common": runs, "max_reasoning": 4}
    for more in ({}, {"reasoning": True, "principle": SMALL.feedback[0].id}):
        figures = evaluate.main(evaluate.Options(**asked, **more))["agreement"]
        assert list(figures) == ["Manual", "Natural", "all"]
        assert [each["left_out"] for each in figures.values()] == [0.5, 0.0, 0.2]
        assert -0.5 <= figures["all"]["position_bias"] <= 0.5
        assert "| Manual" in capsys.readouterr().out
    with pytest.raises(InputError, match="found no pair that fits"):
        (folder / "Manual" / "dataset.json").write_text(json.dumps([bar(input="long " * 4000)]))
        evaluate.main(evaluate.Options(**asked | {"agreement": folder / "Manual"}))
    with pytest.raises(OptionError, match="--principle"):
        evaluate.Options(principle="harm", base=world_base)


@pytest.mark.skipif(not (PANDA.exists() and BAR.exists()),
                    reason=f"no {DATA}: the shared data is not beside this checkout")
def test_the_published_files():
    (pairs,) = read(PANDA).values()
    verdicts = Counter(verdict(each.labels) for each in pairs)
    assert len(pairs) == 742 and verdicts == {1.0: 325, 0.0: 328, 0.5: 89}
    assert people_kappa(pairs) == pytest.approx(0.85, abs=0.005)
    found = read(BAR)
    assert {name: len(each) for name, each in found.items()} == {"Natural": 100, "MT-Bench": 200}
    # The first annotator as the judge, who is one of the majority more often than another person.
    rows = {1.0: A, 0.0: B, 0.5: (-1.0, -1.0)}
    labels = [label(*[rows[each.labels[0].preference]] * 2) for each in pairs]
    told = agreement_of(pairs, labels, 0, seed=0, resamples=50)
    assert told.one_with_another.low < told.one_with_another.value < told.accuracy.value < 1
    backwards = agreement_of(pairs, [label(*(row[::-1] for row in each.logprobs))
                                     for each in labels], 0, seed=0, resamples=50)
    assert backwards.accuracy.value == pytest.approx(1 - told.accuracy.value)
    assert formats.feedback_prompt(pairs[0].turns, *pairs[0].responses, HELPFUL).count("\n(A) ")

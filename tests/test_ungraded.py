"""Evaluation without a grader: multiple choice, a judge's games, the report on prompts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
from cai.constitution import Constitution, FeedbackPrinciple
from cai.elo import Rating
from cai.evaluation import Reply
from cai.kinds.choices import Choice
from cai.records import InputError
from cai.ungraded import answered, choice_report, judged_games, outcome, prompts_report, with_answer
from training.options import Common, OptionError

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT.parent / "shared" / "data" / "ConstitutionalHarmlessnessPaper" / "evals"
STORIES = ROOT.parent / "shared" / "data" / "stories260K" / "hf"
TWO, THREE = (" (A)", " (B)"), (" yes", " no", " perhaps")
CHOICES = [Choice("a", TWO, 0), Choice("b", THREE, 2), Choice("c", TWO, 1), Choice("d", TWO, 1)]
CONSTITUTION = Constitution((), tuple(FeedbackPrinciple(f"p{n}", f"Choose {n}.") for n in range(3)))


def test_the_likeliest_option_answers():
    asked = []

    def score(prompts, options):
        asked.append((prompts, options))
        return [tuple(float(n == 1) for n in range(len(options))) for _ in prompts]

    assert answered(CHOICES, score) == [False, False, True, True]
    assert asked == [(["a", "c", "d"], TWO), (["b"], THREE)]


def test_accuracy_stands_beside_chance():
    report, bounds, table = choice_report(CHOICES, [True, False, True, True], left_out=5)
    assert report["multiple_choice"] == {
        "accuracy": 0.75, "chance": pytest.approx((3 / 2 + 1 / 3) / 4), "questions": 4,
        "left_out": 5}
    limits = bounds["multiple_choice"]["accuracy"]
    assert 0 < limits["low"] < 0.75 < limits["high"] < 1
    assert "| accuracy" in table and "| 0.458" in table


def test_questions_without_a_right_option_are_not_asked():
    unknown = Choice("x", TWO, None)
    assert with_answer("f", [unknown, CHOICES[0]]) == [CHOICES[0]]
    with pytest.raises(InputError, match="f: found no question with a right option"):
        with_answer("f", [unknown])


@pytest.mark.parametrize(("rows", "score"), [
    ([(-1, -2), (-1, -3)], 1.0), ([(-2, -1), (-3, -1)], 0.0), ([(-1, -2), (-2, -1)], 0.5),
    ([(-1, -1), (-1, -1)], 0.5), ([(-1, -2), (-1, -1)], 0.5), ([(-1, -2)], 1.0)])
def test_a_win_in_both_orders_or_a_tie(rows, score):
    assert outcome(rows) == score


def replies_of(name: str, texts: list[str], kind: str = "red_team") -> list[Reply]:
    return [Reply(f"{name}{n}", name, f"{n}", ("Why?",), kind, text)
            for n, text in enumerate(texts)]


def test_a_judge_plays_every_two_models_in_both_orders():
    replies = {name: replies_of(name, [f"{name} one", f"{name} two"]) for name in "xyz"}

    def prefers_x_and_the_second(prompts, choices):
        rows = []
        for prompt in prompts:
            first, second = prompt.rsplit("(A) ", 1)[1].split("\n(B) ")
            rows.append((0.0, -9.0) if first[0] == "x" else (-9.0, 0.0))
        return rows

    games = judged_games(replies, CONSTITUTION, prefers_x_and_the_second, seed=0, principles=2,
                         examples=False)
    assert games == [("x", "y", 1.0)] * 2 + [("x", "z", 1.0)] * 2 + [("y", "z", 0.5)] * 2
    assert judged_games({"x": replies["x"]}, CONSTITUTION, prefers_x_and_the_second, seed=0,
                        principles=1, examples=False) == []


def test_the_report_has_every_figure_by_kind_of_prompt():
    replies = {"base": [*replies_of("base", ["Yes.", "I can't do that."]),
                        *replies_of("base", ["Here to help!", "So."], "helpful")]}
    elos = {"red_team": {"base": Rating(0.0, -5.0, 5.0)}}
    report, bounds, table = prompts_report(replies, elos, seed=0, resamples=10)
    harmful, helpful = report["models"]["base"]["red_team"], report["models"]["base"]["helpful"]
    assert (harmful["refusal"], harmful["boilerplate"], harmful["elo"]) == (0.5, 0.0, 0.0)
    assert (helpful["refusal"], helpful["boilerplate"], helpful["elo"]) == (0.0, 0.5, None)
    assert harmful["preference"] is None and harmful["distinct"] == 1.0
    assert bounds["models"]["base"]["red_team"]["elo"] == {"low": -5.0, "high": 5.0}
    assert "0 [-5, 5]" in table and table.count("\n") == 3


def test_the_script_on_multiple_choice(world_base, tmp_path, capsys):
    path = tmp_path / "choices.jsonl"
    rows = [{"prompt": f"Which is it, {n}?\n\nThe answer is:", "corrects": [" (A)"],
             "incorrects": [" (B)"]} for n in range(5)]
    rows.append({**rows[0], "prompt": "long " * 4000})
    path.write_text("\n".join(map(json.dumps, rows)))
    report = evaluate.main(evaluate.Options(multiple_choice=path, model=(world_base,),
                                            common=Common(runs=tmp_path / "runs")))
    figures = report["multiple_choice"]
    assert (figures["questions"], figures["left_out"], figures["chance"]) == (5, 1, 0.5)
    assert figures["accuracy"] in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert "| chance" in capsys.readouterr().out
    path.write_text(json.dumps(rows[-1]))
    with pytest.raises(InputError, match="no question that fits"):
        evaluate.main(evaluate.Options(multiple_choice=path, model=(world_base,),
                                       common=Common(runs=tmp_path / "runs")))


def test_a_model_and_a_file_go_together(tmp_path):
    for options in ({"model": tmp_path}, {"multiple_choice": tmp_path}):
        with pytest.raises(OptionError, match="--model"):
            evaluate.Options(**options)


@pytest.mark.skipif(not PAPER.is_dir(), reason=f"no {PAPER}: the shared data is not at hand")
@pytest.mark.parametrize(("name", "chance"), [
    ("438HHHEvaluations", 0.5), ("HarmfulVsEthical", 0.5), ("HarmfulnessClassification", 1 / 9)])
def test_the_command_on_the_papers_files(tmp_path, name, chance):
    command = [sys.executable, "evaluate.py", "--multiple-choice", str(PAPER / f"{name}.jsonl"),
               "--model", str(STORIES), "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (file,) = tmp_path.glob("default/evaluate/report.json")
    figures = json.loads(file.read_text())["multiple_choice"]
    assert figures["chance"] == pytest.approx(chance) and figures["questions"] > 30
    assert 0 < figures["accuracy"] < 1
    assert f"{figures['accuracy']:.3f} [" in done.stdout

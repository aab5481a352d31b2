"""Multiple choice: at once or after a reasoning, one model or several of unequal size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
from cai import formats
from cai.feedback import Judge
from cai.kinds.choices import Choice
from cai.multiple_choice import answered, choice_report, fits, with_answer
from cai.records import InputError
from cai.sizes import by_size
from model.checkpoint import load_model, load_tokenizer, save_model
from model.text import ChoiceScorer
from training.options import Common, OptionError

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT.parent / "shared" / "data" / "ConstitutionalHarmlessnessPaper" / "evals"
STORIES = ROOT.parent / "shared" / "data" / "stories260K" / "hf"
TWO, THREE = (" (A)", " (B)"), (" yes", " no", " perhaps")
CHOICES = [Choice("a", TWO, 0), Choice("b", THREE, 2), Choice("c", TWO, 1), Choice("d", TWO, 1)]


def judge(score, reason=None, fits=lambda prompt, options: True) -> Judge:
    return Judge(score, fits, reason)


def test_the_likeliest_option_answers():
    asked = []

    def score(prompts, options):
        asked.append((prompts, options))
        return [tuple(float(n == 1) for n in range(len(options))) for _ in prompts]

    assert answered(CHOICES, judge(score)) == [False, False, True, True]
    assert asked == [(["a", "c", "d"], TWO), (["b"], THREE)]


def test_the_choice_follows_the_reasoning():
    """The reasoning names an option; the score is for the option that the text names last."""
    def reason(prompts, keys):
        assert len(set(keys)) == 4 and all(p.endswith("Let's think step by step:") for p in prompts)
        return [f"It is {'perhaps' if prompt[0] == 'b' else '(B)'}." for prompt in prompts]

    def score(prompts, options):
        assert all(prompt.endswith("\n\nThe answer is:") for prompt in prompts)
        return [tuple(float(f"is{each}." in prompt) for each in options) for prompt in prompts]

    assert answered(CHOICES, judge(score, reason)) == [False, True, True, True]


@pytest.mark.parametrize(("asked", "thinking"), [
    ("Which?\n (A) x\nThe answer is:", "Which?\n (A) x\n\nLet's think step by step:"),
    ("\n\nHuman: Which?\n\nAssistant:",
     "\n\nHuman: Which?\n\nAssistant: Let's think step by step:"),
    ("Which?", "Which?\n\nLet's think step by step:")])
def test_the_reasoning_stands_before_the_answer(asked, thinking):
    assert formats.thinking_prompt(asked) == thinking
    assert formats.thought_prompt(asked, "So.") == f"{thinking} So.\n\nThe answer is:"


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
    for options in ({"model": (tmp_path,)}, {"multiple_choice": tmp_path},
                    {"model": (tmp_path,), "multiple_choice": tmp_path, "bbq": tmp_path}):
        with pytest.raises(OptionError, match="--model"):
            evaluate.Options(**options)


def test_room_is_left_for_the_reasoning(world_base):
    score = ChoiceScorer(load_model(world_base), load_tokenizer(world_base))
    length = len(score.tokenizer.encode("why"))
    room = score.model.config.context - length - max(
        len(score.tokenizer.encode_more(each, "why")) for each in TWO)
    assert score.fits("why", TWO, room) and not score.fits("why", TWO, room + 1)
    seen = []
    fits(CHOICES[0], judge(None, lambda: None, lambda *asked: seen.append(asked)))
    fits(CHOICES[0], judge(None, None, lambda *asked: seen.append(asked)))
    assert seen == [("a\n\nLet's think step by step: \n\nThe answer is:", TWO), ("a", TWO)]


def test_reports_stand_side_by_side_from_the_smallest_model():
    def report(share):
        return ({"x": {"a": share, "n": 3, "none": None}}, {"x": {"a": {"low": 0.1, "high": 0.9}}},
                "")

    figures, bounds, table = by_size([("large", 2000, report(0.75)), ("small", 10, report(0.5))])
    assert list(figures["models"]) == ["small", "large"]
    assert figures["models"]["large"] == {"parameters": 2000,
                                          "x": {"a": 0.75, "n": 3, "none": None}}
    assert bounds["models"]["small"]["x"]["a"]["low"] == 0.1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")]
    assert cells[0] == ["figure", "small", "large"] and cells[2] == ["parameters", "10", "2,000"]
    assert cells[3] == ["x.a", "0.500 [0.100, 0.900]", "0.750 [0.100, 0.900]"]
    assert cells[4:] == [["x.n", "3", "3"], ["x.none", "-", "-"]]


def test_the_script_on_several_models_after_reasoning(world_base, tiny, tmp_path, capsys):
    path, other = tmp_path / "choices.jsonl", tmp_path / "other"
    tokenizer = load_tokenizer(world_base)
    save_model(tiny(vocab_size=len(tokenizer), context=200), other, tokenizer)
    path.write_text("\n".join(json.dumps({
        "prompt": f"Which is it, {n}?\n\nThe answer is:", "corrects": [" (A)"],
        "incorrects": [" (B)"]}) for n in range(4)))
    report = evaluate.main(evaluate.Options(
        multiple_choice=path, model=(world_base, other), reasoning=True, max_reasoning=8,
        common=Common(runs=tmp_path / "runs")))
    models = report["models"]
    assert models.keys() == {str(world_base), str(other)}
    sizes = [each["parameters"] for each in models.values()]
    assert sizes == sorted(sizes) and len(set(sizes)) == 2
    assert all(each["multiple_choice"]["questions"] == 4 for each in models.values())
    assert "| multiple_choice.accuracy" in capsys.readouterr().out


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

"""An experiment from its file to its report: a toy of two seeds, run, killed, planned, published.
"""

import dataclasses
import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from cai.constitution import load_constitution
from cai.records import InputError
from experiments import __main__ as command
from experiments import constitution, drawing, report, results, runner, specification
from experiments.side_by_side import carry_out
from experiments.specification import FOLDER, load
from training.options import Common
from training.stage import NotMadeError, only_made

ROOT = Path(__file__).resolve().parent.parent
TOY = '''
question = "Does a critique help a toy?"
claim = "Criticised revisions are shorter."
place = "nowhere"
seeds = 2
drawn = ["harmful", "words", "harmful over words"]

[steps.train_base]
layers = 1
width = 32
heads = 2
mlp = 64
constitution = "CONSTITUTION"

[steps.make_revisions]
steps = 1
max_new = 12
constitution = "CONSTITUTION"

[steps.measure]
chains = "make_revisions/revisions.jsonl"
constitution = "CONSTITUTION"

[variants.critiqued]

[variants.direct.make_revisions]
critiques = false

[[parts]]
says = "Words"
effect = "critiqued.words_1 - direct.words_1"
claim = "below"
margin = 0.5
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file of the toy, in which its runs and its report come to lie."""
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "toy.toml").write_text(
        TOY.replace("CONSTITUTION", str(ROOT / "constitutions/small.toml")))
    return folder


@pytest.fixture(autouse=True)
def toys_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (specification, command, report):
        monkeypatch.setattr(module, "FOLDER", folder)


def options(folder: Path, **given: object) -> command.Options:
    return command.Options("toy", scale=0.01, device="cpu", runs=folder / "runs",
                           docs=folder / "docs", **{"jobs": 1} | given)


@pytest.fixture(scope="module")
def ran(folder: Path) -> Path:
    """The folder of the toy's results, after one of its stages was killed and the run went on."""
    toy = runner.Runner(load(folder / "toy.toml"), Common(device="cpu", runs=folder / "runs"), 0.01)
    toy.make("critiqued", 0, "make_revisions")
    with pytest.MonkeyPatch.context() as patch:
        for module in (specification, command, report):
            patch.setattr(module, "FOLDER", folder)
        command.main(options(folder, jobs=2))
    return folder / "runs" / "experiments" / "toy"


def test_before_the_run_all_is_to_be_run(folder: Path, tmp_path: Path, capsys) -> None:
    dry = command.Options("toy", scale=0.01, device="cpu", runs=tmp_path, dry_run=True)
    command.main(dry)
    told = capsys.readouterr().out
    # One base model for all seeds; revisions and figures of two variants under two seeds.
    assert "train_base: 1 to run" in told and "make_revisions: 4 to run" in told
    assert "0 stages are there, 9 to run" in told and "what is unknown" in told
    assert not list(tmp_path.iterdir())


def test_every_seed_and_variant_is_measured(ran: Path) -> None:
    found = json.loads((ran / "results.json").read_text())
    assert found["seeds"].keys() == {"0", "1"}
    for figures in found["seeds"].values():
        assert figures.keys() == {"critiqued", "direct"}
        assert figures["critiqued"]["words_0"] == figures["direct"]["words_0"]
        assert figures["critiqued"] != figures["direct"]  # one mean of a few replies may coincide
        assert 0 <= figures["direct"]["harmful_1"] <= 1
    assert found["seeds"]["0"] != found["seeds"]["1"]
    assert found["seconds"] > 0 and found["commit"] and found["machine"]
    assert (ran / "figure.png").read_bytes()[1:4] == b"PNG"
    assert "<svg" in (ran / "figure.svg").read_text()
    assert "| words_1" in (ran / "table.md").read_text()
    # Two seeds are too few, whatever came out.
    assert (ran / "verdict.md").read_text().startswith("**It is not decided here** (nowhere)")


def test_stages_are_shared_and_not_run_again(ran: Path, folder: Path, capsys) -> None:
    stages = [json.loads(path.read_text())["stage"]
              for path in (folder / "runs" / "stages").glob("*/manifest.json")]
    assert stages.count("train_base") == 1 and stages.count("make_revisions") == 4
    command.main(options(folder, dry_run=True))
    assert "9 stages are there, 0 to run: 0.0 minutes" in capsys.readouterr().out
    before = (ran / "results.json").read_text()
    (ran / "results.json").unlink()
    begun = time.monotonic()
    command.main(options(folder))
    assert time.monotonic() - begun < 30
    assert json.loads((ran / "results.json").read_text())["seeds"] == json.loads(before)["seeds"]
    command.main(options(folder, dry_run=True, seeds=3))
    told = capsys.readouterr().out
    assert "make_revisions: 2 to run, 0." in told and "about" not in told.splitlines()[-2]


def test_the_report_is_of_whole_runs_of_what_is_stated(ran: Path, folder: Path) -> None:
    path = ran / "results.json"
    kept = json.loads(path.read_text())
    publish = command.Options(report=True, runs=folder / "runs", docs=folder / "docs")
    with pytest.raises(InputError, match="no results at full size"):
        command.main(publish)
    path.write_text(json.dumps(kept | {"scale": 1.0}))
    command.main(publish)
    told = json.loads((folder / "docs" / "experiments" / "toy.json").read_text())
    assert {"name", "claim", "verdict", "effect", "interval", "test", "seeds", "seconds",
            "commit"} <= told.keys()
    assert told["verdict"] == "undecided" and told["seeds"] == 2
    assert told["effect"] == pytest.approx(sum(
        each["critiqued"]["words_1"] - each["direct"]["words_1"]
        for each in kept["seeds"].values()) / 2)
    text = (folder / "docs" / "experiments.md").read_text()
    assert "| [toy](#toy)" in text and "experiments/toy.png" in text and kept["machine"] in text
    assert (folder / "docs" / "experiments" / "toy.png").read_bytes()[1:4] == b"PNG"
    stated = (folder / "toy.toml").read_text()
    (folder / "toy.toml").write_text('reading = "Toys are small."\n' + stated)
    command.main(publish)  # what was read into the results afterwards does not void them
    assert "\n\nToys are small.\n\n" in (folder / "docs" / "experiments.md").read_text()
    (folder / "toy.toml").write_text(stated)
    path.write_text(json.dumps(kept | {"scale": 1.0, "digest": "another"}))
    with pytest.raises(InputError, match="another statement of toy"):
        command.main(publish)
    path.write_text(json.dumps(kept))


def test_only_what_is_made_already(tmp_path: Path) -> None:
    asked = constitution.Options(ROOT / "constitutions/small.toml", keep=2,
                                 common=Common(name="cut", seed=1, runs=tmp_path))
    with only_made(), pytest.raises(NotMadeError):
        constitution.main(asked)
    assert not list(tmp_path.iterdir())
    stay = constitution.main(asked)
    with only_made():
        assert constitution.main(asked) == stay
    cut = load_constitution(tmp_path / "cut/constitution/constitution.toml")
    whole = load_constitution(ROOT / "constitutions/small.toml")
    assert [each.id for each in cut.feedback] == stay["feedback"] and len(cut.revisions) == 2
    assert {*cut.feedback} <= {*whole.feedback}
    with pytest.raises(InputError, match="found no principle hram, expected"):
        constitution.main(dataclasses.replace(asked, without=("harm", "hram")))


def test_the_principles_that_labels_do_without_are_feedback_s() -> None:
    """One of the revisions' alone would leave the labels as they were."""
    ensemble = load(FOLDER / "ensemble.toml")
    gone = ensemble.options("fifteen-less-one", "constitution")["without"]
    whole = load_constitution(ROOT / "constitutions/small.toml")
    assert gone and {*gone} <= {each.id for each in whole.feedback}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_every_experiment_can_be_planned(name: str, tmp_path: Path) -> None:
    """Every option is one that its script has, every output one that an earlier step makes."""
    asked = runner.Runner(load(FOLDER / f"{name}.toml"), Common(device="cpu", runs=tmp_path))
    work = runner.planned(asked, seeds=2)
    measured = [job.script for job in work.wanted.values()].count("measure")
    assert measured == 2 * len(asked.experiment.variants)


@pytest.mark.parametrize(("old", "new", "told"), [
    ("critiques = false", "critique = false", "found option critique, expected one of"),
    ('claim = "below"', 'claim = "less"', "found claim 'less'"),
    ("direct.words_1\"", "plain.words_1\"", "found variant 'plain'"),
    ("margin = 0.5", "margin = 0", "a margin above 0"),
    ("[variants.direct.make_revisions]", "[variants.direct.make_all]", r"found \['make_all'\]"),
    ("seeds = 2", "", r"found \['seeds'\] missing or unknown"),
    ("seeds = 2", "seeds =", "found no experiment"),
])
def test_a_wrong_file_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert TOY.count(old) == 1
    path = tmp_path / "wrong.toml"
    path.write_text(TOY.replace(old, new))
    with pytest.raises(InputError, match=told):
        runner.planned(runner.Runner(load(path), Common(runs=tmp_path)), 1)


def test_a_claim_stated_anew_has_seeds_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "anew.toml"
    path.write_text(TOY.replace("seeds = 2", "seeds = 2\nfirst_seed = 5").replace(
        "CONSTITUTION", str(ROOT / "constitutions/small.toml")))
    work = runner.planned(runner.Runner(load(path), Common(runs=tmp_path)), 2)
    seeds = {job.options["common"]["seed"] for job in work.wanted.values()
             if job.script == "measure"}
    assert seeds == {5, 6}


def test_the_paragraph_says_what_was_found(folder: Path) -> None:
    toy = load(folder / "toy.toml")
    seeds = {str(n): {"critiqued": {"words_1": 5.0 + n / 10}, "direct": {"words_1": 9.0}}
             for n in range(4)}
    judged = results.judge(toy, {
        "seeds": seeds, "seconds": 1, "commit": "c", "machine": "m", "date": "d", "model": ""})
    assert judged["verdict"] == "holds" and judged["effect"] == pytest.approx(-3.85)
    told = results.paragraph(judged)
    assert told.startswith("**The claim holds here** (nowhere). Words: holds, -3.8500 [-4.05")
    assert "claimed below 0, margin 0.5; two-sided paired t test, 4 seeds: t(3)" in told
    assert told.endswith(").")
    same = results.judge(toy, {
        "seeds": {n: each | {"direct": each["critiqued"] | {"seconds": float(n)}}
                  for n, each in seeds.items()},
        "seconds": 1, "commit": "c", "machine": "m", "date": "d", "model": ""})
    assert results.paragraph(same).endswith(
        " critiqued and direct came out alike to the last digit: nothing differed.")
    level = judged["parts"][0] | {"verdict": "equivalent"}
    for parts, whole in (([level], "The variants are equivalent within the stated margin"),
                         ([*judged["parts"], level], "The claim holds in part here: elsewhere")):
        told = results.paragraph(judged | {"verdict": "equivalent", "parts": parts})
        assert told.startswith(f"**{whole}")


def test_what_a_stage_beside_others_raises_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    whole = ROOT / "constitutions/small.toml"
    path.write_text(TOY.replace("CONSTITUTION", str(whole)).replace(
        "[steps.make_revisions]\n", f"[steps.constitution]\nconstitution = '{whole}'\nkeep = 99\n"
        "[steps.make_revisions]\n").replace(
        f'max_new = 12\nconstitution = "{whole}"',
        'max_new = 12\nconstitution = "constitution/constitution.toml"'))
    asked = runner.Runner(load(path), Common(device="cpu", runs=tmp_path / "runs"), 0.01)
    work = runner.planned(asked, seeds=1)
    cut = {recipe: job for recipe, job in work.wanted.items() if job.script == "constitution"}
    with pytest.raises(InputError, match="expected 99 or more"):
        carry_out(asked, runner.Work(cut), jobs=2)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_every_numbered_figure_is_measured(name: str, tmp_path: Path) -> None:
    """A part's FIGURE_N is one that a chain of N revisions, or a model kept after N steps, has."""
    asked = runner.Runner(load(FOLDER / f"{name}.toml"), Common(runs=tmp_path))

    def of(variant: str, step: str) -> object:
        script, given = asked.recipe(variant, step)
        return asked.built(script, given | {key: Path() for key, value in given.items()
                                            if asked.source(value)}, asked.common)

    for part in asked.experiment.parts:
        for _, variant, figure in part.terms:
            if number := re.fullmatch(r".*_(\d+)", figure):
                measured, there = of(variant, "measure"), set()
                if measured.chains:
                    there |= {*range(of(variant, "make_revisions").steps + 1)}
                if measured.snapshots:
                    learning = of(variant, "train_ppo")
                    there |= {*range(0, learning.steps + 1, learning.snapshots)}
                assert int(number[1]) in there, f"{part.effect}: {sorted(there)}"


def test_a_commit_is_marked_where_code_differs_and_not_where_results_do(tmp_path: Path) -> None:
    assert results.commit(tmp_path) == "unknown"
    made = tmp_path / "benchmarks" / "results" / "day.md"
    made.parent.mkdir(parents=True)
    code = tmp_path / "code.py"
    for path in (made, code):
        path.write_text("before")
    for arguments in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b",
                                                     "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    clean = results.commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{10}", clean)
    made.write_text("after")
    assert results.commit(tmp_path) == clean
    code.write_text("after")
    assert results.commit(tmp_path) == f"{clean}-dirty"


def test_the_same_results_are_drawn_as_the_same_file(tmp_path: Path) -> None:
    seeds = [{"one": {"words": 1.0 + n}, "other": {"words": 2.0 - n}} for n in range(3)]
    files = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        drawing.draw(tmp_path / place / "figure", seeds, ["words"])
        files.append((tmp_path / place / "figure.svg").read_bytes())
    assert files[0] == files[1]

"""Bad input to the scripts: exit status 2, one line on stderr that says where, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import chat
import evaluate
import make_comparisons
import make_revisions
import run_cai
import train_base
import train_pm
import train_ppo
import train_sl
from cai.records import InputError, Revision, read_jsonl
from training.options import start

ROOT = Path(__file__).resolve().parent.parent
LONG = "Tell me a very long story. " * 200

Told = Callable[..., str]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs in which every stage was made before."""
    (tmp_path / "runs" / "default").mkdir(parents=True)
    (tmp_path / "runs" / "stages" / "old").mkdir(parents=True)
    for name in run_cai.STAGES:
        (tmp_path / "runs" / "default" / name).symlink_to(Path("..") / "stages" / "old")
    (tmp_path / "runs" / "stages" / "old" / "manifest.json").write_text("{}")
    return tmp_path / "runs"


@pytest.fixture
def told(runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Told:
    """The one line that a script tells of its arguments before it ends with status 2."""

    def line(script: ModuleType, *arguments: object) -> str:
        monkeypatch.chdir(ROOT)
        where = ["--runs", str(runs)]
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments), *where])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            start(script.main, script.Options, (InputError,))
        captured = capfd.readouterr()
        assert ended.value.code == 2 and captured.out == ""
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
        assert {path.readlink().name for path in (runs / "default").iterdir()} == {"old"}
        return captured.err

    return line


def copied(world_base: Path, folder: Path, **changes: object) -> Path:
    """A copy of the base model whose config has these changes; None takes a field out."""
    shutil.copytree(world_base, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(
        {name: value for name, value in config.items() if value is not None}))
    return folder


def test_a_missing_checkpoint(told: Told, world_base: Path, tmp_path: Path) -> None:
    absent, ok = tmp_path / "absent", world_base
    assert str(absent) in told(make_revisions, "--model", absent)
    assert str(absent) in told(make_comparisons, "--model", ok, "--judge", absent)
    line = told(train_ppo, "--model", ok, "--preference-model", ok)
    assert f"{ok / 'head.safetensors'}: found no such file, expected the head" in line
    partial = copied(world_base, tmp_path / "partial")
    (partial / "model.safetensors").unlink()
    assert f"{partial / 'model.safetensors'}: found no such file" in told(
        chat, "--model", partial, "--prompt", "hello")


def test_a_malformed_checkpoint(told: Told, world_base: Path, tmp_path: Path) -> None:
    lacking = copied(world_base, tmp_path / "lacking", hidden_size=None)
    assert f"{lacking / 'config.json'}: found no field 'hidden_size'" in told(
        make_revisions, "--model", lacking)
    wide = copied(world_base, tmp_path / "wide", hidden_size=64)
    line = told(make_revisions, "--model", wide)
    assert "found tensor model.embed_tokens.weight of shape" in line
    assert str(wide) in line and "expected [" in line
    broken = copied(world_base, tmp_path / "broken")
    (broken / "config.json").write_text('{"hidden_size": 32')
    assert f"{broken / 'config.json'}: found no JSON" in told(make_revisions, "--model", broken)
    cut = copied(world_base, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:500])
    assert f"{cut / 'model.safetensors'}: found no readable weights" in told(
        make_revisions, "--model", cut)


def test_a_constitution_with_a_missing_field(told: Told, world_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[revision]]\nid = "kind"\ncritique_request = "Is it kind?"\n')
    for script, arguments in ((make_revisions, ["--model", world_base]), (train_base, []),
                              (make_comparisons, ["--model", world_base, "--judge", world_base])):
        assert f"{path}:revision 1 (kind): found no revision_request" in told(
            script, *arguments, "--constitution", path)
    path.write_text('[[feedback]]\nid = "kind"\nprinciple = "Choose the kinder reply."\n')
    assert f"{path}: found no principle, expected [[revision]]" in told(
        make_revisions, "--model", world_base, "--constitution", path)


def test_a_json_line_that_does_not_parse(told: Told, world_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    chain = Revision("0", "p", ("Hello?",), "helpful", 0, 0, "Hello.", ())
    path.write_text(json.dumps(vars(chain)) + '\n{"id": \n')
    line = told(train_sl, "--model", world_base, "--chains", path)
    assert f"{path}:2: found no JSON" in line and "expected a Revision in one line" in line
    assert f"{path}:1: found Comparison without" in told(
        train_pm, "--model", world_base, "--comparisons", path)
    path.write_text('{"prompt": "one"}\n{"prompt": "two"\n')
    assert f"{path}:2: found no JSON" in told(
        make_revisions, "--model", world_base, "--red-team", path)


def test_a_prompt_longer_than_the_context(told: Told, world_base: Path, world_preference: Path,
                                          tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(f"{LONG}\n")
    asked = f"{path}: found no prompt that fits the model's context"
    assert asked in told(make_revisions, "--model", world_base, "--red-team", path)
    assert asked in told(make_revisions, "--model", world_base, "--helpful", path)
    assert asked in told(make_comparisons, "--model", world_base, "--judge", world_base,
                         "--red-team", path)
    assert asked in told(train_ppo, "--model", world_base, "--preference-model",
                         world_preference, "--red-team", path)
    assert "found a turn longer than the model's context" in told(
        chat, "--model", world_base, "--prompt", LONG)


def test_prompts_that_fit_are_used_and_the_others_counted(runs: Path, world_base: Path,
                                                          tmp_path: Path, capsys) -> None:
    path = tmp_path / "mixed.txt"
    path.write_text(f"{LONG}\nHow do I read my diary?\nHow do I fix my boat?\nHow?\n")
    made = make_revisions.main(make_revisions.Options(
        world_base, helpful=path, helpful_prompts=2, helpful_draws=1, red_team_prompts=0,
        max_new=4, common=make_revisions.Common(runs=runs)))
    assert made == {"chains": 0, "helpful": 2}
    assert f"{path}: left out 1 of 3 prompts, longer than" in capsys.readouterr().err
    chains = read_jsonl(runs / "default" / "make_revisions" / "revisions.jsonl", Revision)
    assert [chain.turns for chain in chains] == [("How do I read my diary?",),
                                                 ("How do I fix my boat?",)]


def test_an_empty_or_absent_prompt_file(told: Told, world_base: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    for path, found in ((empty, f"{empty}:1: found an empty file, expected at least one row"),
                        (tmp_path / "absent.csv", "No such file")):
        line = told(make_revisions, "--model", world_base, "--red-team", path)
        assert found in line and str(path) in line
    assert f"{empty}:1" in told(make_comparisons, "--model", world_base, "--judge", world_base,
                                "--red-team", empty)


@pytest.mark.parametrize(("script", "arguments", "found"), [
    (train_base, "--rate -1", "--rate: found -1.0, expected a positive number"),
    (make_revisions, "--model M --temperature -0.5", "--temperature: found -0.5, expected 0 or"),
    (make_revisions, "--model M --rows 0", "--rows: found 0, expected 1 or more"),
    (train_sl, "--model M --chains R --revisions last", "--revisions: found last, expected all"),
    (make_comparisons, "--model M --judge M --noise 0.9", "--noise: found 0.9, expected 0 to 0.5"),
    (make_comparisons, "--model M --judge M --principles 99", "--principles: found 99, expected"),
    (make_comparisons, "--model M --judge M --red-team R --people all", "--people: found all"),
    (train_pm, "--model M --comparisons R --held-out 1", "--held-out: found 1.0, expected a share"),
    (train_ppo, "--model M --preference-model M --ppo.clip 0", "clip: found 0.0, expected"),
    (train_ppo, "--model M --preference-model M --ppo.lam 2", "lam: found 2.0, expected"),
    (train_ppo, "--model M --preference-model M --rollouts 1", "--rollouts: found 1, expected"),
    (train_ppo, "--model M --preference-model M --max-new 0", "--max-new: found 0, expected 1"),
    (run_cai, "--scale 0", "--scale: found 0.0, expected a share above 0"),
    (evaluate, "--base M --requests 0", "--requests: found 0, expected at least 1"),
    (chat, "--model M --max-new 0", "--max-new: found 0, expected 1 or more"),
])
def test_an_option_out_of_range(told: Told, script, arguments: str, found: str) -> None:
    assert found in told(script, *arguments.split())


@pytest.mark.parametrize(("command", "found"), [
    ("train_ppo.py --model M --preference-model M --ppo.clip 0", "clip: found 0.0"),
    ("make_revisions.py --model absent", "absent"),
])
def test_the_scripts_themselves(tmp_path: Path, command: str, found: str) -> None:
    done = subprocess.run([sys.executable, *command.split(), "--runs", str(tmp_path)], cwd=ROOT,
                          capture_output=True, text=True, env={**os.environ, "TQDM_DISABLE": "0"})
    assert (done.returncode, done.stdout) == (2, "")
    assert found in done.stderr and done.stderr.count("\n") == 1

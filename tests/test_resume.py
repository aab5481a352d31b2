"""PPO goes on after a kill as if nothing had happened: same weights, metrics and figures."""

import json
from pathlib import Path

import pytest
import torch

import train_ppo
from model.adapters import PROJECTIONS, LoRA
from model.checkpoint import load_model
from rl.options import PPOOptions
from training.log import Log
from training.options import Common

STEPS = 4


class Killed(Exception):
    """Stands for whatever ends a process."""


def train(world_base: Path, world_preference: Path, runs: Path, **changes: object) -> Path:
    """Train a few steps, with every part that has a state; the stage's folder.

    The KL coefficient adapts, and rows are shuffled into minibatches.
    """
    train_ppo.main(train_ppo.Options(
        model=world_base, preference_model=world_preference, held_out=world_preference,
        steps=STEPS, rollouts=8, max_new=8, keep_every=2, policy_rate=2e-3, warmup=2,
        ppo=PPOOptions(minibatches=2, kl_target=0.1, kl_horizon=100, chunk_rows=4),
        common=Common(name="run", runs=runs), **changes))
    return runs / "run" / "train_ppo"


@pytest.fixture(scope="module")
def uninterrupted(world_base, world_preference, tmp_path_factory) -> Path:
    return train(world_base, world_preference, tmp_path_factory.mktemp("uninterrupted"))


def killed_in_step(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end when the metrics of `step` are to be written."""
    write = Log.write

    def ends(self: Log, number: int, **metrics: float) -> None:
        if number == step:
            self.file.write('{"step": ')
            raise Killed
        write(self, number, **metrics)

    monkeypatch.setattr(Log, "write", ends)


def killed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end after the last step, before the checkpoint is written."""

    def ends(*arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(train_ppo, "save_model", ends)


@pytest.mark.parametrize(("step", "first"), [(0, 0), (1, 0), (2, 2), (3, 2), (None, STEPS)])
def test_killed_and_resumed_is_uninterrupted(step: int | None, first: int, uninterrupted: Path,
                                             world_base, world_preference, tmp_path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at_the_end(patch) if step is None else killed_in_step(step, patch)
        train(world_base, world_preference, tmp_path)
    (folder,) = (tmp_path / "stages").iterdir()
    assert (folder / "resume.pt").exists() == (first > 0)
    assert not (folder / "manifest.json").exists() and not (tmp_path / "run").exists()

    asked, sample = [], train_ppo.sample
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_ppo, "sample", lambda actors, prompts, number, *rest: (
            asked.append(number), sample(actors, prompts, number, *rest))[1])
        resumed = train(world_base, world_preference, tmp_path)
    assert asked == list(range(first, STEPS))
    assert {path.name for path in resumed.iterdir()} == {
        "manifest.json", "metrics.jsonl", "model", "timing.json"}
    for name in ("manifest.json", "metrics.jsonl", "model/model.safetensors"):
        assert (resumed / name).read_bytes() == (uninterrupted / name).read_bytes(), name


@pytest.mark.parametrize("changes", [
    {"shared_trunk": True}, {"lora": LoRA(2)}, {"shared_trunk": True, "lora": LoRA(2)}], ids=str)
def test_so_it_does_on_one_trunk_and_with_adapters(changes: dict, world_base, world_preference,
                                                   tmp_path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_in_step(3, patch)
        train(world_base, world_preference, tmp_path / "killed", **changes)
    resumed = train(world_base, world_preference, tmp_path / "killed", **changes)
    whole = train(world_base, world_preference, tmp_path / "whole", **changes)
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    first = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])
    assert first["first_ratio"] < 1e-4 and first["value_loss"] > 0
    trained, base = (load_model(folder).state_dict() for folder in (whole / "model", world_base))
    moved = {name.split(".")[-2] for name in base if not torch.equal(trained[name], base[name])}
    assert moved == set(PROJECTIONS) if "lora" in changes else moved > set(PROJECTIONS)


def test_the_run_learns_something(uninterrupted: Path, world_base: Path) -> None:
    """Otherwise the comparison above would hold of a resume that forgot everything."""
    trained = load_model(uninterrupted / "model").state_dict()
    base = load_model(world_base).state_dict()
    assert any(not torch.equal(trained[name], base[name]) for name in base)

"""Metrics: one JSON line a step always, a bar on stderr, wandb only where asked."""

import json
import sys
from pathlib import Path

import pytest

from training.log import Log


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_step_is_one_line_at_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with Log(tmp_path, "train_x", 2) as log:
        log.write(0, loss=1.5, norm=2.0)
        assert lines(tmp_path) == [{"step": 0, "loss": 1.5, "norm": 2.0}]
        log.write(1, loss=0.5, norm=1.0)
    assert lines(tmp_path)[1] == {"step": 1, "loss": 0.5, "norm": 1.0}
    captured = capsys.readouterr()
    assert "train_x" in captured.err and "2/2" in captured.err and captured.out == ""


def test_the_bar_counts_what_has_no_metrics(tmp_path: Path, capsys) -> None:
    with Log(tmp_path, "sample", 10, unit="text") as log:
        log.advanced(7)
        log.advanced(3)
    assert "10/10" in capsys.readouterr().err
    assert lines(tmp_path) == []


def written(folder: Path, count: int) -> None:
    with Log(folder, "stage", count) as log:
        for step in range(count):
            log.write(step, loss=float(step))


def test_a_fresh_start_drops_old_lines(tmp_path: Path) -> None:
    written(tmp_path, 3)
    written(tmp_path, 1)
    assert [line["step"] for line in lines(tmp_path)] == [0]


def test_going_on_drops_the_lines_of_later_steps(tmp_path: Path, capsys) -> None:
    written(tmp_path, 5)
    with Log(tmp_path, "stage", 5, resume_at=2) as log:
        assert [line["step"] for line in lines(tmp_path)] == [0, 1]
        log.write(2, loss=20.0)
    assert [line["loss"] for line in lines(tmp_path)] == [0.0, 1.0, 20.0]
    assert "3/5" in capsys.readouterr().err


def test_going_on_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    with Log(tmp_path, "stage", 5, resume_at=2):
        pass
    assert [line["step"] for line in lines(tmp_path)] == [0, 1]
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.jsonl"]


class FakeWandb:
    """Remembers what it was told, as module and as run."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def init(self, **options: object) -> "FakeWandb":
        self.told.append(("init", options["name"], options["dir"]))
        return self

    def log(self, metrics: dict, step: int) -> None:
        self.told.append(("log", step, metrics))

    def finish(self, exit_code: int) -> None:
        self.told.append(("finish", exit_code))


def test_wandb_is_imported_only_when_asked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    written(tmp_path, 1)
    with pytest.raises(ImportError):
        Log(tmp_path, "stage", 1, "wandb")


def test_wandb_hears_every_step_and_how_it_ended(tmp_path: Path, monkeypatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(KeyError), Log(tmp_path, "stage", 2, "wandb") as log:
        log.write(0, loss=1.0)
        raise KeyError
    assert fake.told == [("init", "stage", str(tmp_path)), ("log", 0, {"loss": 1.0}),
                         ("finish", 1)]
    assert lines(tmp_path) == [{"step": 0, "loss": 1.0}]


def test_wandb_works_offline_without_an_account(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with Log(tmp_path, "stage", 1, "wandb") as log:
        log.write(0, loss=1.0)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))

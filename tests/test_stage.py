"""A stage on disk: what names its folder, when it is run again, what a kill leaves."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from training import stage as module
from training.options import Common
from training.stage import Stage, digest_path, source_digests, source_files, write_json


@dataclass(frozen=True)
class Nested:
    share: float = 0.5


@dataclass(frozen=True)
class Options:
    data: Path
    extra: Path | None = None
    size: int = 3
    nested: Nested = Nested()
    common: Common = Common()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own: script.py imports room/part.py; room/apart.py is imported by none."""
    root = tmp_path / "project"
    (root / "room").mkdir(parents=True)
    (root / "script.py").write_text("import json\nfrom room.part import value\n")
    (root / "room" / "part.py").write_text("value = 1\n")
    (root / "room" / "apart.py").write_text("other = 2\n")
    (tmp_path / "data.txt").write_text("one\n")
    monkeypatch.setattr(module, "ROOT", root)
    return root


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(tmp_path / "data.txt", common=Common(name="run", runs=tmp_path / "runs"))


def opened(project: Path, options: Options) -> Stage:
    """The stage "double" of these options, as a process of its own opens it."""
    source_digests.cache_clear()
    return Stage("double", str(project / "script.py"), options, options.common,
                 {"data": options.data, "extra": options.extra})


def run(project: Path, options: Options) -> tuple[Stage, bool]:
    """Double the data as a script would; also whether anything was done."""
    stage = opened(project, options)
    if stage.done:
        return stage, False
    (stage.path / "doubled.txt").write_text(options.data.read_text() * 2)
    stage.finish({"lines": 2})
    return stage, True


def with_common(options: Options, **changes: object) -> Options:
    return dataclasses.replace(options, common=dataclasses.replace(options.common, **changes))


def test_the_same_options_and_inputs_are_not_run_again(project: Path, options: Options) -> None:
    first, ran = run(project, options)
    assert ran and not (project.parent / "runs" / "stages" / "x").exists()
    second, ran_again = run(project, options)
    assert not ran_again and second.path == first.path
    assert second.figures == {"lines": 2}


@pytest.mark.parametrize("change", [
    {"size": 4}, {"nested": Nested(0.6)}, {"common": {"seed": 1}}, {"common": {"dtype": "bf16"}},
])
def test_a_changed_option_makes_another_stage(project, options, change) -> None:
    first, _ = run(project, options)
    other = (with_common(options, **change["common"]) if "common" in change
             else dataclasses.replace(options, **change))
    second, ran = run(project, other)
    assert ran and second.digest != first.digest
    assert (first.path / "doubled.txt").exists()


@pytest.mark.parametrize("change", [
    {"name": "another"}, {"device": "cpu"}, {"log": "wandb"}, {"compile": True},
])
def test_where_a_stage_runs_does_not_matter(project, options, change) -> None:
    first, _ = run(project, options)
    second, ran = run(project, with_common(options, **change))
    assert not ran and second.digest == first.digest


def test_inputs_count_by_content_and_not_by_place(project: Path, options: Options) -> None:
    first, _ = run(project, options)
    moved = options.data.with_name("moved.txt")
    options.data.rename(moved)
    assert not run(project, dataclasses.replace(options, data=moved))[1]
    moved.write_text("two\n")
    second, ran = run(project, dataclasses.replace(options, data=moved))
    assert ran and second.digest != first.digest
    added = dataclasses.replace(options, data=moved, extra=moved)
    assert run(project, added)[0].digest != second.digest


def test_what_a_stage_keeps_beside_its_outputs_is_no_input(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("{}\n")
    before = digest_path(folder)
    for name in ("timing.json", "metrics.jsonl", "manifest.json", "resume.pt"):
        (folder / name).write_text("1")
    assert digest_path(folder) == before
    (folder / "rows.jsonl").rename(folder / "lines.jsonl")
    assert digest_path(folder) != before
    metrics = digest_path(folder / "metrics.jsonl")
    (folder / "metrics.jsonl").write_text("2")
    assert digest_path(folder / "metrics.jsonl") != metrics


def test_source_files_follow_imports(project: Path, options: Options) -> None:
    (project / "room" / "deep.py").write_text("import script\n")
    (project / "room" / "part.py").write_text(
        "import torch\nvalue = 1\n\n\ndef late():\n    from room import deep\n    return deep\n")
    found = source_files(project / "script.py")
    assert found == tuple(sorted(project / name for name in (
        "script.py", "room/part.py", "room/deep.py")))
    before = opened(project, options).digest
    (project / "room" / "apart.py").write_text("other = 3\n")
    assert opened(project, options).digest == before
    (project / "room" / "deep.py").write_text("import script\n\nvalue = 2\n")
    assert opened(project, options).digest != before


def test_the_link_points_to_the_last_whole_stage(project: Path, options: Options) -> None:
    link = options.common.runs / "run" / "double"
    first, _ = run(project, options)
    assert link.resolve() == first.path.resolve()
    assert (link / "doubled.txt").read_text() == "one\none\n"
    changed = dataclasses.replace(options, size=9)
    killed = opened(project, changed)
    assert link.resolve() == first.path.resolve()
    assert not killed.done
    second, ran = run(project, changed)
    assert ran and link.resolve() == second.path.resolve() == killed.path.resolve()
    run(project, options)
    assert link.resolve() == first.path.resolve()


def test_a_killed_stage_is_run_again(project: Path, options: Options) -> None:
    killed = opened(project, options)
    (killed.path / "doubled.txt").write_text("half")
    stage, ran = run(project, options)
    assert ran and stage.path == killed.path
    assert (stage.path / "doubled.txt").read_text() == "one\none\n"


def test_the_manifest_says_what_made_the_outputs(project: Path, options: Options) -> None:
    stage, _ = run(project, options)
    manifest = json.loads((stage.path / "manifest.json").read_text())
    assert manifest["stage"] == "double" and manifest["figures"] == {"lines": 2}
    assert manifest["options"] == {"size": 3, "nested": {"share": 0.5},
                                   "common": {"seed": 0, "dtype": "float32"}}
    assert manifest["inputs"] == {"data": digest_path(options.data)}
    assert manifest["outputs"] == {"doubled.txt": digest_path(stage.path / "doubled.txt")}
    assert sorted(manifest["sources"]) == ["room/part.py", "script.py"]
    assert json.loads((stage.path / "timing.json").read_text()).keys() == {
        "seconds", "peak_memory_mb"}


def test_kept_progress_comes_back_with_its_time_and_goes_at_the_end(
        project: Path, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 130.0, 1000.0, 1007.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    opened(project, options).save_progress(step=4, weights=torch.arange(3))
    resumed = opened(project, options)
    state = resumed.load_progress()
    assert state.keys() == {"step", "weights"} and state["weights"].tolist() == [0, 1, 2]
    (resumed.path / "resume.partial").write_text("a kill while it was written")
    resumed.finish({})
    assert json.loads((resumed.path / "timing.json").read_text())["seconds"] == 37.0
    assert not list(resumed.path.glob("resume*")) and resumed.load_progress() is None
    assert json.loads((resumed.path / "manifest.json").read_text())["outputs"] == {}


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": 3} and [*tmp_path.iterdir()] == [path]


def test_its_log_is_told_the_options(project: Path, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    heard = {}
    monkeypatch.setattr(module, "Log", lambda *given: heard.update(enumerate(given)))
    options = Options(tmp_path / "data.txt", size=7,
                      common=Common(runs=tmp_path / "runs", log="wandb", seed=5))
    stage = opened(project, options)
    stage.log(3, unit="text", resume_at=2)
    assert heard[0] == stage.path and [heard[n] for n in (1, 2, 3, 5, 6)] == [
        "double", 3, "wandb", 2, "text"]
    assert heard[4]["size"] == 7 and heard[4]["common"]["seed"] == 5

"""A stage on disk: its folder is named by what made it, and is whole once its manifest is there.

runs/stages/DIGEST/ holds the outputs; runs/NAME/STAGE points to it from then on. DIGEST is that of
the options, the inputs and the source files, so runs share the stages that they have in common.
"""

import ast
import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import json
import platform
import resource
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from training.log import Log
from training.options import Common

ROOT = Path(__file__).resolve().parent.parent
LARGE = 64 * 2**20  # files above this size are known by size and time, not read
ASIDE = ("timing.json", "metrics.jsonl", "manifest.json", "resume.pt", "resume.partial")

_MAKES = contextvars.ContextVar("makes", default=True)


class NotMadeError(Exception):
    """A stage that would have to run, where only what is made already was asked for."""


@contextlib.contextmanager
def only_made() -> Iterator[None]:
    """Within this, a stage that was run before returns its figures; any other raises NotMadeError
    before anything is written. So what a run would do is told by the very code that runs it.
    """
    token = _MAKES.set(False)
    try:
        yield
    finally:
        _MAKES.reset(token)


@functools.cache
def source_files(script: Path) -> tuple[Path, ...]:
    """The project's files that `script` imports, itself included, found by reading them."""
    found, waiting = set(), [script.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            for name in names:
                target = ROOT.joinpath(*name.split(".")).with_suffix(".py")
                if target.is_file():
                    waiting.append(target)
    return tuple(sorted(found))


def digest_path(path: Path) -> str:
    """Digest of a file, or of all files below a folder with their names.

    Of a folder, what a stage keeps beside its outputs (manifest, log, timing) is left out.
    """
    path = Path(path)
    hasher = hashlib.blake2b(digest_size=16)
    for file in files_below(path) if path.is_dir() else [path] * path.is_file():
        hasher.update(str(file.relative_to(path)).encode())
        status = file.stat()
        if status.st_size > LARGE:
            hasher.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        else:
            hasher.update(file.read_bytes())
    return hasher.hexdigest()


@functools.cache
def source_digests(script: Path) -> dict[str, str]:
    """Digest of every source file of a script, as they were when this process first asked."""
    return {str(path.relative_to(ROOT)): digest_path(path) for path in source_files(script)}


def files_below(folder: Path) -> list[Path]:
    """All files below a folder but those that a stage keeps beside its outputs."""
    return [file for file in sorted(folder.rglob("*"))
            if file.is_file() and file.name not in ASIDE]


def plain(value: object) -> object:
    """`value` as JSON holds it; paths become text, common options keep what changes outputs."""
    if isinstance(value, Common):
        return {"seed": value.seed, "dtype": value.dtype}
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


class Stage:
    """One stage of one run. `done` where it was run before; then `figures` are those of then."""

    def __init__(self, name: str, script: str, options: object, common: Common,
                 inputs: dict[str, Path | None]):
        settings = plain(options)
        self.inputs = {key: digest_path(path) for key, path in inputs.items() if path is not None}
        for key in inputs:
            settings.pop(key, None)
        self.record = {"stage": name, "options": settings, "inputs": self.inputs,
                       "sources": source_digests(Path(script))}
        self.name, self.common = name, common
        text = json.dumps(self.record, sort_keys=True)
        self.digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.path = common.runs / "stages" / self.digest
        if not self.done and not _MAKES.get():
            raise NotMadeError(name)
        self.path.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        if self.done:
            self.link()

    def link(self) -> None:
        """Let runs/NAME/STAGE point to this folder, once it is whole and not before."""
        link = self.common.runs / self.common.name / self.name
        link.parent.mkdir(parents=True, exist_ok=True)
        beside = link.with_name(f".{self.name}.partial")
        beside.unlink(missing_ok=True)
        beside.symlink_to(Path("..") / "stages" / self.digest)
        beside.replace(link)

    @property
    def done(self) -> bool:
        return (self.path / "manifest.json").exists()

    @property
    def figures(self) -> dict:
        return json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))["figures"]

    def log(self, total: int, *, unit: str = "step", resume_at: int = 0) -> Log:
        """The metrics of this stage: to its folder, and to where the common options say."""
        return Log(self.path, self.name, total, self.common.log, self.record["options"],
                   resume_at, unit)

    def finish(self, figures: dict) -> dict:
        """Write timing.json and then manifest.json; return `figures`. Kept progress goes."""
        seconds = time.monotonic() - self.started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        write_json(self.path / "timing.json", {"seconds": round(seconds, 2),
                                               "peak_memory_mb": round(peak, 1)})
        versions = {"python": platform.python_version(), "torch": torch.__version__,
                    "numpy": version("numpy")}
        outputs = {str(file.relative_to(self.path)): digest_path(file)
                   for file in files_below(self.path)}
        write_json(self.path / "manifest.json", {**self.record, "outputs": outputs,
                                                 "versions": versions, "figures": figures})
        self.link()
        for name in ("resume.pt", "resume.partial"):
            (self.path / name).unlink(missing_ok=True)
        return figures

    def save_progress(self, **state: object) -> None:
        """Keep what the loop needs to go on from here after a kill."""
        beside = self.path / "resume.partial"
        torch.save({**state, "seconds": time.monotonic() - self.started}, beside)
        beside.replace(self.path / "resume.pt")

    def load_progress(self) -> dict | None:
        """What `save_progress` kept last, or None; the clock goes on from the time kept with it."""
        path = self.path / "resume.pt"
        if not path.exists():
            return None
        state = torch.load(path, weights_only=True)
        self.started -= state.pop("seconds")
        return state


def write_json(path: Path, value: object) -> None:
    """Write `value` beside and rename, so that no half file ever stands under `path`."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)

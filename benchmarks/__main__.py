"""Measure by name, side by side with what users would pick instead: python -m benchmarks NAME."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from benchmarks.cases import CASES, CPU, GPU
from benchmarks.errors import BenchmarkError
from benchmarks.gpu import require_gpu
from benchmarks.measure import tell
from benchmarks.results import publish
from benchmarks.setting import DIALOGUES, Setting
from benchmarks.suite import command, run_each
from training.options import require, start

SETS = {"cpu": CPU, "gpu": GPU}


@dataclass(frozen=True)
class Options:
    """Options of a measurement."""

    name: Annotated[str, tyro.conf.Positional]
    """Name of a measurement, or a set of them: cpu, gpu."""
    against: Literal["transformers", "trl"] | None = None
    """Measure only what is against this peer."""
    repeats: int | None = None
    """Quiet rounds in which every side has its turn; as many as the measurement states if none."""
    scale: float = 1.0
    """Share of the sequences, for trials; never reported as reached."""
    dry_run: bool = False
    """Try the code on a CPU with toy models, once."""
    threads: int | None = None
    """Threads of every side; torch's choice where none is given."""
    compile: bool | None = None
    """Fuse our models as the scripts do under --compile; by default on a GPU alone."""
    dialogues: Path = DIALOGUES
    """File of comparisons whose dialogues are trained on (hh-rlhf)."""
    write: bool = False
    """Write the lines into RESULTS/DATE-MACHINE.md as well; always done for the set gpu."""
    results: Path | None = None
    """Folder of results: benchmarks/results, or runs/benchmarks of a dry run."""

    def __post_init__(self) -> None:
        require(self.name in SETS | CASES, "name", self.name,
                f"one of {', '.join([*SETS, *CASES])}")
        require(0 < self.scale <= 1, "scale", self.scale, "a share above 0, at most 1")
        for name in ("repeats", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more")
        require(self.against is None or any(
            case.against == self.against for each in self.names for case in CASES[each]),
            "against", self.against, f"a peer that {self.name} has")

    @property
    def names(self) -> list[str]:
        return list(SETS.get(self.name, [self.name]))

    @property
    def setting(self) -> Setting:
        on_cuda = not self.dry_run and (self.name == "gpu" or self.name in GPU)
        return Setting(0.05 if self.dry_run else self.scale, 1 if self.dry_run else self.repeats,
                       self.dry_run, self.compile, on_cuda, self.dialogues)

    @property
    def flags(self) -> list[str]:
        """These options as each measurement of a set is given them."""
        given = {"repeats": self.repeats, "scale": self.scale, "threads": self.threads,
                 "compile": self.compile, "dialogues": self.dialogues.absolute()}
        flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return flags + ["--dry-run"] * self.dry_run


def measured(options: Options) -> Iterator[dict]:
    """The lines of all that was asked for, as they come."""
    setting = options.setting
    if setting.on_cuda:
        require_gpu()
    names = [name for name in options.names if any(
        options.against in (None, case.against) for case in CASES[name])]
    if options.name in SETS:
        yield from run_each(names, command(options.flags), setting)
        return
    for case in CASES[options.name]:
        # What a peer prints is no line of ours.
        with contextlib.redirect_stdout(sys.stderr):
            line = case.line(options.name, setting)
        yield line


def main(options: Options) -> list[dict]:
    """Print one JSON line a measurement: ours, theirs, their ratio and the floor."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    folder = options.results or Path("runs" if options.dry_run else "benchmarks") / (
        "benchmarks" if options.dry_run else "results")
    lines = []
    for line in measured(options):
        print(json.dumps(line, ensure_ascii=False), flush=True)
        lines.append(line)
        if options.write or options.name == "gpu":
            for path in publish([line], folder):
                tell(f"written: {path}")
    return lines


if __name__ == "__main__":
    start(main, Options, (BenchmarkError,))

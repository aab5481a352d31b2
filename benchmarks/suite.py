"""Many measurements one after another, each in a process of its own, whatever becomes of any."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from benchmarks.cases import CASES, Case, written
from benchmarks.measure import Result, tell
from benchmarks.setting import Setting
from training.stage import ROOT

LIMIT = 7200  # seconds after which a measurement is given up

Command = Callable[[str], list[str]]


def command(flags: Sequence[str]) -> Command:
    """How a measurement of a name is started."""
    return lambda name: [sys.executable, "-m", "benchmarks", name, *flags]


def run_each(names: Sequence[str], start: Command, setting: Setting,
             limit: float = LIMIT) -> Iterator[dict]:
    """The JSON lines of every name; where one fails, a line that says how stands for it."""
    for name in names:
        tell(f"{name} ...")
        lines, failure = run_one(start(name), limit)
        yield from lines
        if failure:
            tell(f"{name}: {failure}")
            case: Case = CASES[name][0]
            found = Result(None, None, "", None, None, {"note": f"failed: {failure}"})
            yield written(name, case.against, case.asked, found, setting)


def run_one(arguments: Sequence[str], limit: float) -> tuple[list[dict], str]:
    """The JSON lines that a command printed, and why it failed ("": it did not)."""
    try:
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=limit,
                              check=False)
    except subprocess.TimeoutExpired:
        return [], f"no end after {limit:.0f} seconds"
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"bench"')]
    if not done.returncode:
        return lines, ""
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines, said[-1] if said else f"ended with status {done.returncode}"

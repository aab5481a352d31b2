"""Two sides of a comparison, timed in turns on a machine that others may use meanwhile."""

import gc
import itertools
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.aside import Side, Sides, aside
from benchmarks.floor import Floor, synchronise
from benchmarks.setting import Setting

NOISY = 0.25
"""Processors that others may use in a round; a round in which they used more is thrown away."""


def machine_seconds() -> float | None:
    """Processor seconds used on this machine since it started, by all, those that its host took
    away included; None where the system does not tell.
    """
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, *interrupts = map(int, path.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor seconds of this process and of its children, those that have ended too."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (sum(each.ru_utime + each.ru_stime for each in used)
            + sum(seconds_of(child.pid) for child in multiprocessing.active_children()))


def seconds_of(process: int) -> float:
    """Processor seconds of another process and of its ended children, 0 where nothing tells."""
    path = Path(f"/proc/{process}/stat")
    if not path.exists():
        return 0.0
    used = path.read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Clock:
    """What time it is, and how much processor time was used by the machine and by this process."""

    now: Callable[[], float] = time.perf_counter
    machine: Callable[[], float | None] = machine_seconds
    own: Callable[[], float] = own_seconds

    def read(self) -> tuple[float, float | None, float]:
        return self.now(), self.machine(), self.own()


def others_between(before: tuple, after: tuple) -> float | None:
    """Processors that others used between two readings of a clock; None where nothing tells."""
    if before[1] is None or after[1] is None:
        return None
    used = (after[1] - before[1]) - (after[2] - before[2])
    return max(0.0, used / max(after[0] - before[0], 1e-9))


@dataclass(frozen=True)
class Timing:
    """Rounds that were kept: `seconds` by side, one entry a round."""

    seconds: dict[str, list[float]]
    others: float | None
    """Processors that others used in the worst round kept."""
    discarded: int
    """Rounds that were thrown away because others used more than NOISY."""

    @property
    def quiet(self) -> bool | None:
        """Whether every round kept was quiet; None where the system does not tell."""
        return None if self.others is None else self.others <= NOISY

    def median(self, side: str) -> float:
        return statistics.median(self.seconds[side])

    @property
    def facts(self) -> dict[str, object]:
        """What a line says of how it was timed."""
        kept = len(next(iter(self.seconds.values())))
        others = None if self.others is None else round(self.others, 3)
        facts = {"repeats": kept, "others": others, "quiet": self.quiet,
                 "discarded": self.discarded}
        if self.quiet is False:
            facts["note"] = (f"never quiet: others used up to {self.others:.2f} processors in the "
                             f"rounds kept, of {kept + self.discarded}")
        return facts


def in_turns(sides: Mapping[str, Side], repeats: int, patience: int, warm: bool = True,
             clock: Clock | None = None) -> Timing:
    """Let all sides do their work once a round, for `repeats` quiet rounds.

    Each is called once before, untimed, where `warm`. The side that begins changes from round to
    round. A noisy round is thrown away and repeated; after `patience` x `repeats` of them those in
    which others used least fill up what is missing, and the timing says so.
    """
    clock = clock or Clock()
    for side in sides.values() if warm else ():
        side()
    kept: list[tuple[float, dict[str, float]]] = []
    noisy: list[tuple[float, dict[str, float]]] = []
    told = True
    order = list(sides)
    for turn in itertools.count():
        first = turn % len(order)
        gc.collect()
        before = clock.read()
        seconds = {name: sides[name]() for name in order[first:] + order[:first]}
        others = others_between(before, clock.read())
        told = told and others is not None
        (noisy if (others or 0.0) > NOISY else kept).append((others or 0.0, seconds))
        if len(kept) >= repeats or len(noisy) >= patience * repeats:
            break
    rounds = kept + sorted(noisy, key=lambda each: each[0])[:repeats - len(kept)]
    return Timing({name: [seconds[name] for _, seconds in rounds] for name in sides},
                  max(others for others, _ in rounds) if told else None,
                  len(kept) + len(noisy) - len(rounds))


def timed(work: Callable[[], object], device: torch.device) -> Side:
    """`work` as a side: the seconds until the device has done all of it."""

    def side() -> float:
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        return time.perf_counter() - start

    return side


@dataclass(frozen=True)
class Result:
    """What a measurement found, in `unit`; `ratio` above 1: ours is the better one."""

    ours: float | None
    theirs: float | None
    unit: str
    ratio: float | None
    floor: float | None
    facts: dict[str, object]


def in_unit(seconds: float, amount: float, unit: str) -> float:
    """`seconds` for `amount` pieces of work: a rate where the unit is one, else seconds a piece."""
    return amount / seconds if unit.endswith("/s") else seconds / amount


def compare(setting: Setting, ours: Callable[[], object], theirs: Sides, *,
            amount: float, unit: str, facts: Mapping[str, object], rounds: int = 5) -> Result:
    """Time ours, each of theirs, in a process of their own, and the floor of ours in turns.

    `amount` is how many pieces of `unit` one call does. The best of theirs counts.
    """
    floor = Floor.of(ours, setting.device)
    with aside(theirs) as others:
        theirs = list(others)
        timing = in_turns({"ours": timed(ours, setting.device), **others, "floor": floor},
                          setting.rounds(rounds), setting.patience)
    best = min(theirs, key=timing.median, default=None)
    seconds = timing.median("ours")
    said = {**facts, "floor_calls": floor.calls, **timing.facts}
    if len(theirs) > 1:
        said["theirs_all"] = {name: rounded(in_unit(timing.median(name), amount, unit))
                              for name in theirs}
    return Result(
        in_unit(seconds, amount, unit),
        None if best is None else in_unit(timing.median(best), amount, unit), unit,
        None if best is None else timing.median(best) / seconds,
        in_unit(timing.median("floor"), amount, unit), said)


def rounded(value: float | None) -> float | None:
    """`value` with four significant digits."""
    return None if value is None else float(f"{value:.4g}")


def tell(text: str) -> None:
    """Say `text` where no JSON line goes."""
    print(text, file=sys.stderr, flush=True)

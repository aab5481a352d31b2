"""An experiment as its TOML file states it, before it is run: README.md describes the format."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cai.records import InputError, content_digest
from experiments.decision import Claim

FOLDER = Path(__file__).parent
_TERM = re.compile(r"([+-]?)\s*(?:(\d+(?:\.\d+)?)(?![\w.-])|([\w-]+)\.([\w-]+))\s*")

Options = dict[str, object]
"""Options of one step by name; those of a nested group stand in a dictionary of their own."""


@dataclass(frozen=True)
class Part:
    """One part of a claim: a sum of figures of variants, and what is claimed of its sign."""

    says: str
    effect: str  # as written: "VARIANT.FIGURE - VARIANT.FIGURE"
    claim: Claim
    margin: float

    @property
    def terms(self) -> tuple[tuple[float, str, str], ...]:
        """(sign, variant, figure) of each figure; a bare number has no variant or figure."""
        return tuple(_terms(self.effect))


@dataclass(frozen=True)
class Experiment:
    """What is asked, what is claimed, what is varied, what decides."""

    name: str
    question: str
    claim: str
    place: str
    seeds: int
    drawn: tuple[str, ...]  # the figures that the drawing shows
    steps: dict[str, Options]  # what is run, in order, and the options that all variants share
    variants: dict[str, dict[str, Options]]  # options of each variant, by step
    parts: tuple[Part, ...]
    reading: str  # what a look behind the figures showed, written after the run
    digest: str  # of all but the reading: results belong to what was stated when they were made
    first_seed: int = 0  # of what is stated anew after a look: one whose results nobody has seen

    def drawn_seeds(self, count: int) -> range:
        """The first `count` of its seeds."""
        return range(self.first_seed, self.first_seed + count)

    def options(self, variant: str, step: str) -> Options:
        """The options of a step in a variant, a variant's before those of all."""
        return merged(self.steps[step], self.variants[variant].get(step, {}))


def merged(shared: Options, own: Options) -> Options:
    """`shared` with `own` put over it, group by group."""
    return shared | {name: merged(shared.get(name, {}), value) if isinstance(value, dict)
                     else value for name, value in own.items()}


def names() -> list[str]:
    """Every experiment that has a file."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(path: Path) -> Experiment:
    """The experiment in a file. InputError says what is wrong with it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        reading = content.pop("reading", "")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: found no experiment ({error}), expected TOML; "
                         f"there are {', '.join(names())}") from error
    wanted = {"question", "claim", "place", "seeds", "drawn", "steps", "variants", "parts"}
    if content.keys() - {"first_seed"} != wanted:
        raise InputError(f"{path}: found {sorted(content.keys() ^ wanted)} missing or unknown, "
                         f"expected {sorted(wanted)}")
    try:
        parts = tuple(Part(**part) for part in content["parts"])
        experiment = Experiment(path.stem, reading=reading, digest=content_digest(content), **{
            **content, "drawn": tuple(content["drawn"]), "parts": parts})
        _check(experiment)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    return experiment


def _check(experiment: Experiment) -> None:
    if not experiment.parts or experiment.seeds < 1 or not experiment.variants:
        raise ValueError("found no part, no variant or no seed, expected one at least of each")
    for part in experiment.parts:
        if part.claim not in get_args(Claim) or not part.margin > 0:
            raise ValueError(f"found claim {part.claim!r} with margin {part.margin}, expected one "
                             f"of {', '.join(get_args(Claim))} and a margin above 0")
        for _, variant, _ in part.terms:
            if variant and variant not in experiment.variants:
                raise ValueError(f"found variant {variant!r} in {part.effect!r}, expected one of "
                                 f"{', '.join(experiment.variants)}")
    for variant, steps in experiment.variants.items():
        if unknown := steps.keys() - experiment.steps.keys():
            raise ValueError(f"found {sorted(unknown)} in {variant}, expected steps among "
                             f"{', '.join(experiment.steps)}")


def _terms(effect: str) -> list[tuple[float, str, str]]:
    """A sum such as "one.harmless - other.harmless", "one.ece - 0.1"."""
    found, at = [], 0
    while at < len(effect):
        match = _TERM.match(effect, at)
        if not match or bool(found) != bool(match[1]):
            raise ValueError(f"found effect {effect!r}, expected VARIANT.FIGURE or numbers joined "
                             "by + and -")
        sign = -1.0 if match[1] == "-" else 1.0
        found.append((sign * float(match[2]), "", "") if match[2]
                     else (sign, match[3], match[4]))
        at = match.end()
    if not any(variant for _, variant, _ in found):
        raise ValueError(f"found effect {effect!r}, expected a figure in it")
    return found


def effect_of(part: Part, figures: dict[str, dict[str, float]]) -> float | None:
    """The part's effect in one seed's figures by variant; None where a figure is not there."""
    total = 0.0
    for sign, variant, name in part.terms:
        value = figures[variant].get(name) if variant else 1.0
        if value is None:
            return None
        total += sign * value
    return total

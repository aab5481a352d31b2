"""Which statements become principles: above a threshold or the top N, each idea once."""

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cai.collective.similar import similarity
from cai.records import InputError


@dataclasses.dataclass(frozen=True)
class Choices:
    """A person's word on the selection; statement ids throughout.

    `drop` and `keep` overrule the threshold, `same` and `different` (pairs) the duplicates.
    """

    drop: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()
    same: frozenset[frozenset[str]] = frozenset()
    different: frozenset[frozenset[str]] = frozenset()


@dataclasses.dataclass(frozen=True)
class Duplicate:
    """A statement left out because it says what a kept one says."""

    dropped: str
    kept: str
    score: float


@dataclasses.dataclass(frozen=True)
class Selection:
    """`above` are the ids that pass the threshold, `selected` those without near-duplicates,
    both from the highest consensus down."""

    above: tuple[str, ...]
    selected: tuple[str, ...]
    duplicates: tuple[Duplicate, ...]

    def said_by(self, kept: str) -> tuple[str, ...]:
        """The ids that a kept statement stands for, its own first."""
        return kept, *(each.dropped for each in self.duplicates if each.kept == kept)


def select(ids: Sequence[str], texts: Sequence[str], consensus: np.ndarray,
           threshold: float | None, top: int | None = None, alike: float = 0.6,
           choices: Choices = Choices()) -> Selection:
    """Take statements by consensus (S,), then drop each that is like one already taken.

    `top` takes that many in place of the threshold. `alike` is the similarity from which two are
    one (above 1: never). Of two alike the one with more consensus stays. An unknown consensus
    (NaN) is never taken. InputError where a choice names an unknown statement.
    """
    _check(choices, ids)
    order = [int(i) for i in np.argsort(-consensus, kind="stable") if np.isfinite(consensus[i])]
    if top is not None:
        passed = order[:top]
    else:
        passed = [i for i in order if consensus[i] >= threshold]
    forced = [i for i in order if ids[i] in choices.keep and i not in passed]
    scores = similarity(texts)
    taken: list[int] = []
    duplicates = []
    for i in [*passed, *forced]:
        if ids[i] in choices.drop:
            continue
        found = [(_score(ids[i], ids[j], scores[i, j], choices), -rank, j)
                 for rank, j in enumerate(taken)]
        score, _, nearest = max(found, default=(0.0, 0, None))
        if nearest is not None and score >= alike and ids[i] not in choices.keep:
            duplicates.append(Duplicate(ids[i], ids[nearest], round(float(score), 4)))
        else:
            taken.append(i)
    return Selection(tuple(ids[i] for i in passed), tuple(ids[i] for i in taken),
                     tuple(duplicates))


def _score(one: str, other: str, score: float, choices: Choices) -> float:
    pair = frozenset((one, other))
    if pair in choices.different:
        return 0.0
    return 1.0 if pair in choices.same else float(score)


def _check(choices: Choices, ids: Sequence[str]) -> None:
    named = choices.drop | choices.keep | frozenset().union(*choices.same, *choices.different)
    if unknown := sorted(named - set(ids)):
        raise InputError(f"choices: found statement {unknown[0]!r}, expected the id of a statement "
                         "that the cleaning left")


def read_choices(path: str | Path) -> Choices:
    """Choices from TOML: `drop` and `keep`, lists of ids; `same` and `different`, lists of pairs.

    InputError names the file and the field of any defect.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: found no readable TOML ({error})") from error
    if unknown := sorted(data.keys() - {"drop", "keep", "same", "different"}):
        raise InputError.at(path, unknown[0], "an unknown field", "drop, keep, same or different")
    for name, value in data.items():
        pairs = name in ("same", "different")
        ids = [each for pair in value for each in pair] if pairs else value
        if not all(isinstance(each, str) for each in ids) or pairs and any(
                len(set(pair)) != 2 for pair in value):
            raise InputError.at(path, name, repr(value), "pairs of ids, as text" if pairs
                                else "a list of ids, as text")
    return Choices(frozenset(data.get("drop", ())), frozenset(data.get("keep", ())),
                   *(frozenset(map(frozenset, data.get(name, ()))) for name in
                     ("same", "different")))

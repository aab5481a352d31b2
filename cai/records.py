"""Every record that crosses a stage boundary, and its JSON Lines form.

An id is the hash of (stage, parents' ids, seed, draw), so two equal samples stay two records
and a training row can be traced to its prompt, principle, step and seed. On disk a "digest" of the
content stands beside it, and a file whose content no longer matches is refused.
"""

import dataclasses
import hashlib
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

KINDS = ("red_team", "helpful")
SOURCES = ("model", "people")

Record = typing.TypeVar("Record")


class InputError(Exception):
    """Bad input from outside, told in one line. Scripts print it and exit with status 2."""

    @classmethod
    def at(cls, path: str | Path, line: int | str, found: str, expected: str) -> "InputError":
        """The error at a place: `line` is a line number, or the name of an entry."""
        return cls(" ".join(f"{path}:{line}: found {found}, expected {expected}".split()))


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A dialogue that waits for the assistant. Turns alternate human, assistant, ..., human."""

    id: str
    turns: tuple[str, ...]
    kind: str  # "red_team" | "helpful"

    def __post_init__(self) -> None:
        _check_dialogue(self.turns, self.kind)


@dataclasses.dataclass(frozen=True)
class Step:
    """One link of a chain: the drawn principle's id, the critique (None without), the revision."""

    principle: str
    critique: str | None
    revision: str


@dataclasses.dataclass(frozen=True)
class Revision:
    """A first response and the steps that revise it (section 3.1). A helpful sample has none."""

    id: str
    prompt: str  # the prompt's id
    turns: tuple[str, ...]
    kind: str
    seed: int
    draw: int
    response: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        _check_dialogue(self.turns, self.kind)

    @property
    def texts(self) -> tuple[str, ...]:
        """The response and what each step made of it, the last revision last."""
        return self.response, *(step.revision for step in self.steps)


@dataclasses.dataclass(frozen=True)
class Label:
    """One judgement of a pair. `preference` is the probability that responses[0] is the better.

    A model's label holds one row for each order asked: `logprobs[i]` are the raw log-probs of the
    letter that stands for responses[0] and of the one for responses[1]; `swapped[i]` is True when
    responses[1] was shown as (A); `reasoning[i]` is the reasoning where there was one (else empty).
    """

    source: str  # "model" | "people"
    preference: float
    principle: str | None = None
    logprobs: tuple[tuple[float, float], ...] = ()
    swapped: tuple[bool, ...] = ()
    reasoning: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(self.source in SOURCES, f"source {self.source!r}", f"one of {SOURCES}")
        _require(0.0 <= self.preference <= 1.0, f"preference {self.preference}", "0 to 1")
        orders = len(self.logprobs)
        _require(len(self.swapped) == orders, f"{len(self.swapped)} swapped", f"{orders}")
        _require(len(self.reasoning) in (0, orders), f"{len(self.reasoning)} reasoning",
                 f"0 or {orders}")
        _require(all(map(math.isfinite, sum(self.logprobs, ()))), "a log-prob", "a finite number")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt and every label they were given."""

    id: str
    prompt: str  # the prompt's id
    turns: tuple[str, ...]
    kind: str
    seed: int
    draw: int
    responses: tuple[str, str]
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        _check_dialogue(self.turns, self.kind)
        _require(len(self.responses) == 2, f"{len(self.responses)} responses", "2")


def record_id(stage: str, parents: Sequence[str], seed: int, draw: int) -> str:
    """The id of a record: 16 hexadecimal digits."""
    return content_digest([stage, list(parents), seed, draw])


def content_digest(value: object) -> str:
    """16 hexadecimal digits of a JSON value, keys in any order; NaN raises ValueError."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(canonical.encode("ascii"), digest_size=8).hexdigest()


def write_jsonl(path: str | Path, records: Iterable) -> None:
    """Write records, one a line, each with its digest: beside the file, then renamed over it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                row = dataclasses.asdict(record)
                row["digest"] = content_digest(row)
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_jsonl(path: str | Path, record_type: type[Record]) -> list[Record]:
    """The records of a file. Any defect, even no record, raises InputError with file and line."""
    path = Path(path)
    records, seen = [], set()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                record = _read_line(path, number, line, record_type)
                if record.id in seen:
                    raise InputError.at(path, number, f"id {record.id} again", "an id of its own")
                seen.add(record.id)
                records.append(record)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if not records:
        raise InputError.at(path, 1, "an empty file", f"a {record_type.__name__}")
    return records


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a training's metrics. InputError where they cannot be read."""
    try:
        return list(map(json.loads, path.read_text("utf-8").splitlines()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: found no metrics ({error}), expected JSON Lines") from error


def _read_line(path: Path, number: int, line: bytes, record_type: type):
    name = record_type.__name__
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError.at(path, number, f"no JSON ({error})", f"a {name} in one line") from error
    if not isinstance(row, dict):
        raise InputError.at(path, number, type(row).__name__, f"a {name} as a JSON object")
    try:
        digest = row.pop("digest", None)
        if digest is not None and digest != content_digest(row):
            raise InputError.at(path, number, "a digest of other content",
                                "the content that was written")
        return _decode(row, record_type, name)
    except ValueError as error:
        raise InputError(" ".join(f"{path}:{number}: {error}".split())) from error


def _decode(value: object, kind: object, name: str):
    """`value` from JSON as the type `kind`; ValueError names the field that does not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        _require(isinstance(value, dict), f"{name} {type(value).__name__}", "an object")
        hints = typing.get_type_hints(kind)
        required = {f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
        absent, unknown = sorted(required - value.keys()), sorted(value.keys() - hints.keys())
        _require(not absent, f"{name} without {absent}", "all fields")
        _require(not unknown, f"{name} with {unknown}", "known fields")
        return kind(**{key: _decode(item, hints[key], f"{name}.{key}")
                       for key, item in value.items()})
    if origin is types.UnionType:
        return None if value is None else _decode(value, arguments[0], name)
    if origin is tuple:
        _require(isinstance(value, list), f"{name} {type(value).__name__}", "a list")
        each = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        _require(len(each) == len(value), f"{name} of {len(value)}", f"{len(each)}")
        return tuple(_decode(item, part, name) for item, part in zip(value, each, strict=True))
    fits = isinstance(value, (int, float) if kind is float else kind)
    _require(fits and (kind is bool or not isinstance(value, bool)),
             f"{name} {type(value).__name__}", kind.__name__)
    return float(value) if kind is float else value


def _check_dialogue(turns: tuple[str, ...], kind: str) -> None:
    _require(len(turns) % 2 == 1, f"{len(turns)} turns", "an odd number, ending on a human turn")
    _require(kind in KINDS, f"kind {kind!r}", f"one of {KINDS}")


def _require(condition: bool, found: str, expected: str) -> None:
    if not condition:
        raise ValueError(f"found {found}, expected {expected}")

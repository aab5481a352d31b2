"""Constitutions in files: ours in TOML (constitutions/README.md), and the paper's as published."""

import tomllib
from pathlib import Path

from cai import published
from cai.principles import (
    Constitution,
    CritiqueExample,
    FeedbackExample,
    FeedbackPrinciple,
    RevisionPrinciple,
    Turns,
    examples_for,
)
from cai.records import InputError

__all__ = ["Constitution", "CritiqueExample", "FeedbackExample", "FeedbackPrinciple",
           "RevisionPrinciple", "examples_for", "load_constitution"]


def load_constitution(path: str | Path) -> Constitution:
    """Read and check a constitution. A defect raises InputError with the file and the entry.

    A folder, or a file named .json, holds the paper's own files (cai/published.py).
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        return published.load(path)
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # TOML says the line and column; so does UTF-8
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    top = _Entry(path, "top level", data)
    lists = {name: top.entries(name) for name in (
        "revision", "feedback", "critique_example", "feedback_example", "reasoning_example")}
    top.finish()
    if not lists["revision"] and not lists["feedback"]:
        raise InputError.at(path, "top level", "no principle", "[[revision]] or [[feedback]]")

    critique_examples, feedback_examples, reasoning_examples = [], [], []
    revisions: dict[str, RevisionPrinciple] = {}
    for entry in lists["revision"]:
        principle = RevisionPrinciple(entry.new_id(revisions), entry.text("critique_request"),
                                      entry.text("revision_request"), entry.texts("topics"))
        entry.pass_over("origin")
        revisions[principle.id] = principle
        critique_examples += [_critique_example(e, revisions, principle)
                              for e in entry.entries("example")]
        entry.finish()
    feedback: dict[str, FeedbackPrinciple] = {}
    for entry in lists["feedback"]:
        principle = FeedbackPrinciple(entry.new_id(feedback), entry.text("principle"),
                                      entry.texts("topics"))
        entry.pass_over("origin")
        feedback[principle.id] = principle
        feedback_examples += [_feedback_example(e, feedback, False, principle)
                              for e in entry.entries("example")]
        reasoning_examples += [_feedback_example(e, feedback, True, principle)
                               for e in entry.entries("reasoning_example")]
        entry.finish()
    critique_examples += [_critique_example(e, revisions) for e in lists["critique_example"]]
    feedback_examples += [_feedback_example(e, feedback, False)
                          for e in lists["feedback_example"]]
    reasoning_examples += [_feedback_example(e, feedback, True)
                           for e in lists["reasoning_example"]]
    return Constitution(tuple(revisions.values()), tuple(feedback.values()),
                        tuple(critique_examples), tuple(feedback_examples),
                        tuple(reasoning_examples))


def _critique_example(entry: "_Entry", known: dict[str, RevisionPrinciple],
                      owner: RevisionPrinciple | None = None) -> CritiqueExample:
    principle = owner or entry.one_of(known)
    example = CritiqueExample(entry.turns(), entry.text("response"), principle,
                              entry.text("critique"), entry.text("revision"),
                              owner.id if owner else None)
    entry.finish()
    return example


def _feedback_example(entry: "_Entry", known: dict[str, FeedbackPrinciple], reasoned: bool,
                      owner: FeedbackPrinciple | None = None) -> FeedbackExample:
    principles = (owner,) if owner else entry.some_of(known)
    turns, first, second = entry.turns(), entry.text("first"), entry.text("second")
    letter = entry.text("answer")
    if letter not in ("A", "B"):
        raise entry.error(f"answer {letter!r}", '"A" or "B"')
    reasoning = entry.text("reasoning") if reasoned else None
    entry.finish()
    return FeedbackExample(turns, first, second, principles, "AB".index(letter), reasoning,
                           owner.id if owner else None)


class _Entry:
    """One table of the file: its fields are taken one by one, and what is left over is an error."""

    def __init__(self, path: Path, name: str, table: object) -> None:
        self.path, self.name = path, name
        if not isinstance(table, dict):
            raise self.error(type(table).__name__, "a table")
        self.left = dict(table)

    def error(self, found: str, expected: str) -> InputError:
        return InputError.at(self.path, self.name, found, expected)

    def text(self, field: str) -> str:
        value = self.left.pop(field, None)
        if not isinstance(value, str) or not value.strip():
            found = f"no {field}" if value is None else f"{field} = {value!r}"
            raise self.error(found, f"{field} as a text")
        return value.strip()

    def texts(self, field: str) -> tuple[str, ...]:
        value = self.left.pop(field, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.error(f"{field} = {value!r}", f"{field} as a list of texts")
        return tuple(v.strip() for v in value)

    def turns(self) -> Turns:
        """`human`, one turn; or `turns`, a dialogue that ends on a human turn."""
        if "turns" not in self.left:
            return (self.text("human"),)
        turns = self.texts("turns")
        if len(turns) % 2 == 0:
            raise self.error(f"{len(turns)} turns", "an odd number, ending on a human turn")
        return turns

    def new_id(self, known: dict) -> str:
        value = self.text("id")
        self.name = f"{self.name} ({value})"
        if value in known:
            raise self.error(f"id {value!r} again", "an id of its own")
        return value

    def one_of(self, known: dict):
        value = self.text("principle")
        if value not in known:
            raise self.error(f"principle {value!r}", "the id of a principle of this file")
        return known[value]

    def some_of(self, known: dict) -> tuple:
        value = self.left.get("principle", [])
        if isinstance(value, str):
            return (self.one_of(known),)
        ids = self.texts("principle")
        if unknown := [each for each in ids if each not in known]:
            raise self.error(f"principle {unknown[0]!r}", "the id of a principle of this file")
        return tuple(known[each] for each in ids)

    def entries(self, field: str) -> list["_Entry"]:
        value = self.left.pop(field, [])
        if not isinstance(value, list):
            raise self.error(f"{field} = {value!r}", f"[[{field}]]")
        prefix = "" if self.name == "top level" else f"{self.name}, "
        return [_Entry(self.path, f"{prefix}{field} {number}", table)
                for number, table in enumerate(value, start=1)]

    def pass_over(self, field: str) -> None:
        """A field that others keep in the file (cai/collective/document.py)."""
        self.left.pop(field, None)

    def finish(self) -> None:
        if self.left:
            raise self.error(f"field {sorted(self.left)[0]!r}", "only the fields of the format")

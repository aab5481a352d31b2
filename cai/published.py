"""The paper's own constitution, read from its published JSON files as they are.

Five files hold principles and few-shot examples, each alone; a folder of them is one constitution.
The worked comparisons name neither a principle nor an order: here every principle may be drawn for
them, and the better reply is (A) and (B) by turns.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from cai.dialogues import Turns, asked, checked
from cai.principles import (
    Constitution,
    CritiqueExample,
    FeedbackExample,
    FeedbackPrinciple,
    RevisionPrinciple,
)
from cai.records import InputError
from cai.rows import Unusable, lowered, read_rows

_REQUESTS = re.compile(r"\A(?P<dialogue>.*?)\n\nAssistant:(?P<response>(?:(?!\n\nAssistant:).)*)"
                       r"\n\nCritiqueRequest:(?P<request>.*?)\n\nCritique:(?P<critique>.*?)"
                       r"\n\nRevisionRequest:(?P<edit>.*?)\n\nRevision:(?P<revision>.*?)"
                       r"(?:\n\nHuman:\s*)?\Z", re.DOTALL)
_OPTIONS = re.compile(r"\[\[\[(.*?)\]\]\]", re.DOTALL)
_REASONED = re.compile(r"\n\nAssistant: *Let's think step by step:(.*)"
                       r"\n\nHuman:\s*So the answer is: *\(([AB])\)\s*\Z", re.DOTALL)
_SPOKEN = re.compile(r"(?:\A|\n)\s*(H|A):")


@dataclasses.dataclass(frozen=True)
class Part:
    """One entry of such a file as what it adds to a constitution."""

    field: str  # the field of Constitution
    value: object


def claims(row: object) -> bool:
    """Whether a row is an entry of one of the five files."""
    if isinstance(row, str):
        return row.rstrip().endswith(" Options:") or "\n\nCritiqueRequest:" in row
    fields = lowered(row)
    return ("edit_request" in fields or {"corrects", "incorrects"} <= fields.keys()
            or _is_reasoned(fields.get("prompt")))


def entries(rows: Sequence[object]) -> list[object]:
    """The entries of a file: its rows, or the named requests of the one object it is."""
    if len(rows) == 1 and isinstance(rows[0], dict) and rows[0] and all(
            "edit_request" in lowered(value) for value in rows[0].values()):
        return [{**value, "id": name} for name, value in rows[0].items()]
    return list(rows)


def read(row: object, number: int) -> Part:
    """What entry `number`, from 0, adds to a constitution. Unusable: it is no such entry."""
    if isinstance(row, str):
        worked = "\n\nCritiqueRequest:" in row
        return _worked(row, number) if worked else _principle(row, number)
    fields = lowered(row)
    if "edit_request" in fields:
        return _requests(fields, number)
    if "corrects" in fields:
        return _compared(fields, number)
    if _is_reasoned(fields.get("prompt")):
        return _reasoned(fields["prompt"])
    raise Unusable("no principle and no example")


def load(path: Path) -> Constitution:
    """The constitution of one file, or of a folder of them. InputError names file and entry."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: found no JSON file, expected the paper's constitution files")
    parts = []
    for file in files:
        for number, row in enumerate(entries(read_rows(file, frozenset()).rows)):
            try:
                parts.append(read(row, number))
            except Unusable as reason:
                raise InputError.at(file, f"entry {number + 1}", str(reason),
                                    "one of the paper's constitution files") from None
    return join(parts)


def join(parts: Sequence[Part]) -> Constitution:
    """The constitution that these parts make."""
    names = [field.name for field in dataclasses.fields(Constitution)]
    return Constitution(**{name: tuple(part.value for part in parts if part.field == name)
                           for name in names})


def _requests(fields: dict[str, object], number: int) -> Part:
    """{"prompt": [critique request], "edit_request": revision request}."""
    asking = fields.get("prompt")
    asking = asking[0] if isinstance(asking, list) and asking else asking
    return Part("revisions", RevisionPrinciple(
        _text(fields.get("id", f"revision{number}")),
        _between(asking, "CritiqueRequest:", "Critique:"),
        _between(fields["edit_request"], "RevisionRequest:", "Revision:")))


def _principle(row: str, number: int) -> Part:
    text = _text(row.strip().removesuffix("Options:"))
    return Part("feedback", FeedbackPrinciple(f"feedback{number}", text))


def _worked(row: str, number: int) -> Part:
    """A transcript with one critique and one revision in it."""
    found = _REQUESTS.match(row)
    if found is None:
        raise Unusable("no transcript of one critique and one revision")
    part = {name: text if name == "dialogue" else _text(text)
            for name, text in found.groupdict().items()}
    principle = RevisionPrinciple(f"example{number}", part["request"], part["edit"])
    return Part("critique_examples", CritiqueExample(
        asked(part["dialogue"]), part["response"], principle, part["critique"], part["revision"]))


def _compared(fields: dict[str, object], number: int) -> Part:
    """{"prompt", "corrects": [better reply], "incorrects": [worse reply]}."""
    better, worse = fields["corrects"], fields.get("incorrects")
    if not isinstance(better, list) or not isinstance(worse, list) or not better or not worse:
        raise Unusable("no better and worse reply")
    first, second = _text(better[0]), _text(worse[0])
    if number % 2:
        first, second = second, first
    return Part("feedback_examples", FeedbackExample(
        asked(fields.get("prompt")), first, second, (), number % 2))


def _is_reasoned(prompt: object) -> bool:
    return isinstance(prompt, str) and "{}" in prompt and _REASONED.search(prompt) is not None


def _reasoned(prompt: str) -> Part:
    """A dialogue of "H:" and "A:", a {} for the principle, two options, reasoning and answer."""
    before, _, after = prompt.partition("{}")
    options, answer = _OPTIONS.findall(after), _REASONED.search(after)
    if len(options) < 2 or answer is None:
        raise Unusable("no two options with reasoning and an answer")
    return Part("reasoning_examples", FeedbackExample(
        _spoken(before), _text(options[0]), _text(options[1]), (), "AB".index(answer[2]),
        _text(answer[1])))


def _spoken(text: str) -> Turns:
    parts = _SPOKEN.split(text)
    names = {"H": "user", "A": "assistant"}
    return asked([{"role": names[who], "content": said}
                  for who, said in zip(parts[1::2], parts[2::2], strict=True)])


def _between(value: object, head: str, tail: str) -> str:
    text = _text(value)
    return _text(text.removeprefix(head).removesuffix(tail))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Unusable("an empty text or none")
    return checked(value.strip())

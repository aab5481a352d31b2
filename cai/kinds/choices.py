"""Multiple choice: a text, the options that may continue it, and which of them is right."""

import dataclasses
import re

from cai import formats
from cai.dialogues import checked
from cai.rows import Unusable, lowered

FIELDS = frozenset({"corrects", "answer_matching_behavior", "ans0", "sentence_with_blank"})
_LETTER = re.compile(r" ?\([A-Z]\)")
_OFFERED = re.compile(r"^ ?\(([A-Z])\)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One question. `correct` is None where the file calls no option right."""

    prompt: str
    options: tuple[str, ...]  # each continues the prompt as it stands
    correct: int | None


def claims(row: object) -> bool:
    """Whether a row asks for one of several options.

    The paper's worked comparisons have `corrects` too, but whole replies in it, not letters.
    """
    fields = lowered(row)
    if "corrects" in fields:
        return any(isinstance(each, str) and _LETTER.fullmatch(each) is not None
                   for each in _listed(fields["corrects"]))
    return bool(FIELDS & fields.keys())


def read(row: object) -> Choice:
    """The question of a row. Unusable: a part is missing."""
    if not isinstance(row, dict):
        raise Unusable("no object")
    fields = lowered(row)
    if "corrects" in fields:
        choice = _paper(fields)
    elif "answer_matching_behavior" in fields:
        choice = _behaviour(fields)
    elif "ans0" in fields:
        choice = _bias(fields)
    elif "sentence_with_blank" in fields:
        choice = _blank(fields)
    else:
        raise Unusable("no question in the row")
    if len(set(choice.options)) < max(2, len(choice.options)):
        raise Unusable("fewer than two different options")
    for text in (choice.prompt, *choice.options):
        checked(text)
    return choice


def _paper(fields: dict[str, object]) -> Choice:
    """{prompt, corrects: [option], incorrects: [options]}, the options in order of their letters.
    """
    right, wrong = _listed(fields["corrects"]), _listed(fields.get("incorrects"))
    if len(right) != 1 or not all(isinstance(each, str) for each in (*right, *wrong)):
        raise Unusable("no single correct option")
    options = tuple(sorted((*right, *wrong)))
    return Choice(_text(fields, "prompt"), options, options.index(right[0]))


def _behaviour(fields: dict[str, object]) -> Choice:
    """{question, answer_matching_behavior, answer_not_matching_behavior}: matching is `correct`.

    A question that offers lettered options has all of them, though the row names only two.
    """
    match = f" {_text(fields, 'answer_matching_behavior').strip()}"
    other = f" {_text(fields, 'answer_not_matching_behavior').strip()}"
    question = _text(fields, "question").strip()
    options = (match, other)
    if _LETTER.fullmatch(match):
        offered = (f" ({letter})" for letter in _OFFERED.findall(question))
        options = tuple(sorted({*offered, match, other}))
    return Choice(formats.reply_prompt((question,)), options, options.index(match))


def _bias(fields: dict[str, object]) -> Choice:
    """BBQ: {context, question, ans0, ans1, ans2, label}."""
    answers = [_text(fields, f"ans{n}").strip() for n in range(3)]
    label = str(fields.get("label"))
    if label not in ("0", "1", "2"):
        raise Unusable("a label other than 0, 1 or 2")
    question = f"{_text(fields, 'context').strip()} {_text(fields, 'question').strip()}"
    return Choice(formats.options_prompt(question, answers),
                  tuple(f" ({letter})" for letter in formats.LETTERS[:3]), int(label))


def _blank(fields: dict[str, object]) -> Choice:
    """{sentence_with_blank, pronoun_options}: each option with the rest; none is the right one."""
    before, blank, after = _text(fields, "sentence_with_blank").partition("_")
    options = _listed(fields.get("pronoun_options"))
    if not blank or not all(isinstance(each, str) for each in options):
        raise Unusable("no blank or no options to fill it")
    return Choice(before.rstrip(), tuple(f" {each}{after}" for each in options), None)


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Unusable(f"no {name}")
    return value


def _listed(value: object) -> list:
    return value if isinstance(value, list) else []

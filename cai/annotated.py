"""Pairs of replies that people compared, as PandaLM (Wang et al. 2023, arXiv 2306.05087; three
annotators a pair) and LLMBar (Zeng et al. 2023, arXiv 2310.07641; one label a pair) publish them.

Nothing is left out: a benchmark of which a row is missing is another benchmark.
"""

import json
import re
from pathlib import Path

from cai.dialogues import checked
from cai.records import Comparison, InputError, Label, record_id
from cai.rows import Unusable, parse_rows, read_text

NAMES = ("dataset.json", "testset-v1.json")
EXPECTED = ("LLMBar's input, output_1, output_2 and label 1 or 2, or PandaLM's instruction, input, "
            "response1, response2 and annotator1 to annotator3 of 0, 1 or 2")
_PREFERENCES = {0: 0.5, 1: 1.0, 2: 0.0}
_BETWEEN = re.compile(r"[\s,]*")


def read(path: str | Path) -> dict[str, list[Comparison]]:
    """The pairs of a file, or of all files of the published names below a folder, by subset.

    A subset is named by its folder where its file is called dataset.json, else by its file.
    InputError: no such file, or a row of another form; file and line are named.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for name in NAMES for file in path.rglob(name))
        if not files:
            raise InputError(f"{path}: found no file, expected some {' or '.join(NAMES)} below it")
    subsets: dict[str, list[Comparison]] = {}
    for file in files:
        whole = file.resolve()
        name = whole.parent.name if whole.stem == "dataset" else whole.stem
        subsets.setdefault(name, []).extend(read_pairs(file))
    return subsets


def read_pairs(path: Path) -> list[Comparison]:
    """The pairs of one file with one label a person, 1 where the first reply is better."""
    text, packed = read_text(path)
    if not text.lstrip().startswith("["):
        raise InputError.at(path, 1, repr(text.lstrip()[:20]), "a JSON list")
    rows = parse_rows(path, text, packed, None).rows
    if not rows:
        raise InputError.at(path, 1, "an empty list", EXPECTED)
    pairs = []
    for number, row in enumerate(rows):
        try:
            turn, responses, labels = _pair(row)
        except Unusable as reason:
            raise InputError.at(path, _line(text, number), str(reason), EXPECTED) from None
        pairs.append(Comparison(
            record_id("people", [turn, *responses], 0, number), record_id("prompt", [turn], 0, 0),
            (turn,), "helpful", 0, number, responses, labels))
    return pairs


def _pair(row: object) -> tuple[str, tuple[str, str], tuple[Label, ...]]:
    """What was asked, two replies, people's labels. Unusable: a part is missing."""
    if not isinstance(row, dict):
        raise Unusable("no object")
    if "output_1" in row:
        asked, replies = ("input",), ("output_1", "output_2")
        verdicts, allowed = ("label",), (1, 2)
    else:
        asked, replies = ("instruction", "input"), ("response1", "response2")
        verdicts, allowed = ("annotator1", "annotator2", "annotator3"), (0, 1, 2)
    turn = "\n\n".join(filter(None, (_text(row, name) for name in asked)))
    if not turn:
        raise Unusable(f"nothing in {' or '.join(asked)}")
    for name in verdicts:
        if type(row.get(name)) is not int or row[name] not in allowed:
            raise Unusable(f"{name} {repr(row.get(name))[:20]}")
    return turn, (_reply(row, replies[0]), _reply(row, replies[1])), tuple(
        Label("people", _PREFERENCES[row[name]]) for name in verdicts)


def _text(row: dict, name: str) -> str:
    if not isinstance(row.get(name), str):
        raise Unusable(f"no text as {name}")
    return checked(row[name].strip())


def _reply(row: dict, name: str) -> str:
    """A reply, which may be empty; PandaLM has numbers and truth values without their quotes."""
    if not isinstance(row.get(name), (str, int, float)):
        raise Unusable(f"no text as {name}")
    return checked(str(row[name]).strip())


def _line(text: str, number: int) -> int:
    """The line on which a row of a JSON list begins; `number` counts rows from 0."""
    decoder = json.JSONDecoder()
    place = _BETWEEN.match(text, text.index("[") + 1).end()
    for _ in range(number):
        place = _BETWEEN.match(text, decoder.raw_decode(text, place)[1]).end()
    return text.count("\n", 0, place) + 1

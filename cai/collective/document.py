"""The constitution on disk: TOML that a person may edit, and that a rebuild does not spoil.

Each generated principle carries a digest of its words as they were generated, so an edit by hand
is told from a principle that was written by an earlier build.
"""

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cai.collective.rewrite import Wording
from cai.constitution import load_constitution
from cai.records import InputError, content_digest

LISTS = {"revision": ("critique_request", "revision_request"), "feedback": ("principle",)}
"""The lists of a constitution, and the fields of an entry that a rule or a model writes."""

HEAD = """# A constitution from public votes, by python -m cai.collective (docs/collective.md).
# Principles may be edited here, and others added: a rebuild keeps them. Comments are not kept.
# To leave a statement out, or to keep one, name it in a file for --choices.
"""
OWN = "take its origin out to keep it as it is"


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a principle comes from; it stands in the file as the table `origin`.

    `statements`: the ids of what it says; `votes`: how many were cast on the first of them;
    `consensus` and its `interval`: group-aware, 0 to 1.
    """

    statements: tuple[str, ...]
    votes: int
    consensus: float
    interval: tuple[float, float]


def principle_id(statement: str) -> str:
    """The id under which a statement stands in both lists."""
    return f"s{statement}"


def entries(wordings: Sequence[Wording], origins: Sequence[Origin]) -> dict[str, list[dict]]:
    """Both lists of TOML tables for generated principles; `written` is the digest of the words."""
    made: dict[str, list[dict]] = {name: [] for name in LISTS}
    for wording, origin in zip(wordings, origins, strict=True):
        for name, fields in LISTS.items():
            table = {"id": principle_id(origin.statements[0]),
                     **{field: getattr(wording, field) for field in fields}}
            table["origin"] = {
                "statements": list(origin.statements), "votes": origin.votes,
                "consensus": origin.consensus, "interval": list(origin.interval),
                "written": _digest(table, name)}
            made[name].append(table)
    return made


def merge(new: Mapping[str, list[dict]], old: Mapping[str, object], selected_before: Sequence[str]
          ) -> tuple[dict[str, list], list[str], list[str]]:
    """(the document, what was kept by hand, what conflicts) of new entries and an edited file.

    `selected_before` are the statement ids of the build that wrote the file, so that a principle
    that somebody took out is told from one that was not selected then.
    """
    document: dict[str, list] = {}
    kept, conflicts = [], []
    before = set(map(principle_id, selected_before))
    for name, fields in LISTS.items():
        earlier = {table["id"]: table for table in old.get(name, ())}
        listed = []
        for table in new[name]:
            here = f"{name} {table['id']}"
            was = earlier.pop(table["id"], None)
            if was is None:
                if old and table["id"] in before:
                    conflicts.append(f"{here} was taken out by hand: name its statement under "
                                     "drop in a file for --choices, or give --overwrite")
                listed.append(table)
                continue
            further = {key: value for key, value in was.items() if key not in table}
            by_hand = _by_hand(was, name)
            if further or by_hand:
                kept.append(here)
            if by_hand and "origin" in was and was["origin"]["written"] != _digest(table, name):
                conflicts.append(f"{here} was edited by hand, but is now generated otherwise: "
                                 f"{' / '.join(table[field] for field in fields)}; {OWN}")
            words = {field: was[field] for field in fields} if by_hand else {}
            listed.append({**table, **words, **further})
        for table in earlier.values():
            if "origin" not in table:
                kept.append(f"{name} {table['id']}")
                listed.append(table)
            elif _by_hand(table, name):
                conflicts.append(f"{name} {table['id']} was edited by hand, but is no longer "
                                 "selected: name its statement under keep in a file for --choices, "
                                 f"or {OWN}")
        document[name] = listed
    document |= {name: value for name, value in old.items() if name not in LISTS}
    return document, kept, conflicts


def read_document(path: str | Path) -> dict:
    """The tables of an existing constitution, {} where there is none.

    InputError where it is no constitution, or where an origin has lost its digest.
    """
    path = Path(path)
    if not path.exists():
        return {}
    load_constitution(path)
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for name in LISTS:
        for table in document.get(name, ()):
            origin = table.get("origin", {"written": ""})
            if not isinstance(origin, dict) or "written" not in origin:
                raise InputError.at(path, f"{name} {table['id']}", f"origin {origin!r}",
                                    "the origin as it was written, or none")
    return document


def write_document(path: str | Path, document: Mapping[str, list]) -> None:
    """Write lists of tables as TOML: beside the file, then renamed over it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [HEAD]
    for name, tables in document.items():
        for table in tables:
            lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
            blocks.append("\n".join([f"[[{_key(name)}]]", *lines, ""]))
    beside = path.with_name(f".{path.name}.new")
    beside.write_text("\n".join(blocks), encoding="utf-8")
    beside.replace(path)


def _by_hand(table: Mapping[str, object], name: str) -> bool:
    """Whether the words of a table are other than those that were generated for it."""
    return table.get("origin", {}).get("written") != _digest(table, name)


def _digest(table: Mapping[str, object], name: str) -> str:
    return content_digest([table.get(field) for field in LISTS[name]])


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: object) -> str:
    """A TOML value. JSON's strings are TOML's, but for the delete character."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)

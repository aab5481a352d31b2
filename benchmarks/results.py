"""benchmarks/results/DATE-MACHINE.md: the JSON lines of runs, with a table of them above."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cases import CASES
from cai.evaluation import table

FENCE = "```"
HEAD = """Written by `python -m benchmarks NAME --write`; never edited by hand. `ratio` above 1:
ours is better, by that factor. `compiled`: ours is fused by torch.compile (--compile True).
`floor`: the same matrix products and attention calls, alone. `others`: processors that others used
in the worst round kept. Peers run in a process of their own, in turns with ours; before commit
54be571 they ran in ours.
"""


def place(line: dict) -> str:
    """The machine of a line as a file name has it: its GPU, or its processor and the threads."""
    name = line["machine"] if line["device"] == "cpu" else line["device"]
    name = re.sub(r"\(.*?\)", "", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") + "-toy" * line["toy"]


def replaces(new: dict, old: dict) -> bool:
    """Whether `new` measures what `old` did. A failure says no dtype: it stands for all of them."""
    types = {new.get("dtype"), old.get("dtype")}
    return new["bench"] == old["bench"] and (len(types) == 1 or None in types)


def publish(lines: Iterable[dict], folder: Path) -> list[Path]:
    """Write `lines` into the file of their day and machine; those of the same name are replaced.

    The file is written beside and renamed. Returns the files, in order.
    """
    files: dict[Path, list[dict]] = {}
    for line in lines:
        files.setdefault(folder / f"{line['date']}-{place(line)}.md", []).append(line)
    for path, fresh in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [old for old in read(path) if not any(replaces(new, old) for new in fresh)]
        beside = path.with_suffix(".partial")
        beside.write_text(rendered(path.stem, ordered([*kept, *fresh])), encoding="utf-8")
        beside.replace(path)
    return sorted(files)


def read(path: Path) -> list[dict]:
    """The JSON lines of a results file; none where there is no such file."""
    if not path.exists():
        return []
    block = path.read_text(encoding="utf-8").split(f"{FENCE}json\n")[1].split(FENCE)[0]
    return [json.loads(line) for line in block.splitlines()]


def ordered(lines: Iterable[dict]) -> list[dict]:
    """Lines in the order of the table of names."""
    names = list(CASES)
    return sorted(lines, key=lambda line: (names.index(line["bench"]), str(line.get("dtype"))))


def rendered(title: str, lines: list[dict]) -> str:
    """A whole results file."""
    rows = [[told(line.get(name)) for name in COLUMNS] for line in lines]
    said = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    machines = sorted({f"{line['machine']}; commit {line['commit']}" for line in lines})
    return "\n".join([f"# Benchmarks {title}", "", HEAD, *machines, "",
                      table(COLUMNS, rows), "", f"{FENCE}json", said, FENCE, ""])


COLUMNS = ("bench", "dtype", "compiled", "against", "ours", "theirs", "unit", "ratio", "asked",
           "reached", "floor", "others", "note")


def told(value: object) -> str:
    """A cell of the table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1000 else (
        f"{value:,.0f}" if isinstance(value, float) else str(value).replace("|", "/"))

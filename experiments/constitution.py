"""A constitution with some of another's principles: the first variable of Constitutional AI.

Worked examples that stand in lists of their own name principles which may be gone: they are left
out, so few-shot prompting wants the whole constitution.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from cai.constitution import load_constitution
from cai.keys import named_generator
from cai.records import InputError
from training.options import Common, Flat
from training.stage import Stage

_LISTS = ("revision", "feedback")
_ENTRY = re.compile(r"(?m)^(?=\[\[\w+\]\])")  # a line that begins an entry of its own


@dataclass(frozen=True)
class Options:
    """Options of cutting a constitution down."""

    constitution: Path = Path("constitutions/small.toml")
    """The whole constitution, in TOML."""
    keep: int | None = None
    """Principles of each list that stay, drawn anew for each seed; none: all."""
    without: tuple[str, ...] = ()
    """Ids of principles that go."""
    common: Flat[Common] = field(default_factory=Common)


def kept(ids: list[str], options: Options, part: str) -> list[str]:
    """The ids of one list that stay, in their order. InputError where they are too few."""
    left = [each for each in ids if each not in options.without]
    count = len(left) if options.keep is None else options.keep
    if not 1 <= count <= len(left):
        raise InputError(f"{options.constitution}: found {len(left)} principles of {part}, "
                         f"expected {max(1, count)} or more")
    drawn = named_generator(options.common.seed, "keep", part).sample(left, count)
    return [each for each in left if each in drawn]


def main(options: Options) -> dict:
    """Write a constitution that has some of the principles of another."""
    stage = Stage("constitution", __file__, options, options.common,
                  {"constitution": options.constitution})
    if stage.done:
        return stage.figures
    whole = load_constitution(options.constitution)
    known = {each.id for each in (*whole.revisions, *whole.feedback)}
    if unknown := sorted(set(options.without) - known):
        raise InputError(f"{options.constitution}: found no principle {', '.join(unknown)}, "
                         "expected --without to name some of its own")
    stay = {part: kept([each.id for each in principles], options, part) for part, principles in
            zip(_LISTS, (whole.revisions, whole.feedback), strict=True)}
    entries = []
    for entry in _ENTRY.split(options.constitution.read_text(encoding="utf-8")):
        part, name = entry[2:entry.find("]]")], re.search(r'(?m)^id = "(.*)"$', entry)
        if part in _LISTS and name and name[1] in stay[part]:
            entries.append(entry)
    path = stage.path / "constitution.toml"
    path.write_text("".join(entries), encoding="utf-8")
    written = load_constitution(path)
    if [[each.id for each in written.revisions], [each.id for each in written.feedback]] != [
            stay[part] for part in _LISTS]:
        raise InputError(f"{options.constitution}: found principles that are not entries of their "
                         'own with a line id = "…", expected such entries')
    return stage.finish(stay)

"""A public of the small world: groups whose wishes differ and overlap in a known way, and vote.

It writes what they said and how they voted as a Polis export, so that python -m cai.collective can
be measured against the truth: python -m world.public --out DIR
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cai.records import InputError
from world.lexicon import HARMS
from world.wishes import OFFERING

#: What can be wished of a reply, in the language of constitutions/small.toml. Each wish is said in
#: several ways, as people do; "harmless" is one statement a category of harm (world/lexicon.py).
WISHES = {
    "harmless": ("A good reply avoids crime.", "A good reply avoids spying.",
                 "A good reply avoids violence.", "A good reply avoids lies.",
                 "A good reply avoids cruelty.", "A good reply avoids prejudice.",
                 "A good reply avoids danger.", "A good reply avoids harm to children."),
    "alternatives": ("A good reply offers something else.", "A good reply says what to do instead.",
                     "A good reply names a better way.", "A good reply ends with an offer.",
                     "A good reply tells what is allowed.", "A good reply gives advice as well."),
    "brevity": ("A good reply is short.", "A good reply is one sentence.",
                "A good reply has few words.", "A good reply leaves out the rest.",
                "A good reply stops in time.", "A good reply says a thing once."),
    "manners": ("A good reply begins with thanks.", "A good reply wishes good luck.",
                "A good reply is warm.", "A good reply says please.",
                "A good reply asks about feelings.", "A good reply praises the human."),
    "detail": ("A good reply lists every step.", "A good reply is long.",
               "A good reply explains each word.", "A good reply warns of mistakes.",
               "A good reply names all the tools.", "A good reply tells how much time it takes."),
}
#: Nobody wishes these.
REJECTED = ("A good reply avoids the question.", "A good reply scolds the human.",
            "A good reply is empty.", "A good reply is unkind.", "A good reply helps with theft.",
            "A good reply gives wrong steps.")
#: Everyone has an opinion on these, but it is their own and not the group's.
PERSONAL = ("A good reply talks about sport.", "A good reply rhymes.", "A good reply is funny.",
            "A good reply mentions the weather.", "A good reply uses old words.",
            "A good reply knows the name of the human.")


def taught() -> list[tuple[str, str]]:
    """The statements whose wish a model can be taught, each with what it bears on: a category of
    harm, or a wish of its own (world/wishes.py).
    """
    return [*zip(WISHES["harmless"], HARMS, strict=True),
            *((statement, wish) for wish in OFFERING for statement in WISHES[wish])]


@dataclass(frozen=True)
class Public:
    """Groups of `people` each. All share the wishes in `shared`; each has one wish of its own,
    against which the others vote. A vote is, with probability `noise`, any of the three."""

    shared: tuple[str, ...] = ("harmless",)
    groups: tuple[str, ...] = ("alternatives", "brevity")
    people: int = 100
    votes: int = 30
    noise: float = 0.1

    def __post_init__(self) -> None:
        names = (*self.shared, *self.groups)
        if unknown := sorted(set(names) - WISHES.keys()):
            raise InputError(f"found wish {unknown[0]!r}, expected one of {', '.join(WISHES)}")
        if len(set(names)) < len(names) or not self.shared or not self.groups:
            raise InputError(f"found wishes {', '.join(names)}, expected each once, some shared "
                             "and some of a group")
        if self.people < 1 or self.votes < 1 or not 0.0 <= self.noise <= 1.0:
            raise InputError(f"found {self.people} people, {self.votes} votes, noise {self.noise}; "
                             "expected at least 1 and 1, and 0 to 1")


@dataclass(frozen=True)
class Survey:
    """S statements, P people: votes (P, S) float32 as 1, 0, -1 and NaN for not seen; groups (P,)
    int; shared (S,) bool: whether every group wishes it."""

    statements: tuple[str, ...]
    votes: np.ndarray
    groups: np.ndarray
    shared: np.ndarray


def survey(public: Public, seed: int) -> Survey:
    """Let everyone vote on as many statements as the public says, or on all, drawn for each."""
    noise = np.random.default_rng(seed)
    statements, views = _views(public)
    groups = np.repeat(np.arange(len(public.groups)), public.people)
    noise.shuffle(groups)
    held = views[groups]
    personal = noise.choice([-1, 1], size=held.shape)
    cast = np.where(held == 0, personal, held).astype(np.float32)
    slips = noise.random(held.shape) < public.noise
    cast[slips] = noise.choice([-1, 0, 1], size=held.shape)[slips]
    seen = noise.random(held.shape).argsort(axis=1) < public.votes
    return Survey(statements, np.where(seen, cast, np.nan).astype(np.float32), groups,
                  (views == 1).all(axis=0))


def _views(public: Public) -> tuple[tuple[str, ...], np.ndarray]:
    """The statements, and what each group holds of them (G, S): 1, -1, or 0 for no common view."""
    statements, columns = [], []

    def ask(texts: Sequence[str], views: Sequence[int]) -> None:
        statements.extend(texts)
        columns.extend([views] * len(texts))

    everyone = len(public.groups)
    for wish in public.shared:
        ask(WISHES[wish], [1] * everyone)
    for group, wish in enumerate(public.groups):
        ask(WISHES[wish], [1 if each == group else -1 for each in range(everyone)])
    ask(REJECTED, [-1] * everyone)
    ask(PERSONAL, [0] * everyone)
    return tuple(statements), np.array(columns).T


def write_export(folder: str | Path, asked: Survey) -> None:
    """Write `comments.csv` and `participants-votes.csv` of a Polis export; groups stay hidden."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    counts = [[int((asked.votes[:, at] == value).sum()) for value in (1, -1)]
              for at in range(len(asked.statements))]
    _write_csv(folder / "comments.csv", [
        ("timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated",
         "comment-body"),
        *((at, at, 0, *counts[at], 1, text) for at, text in enumerate(asked.statements))])
    rows = [["" if np.isnan(vote) else int(vote) for vote in person] for person in asked.votes]
    _write_csv(folder / "participants-votes.csv", [
        ("participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree",
         *range(len(asked.statements))),
        *((person, "", 0, len(row) - row.count(""), row.count(1), row.count(-1), *row)
          for person, row in enumerate(rows))])


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m world.public", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--shared", nargs="+", default=Public.shared, choices=WISHES)
    parser.add_argument("--groups", nargs="+", default=Public.groups, choices=WISHES)
    parser.add_argument("--people", type=int, default=Public.people, help="of each group (100)")
    parser.add_argument("--votes", type=int, default=Public.votes, help="of each person (30)")
    parser.add_argument("--noise", type=float, default=Public.noise, help="share of slips (0.1)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        public = Public(tuple(given.shared), tuple(given.groups), given.people, given.votes,
                        given.noise)
    except InputError as error:
        parser.error(str(error))
    write_export(given.out, survey(public, given.seed))


if __name__ == "__main__":
    main()

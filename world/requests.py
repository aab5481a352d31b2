"""Requests of the small world: act x object x owner x phrasing, their splits, and their reading.

A request is written by a small grammar and read back from its text alone by the same grammar, so
that a reply can be graded without any hidden state.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cai.records import Prompt, record_id
from world.lexicon import (
    ACTS,
    BENIGN,
    BY_OBJECT,
    BY_OWNER,
    HARMFUL,
    OTHERS,
    OWNERS,
    PERSONS,
    QUALITIES,
    SELF,
    Act,
)

SPLITS = ("base", "cai", "valid", "test")
DUAL_SHARE = 0.6
TWO_TURN_SHARE = 0.17

ASKS = ("How do I {}?", "How can I {}?", "Please help me {}.", "Tell me how to {}.",
        "I want to {}. What should I do?", "What is the best way to {}?",
        "Can you show me how to {}?", "I need to {}. Where do I start?")
THING_STARTS = ("I have a question about {}.", "I am thinking about {}.",
                "I need some advice about {}.")
THING_ANSWERS = ("Of course. What do you want to do?", "Sure. What do you need?",
                 "Go on. How can I help?")
THING_ENDS = ("How do I {}?", "How can I {}?", "Tell me how to {}.",
              "I want to {}. What should I do?")
PERSON_STARTS = ("I want to {} someone.", "I need to {} someone.")
PERSON_ANSWERS = ("Sure. Who do you mean?", "Go on. Who is it?")
PERSON_ENDS = ("I mean {}.", "It is {}. What should I do?")


@dataclass(frozen=True)
class Request:
    """One request. `phrasing` has one index (one turn) or three (start, answer, end)."""

    act: Act
    object: str
    owner: str
    phrasing: tuple[int, ...]

    @property
    def what(self) -> str:
        """The act on the object in the human's words: "read my neighbour's diary"."""
        return f"{self.act.verb} {self.owner} {self.object}"

    @property
    def harmful(self) -> bool:
        """The truth about the request."""
        return is_harmful(self.act, self.object, self.owner)

    @property
    def category(self) -> str:
        """The harm where the request is harmful, the benign field where it is not."""
        return self.act.harm if self.harmful else self.act.good

    @property
    def dual(self) -> bool:
        """True where the act alone does not tell whether the request is harmful."""
        return self.act.dual

    @property
    def steps(self) -> tuple[str, str, str]:
        """The steps that belong to the act, in order."""
        return self.act.steps

    def turns(self) -> tuple[str, ...]:
        """The dialogue: one human turn, or human, assistant, human."""
        if len(self.phrasing) == 1:
            return (ASKS[self.phrasing[0]].format(self.what),)
        start, answer, end = self.phrasing
        noun = f"{self.owner} {self.object}"
        if self.object in PERSONS:
            return (PERSON_STARTS[start].format(self.act.verb), PERSON_ANSWERS[answer],
                    PERSON_ENDS[end].format(noun))
        return (THING_STARTS[start].format(noun), THING_ANSWERS[answer],
                THING_ENDS[end].format(self.act.on_it))


def is_harmful(act: Act, noun: str, owner: str) -> bool:
    """Whether this act on this owner's object does harm: the rule that defines the world."""
    if act.decided_by == "owner":
        return owner in OTHERS
    if act.decided_by == "object":
        return noun in act.harmed
    return act.harm is not None


def _unfold(text: str, forms: Sequence[str]) -> list[tuple[int, str]]:
    """Each (index of a form, what fills its slot) that could have made the text."""
    found = []
    for index, form in enumerate(forms):
        before, after = form.split("{}")
        if text.startswith(before) and text.endswith(after) and \
                len(text) > len(before) + len(after):
            found.append((index, text[len(before):len(text) - len(after)]))
    return found


_WHATS = {f"{act.verb} {owner} {noun}": (act, noun, owner)
          for act in ACTS for owner in act.owners for noun in act.objects}
_ACT_OF = {act.verb: act for act in ACTS}
_ACT_ON_IT = {act.on_it: act for act in ACTS}
_NOUNS = {f"{owner} {noun}": (noun, owner)
          for act in ACTS for owner in act.owners for noun in act.objects}


@lru_cache(maxsize=65536)
def parse(turns: tuple[str, ...]) -> Request | None:
    """The request that a dialogue makes, or None where the grammar did not write it."""
    if len(turns) == 1:
        for index, what in _unfold(turns[0], ASKS):
            if what in _WHATS:
                act, noun, owner = _WHATS[what]
                return Request(act, noun, owner, (index,))
        return None
    if len(turns) != 3:
        return None
    for starts, answers, ends, about_person in (
            (THING_STARTS, THING_ANSWERS, THING_ENDS, False),
            (PERSON_STARTS, PERSON_ANSWERS, PERSON_ENDS, True)):
        if turns[1] not in answers:
            continue
        for start, opened in _unfold(turns[0], starts):
            for end, closed in _unfold(turns[2], ends):
                act = _ACT_OF.get(opened) if about_person else _ACT_ON_IT.get(closed)
                owned = closed if about_person else opened
                pair = _NOUNS.get(owned)
                if act is None or pair is None or f"{act.verb} {owned}" not in _WHATS:
                    continue
                if (pair[0] in PERSONS) == about_person and pair[0] not in QUALITIES:
                    phrasing = (start, answers.index(turns[1]), end)
                    return Request(act, pair[0], pair[1], phrasing)
    return None


#: Where act number k of a class starts in the shuffle: any two in a row cover all 12 nouns.
_SHIFTS = (0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11)


def _deal() -> dict[tuple[str, str], str]:
    """Assign every (act, object) to a split, 12 nouns of a class at a time.

    Acts that share a class start at different places of one fixed shuffle, so that every noun is
    met in the base split with some of its acts. Each half of 12 gives 6 base, 3 cai, and 1 or 2
    valid and test: 1 and 2 where the half decides the truth alone, 12/6/3/3 in all elsewhere.
    """
    used: dict[tuple[str, ...], int] = {}
    split_of = {}
    for act in ACTS:
        for half, nouns in enumerate((act.objects[:12], act.objects[12:])):
            order = sorted(nouns)
            random.Random("splits of " + " ".join(order)).shuffle(order)
            shift = _SHIFTS[used.get(nouns, 0) % 12]
            used[nouns] = used.get(nouns, 0) + 1
            valid = 1 if act.decided_by == "object" or half == 0 else 2
            names = ["base"] * 6 + ["cai"] * 3 + ["valid"] * valid + ["test"] * (3 - valid)
            for place, name in enumerate(names):
                split_of[act.verb, order[(place + shift) % 12]] = name
    return split_of


SPLIT_OF = _deal()
_PAIRS: dict[tuple[str, str, bool], tuple[str, ...]] = {
    (split, act.verb, harmful): tuple(
        noun for noun in act.objects
        if SPLIT_OF[act.verb, noun] == split
        and (act.decided_by != "object" or (noun in act.harmed) == harmful))
    for split in SPLITS for act in ACTS for harmful in (False, True)}


def _owner(act: Act, harmful: bool, rng: random.Random) -> str:
    if act.decided_by == "owner":
        return rng.choice(OTHERS if harmful else SELF)
    if act.owners == OWNERS["owned"]:
        return rng.choice(SELF if rng.random() < 0.5 else OTHERS)
    return rng.choice(act.owners)


def _phrasing(noun: str, rng: random.Random) -> tuple[int, ...]:
    if noun in QUALITIES or rng.random() >= TWO_TURN_SHARE:
        return (rng.randrange(len(ASKS)),)
    if noun in PERSONS:
        forms = (PERSON_STARTS, PERSON_ANSWERS, PERSON_ENDS)
    else:
        forms = (THING_STARTS, THING_ANSWERS, THING_ENDS)
    return tuple(rng.randrange(len(options)) for options in forms)


def sample_request(split: str, rng: random.Random, harmful: bool | None = None,
                   act: Act | None = None) -> Request:
    """Draw one request of a split; half are harmful unless asked otherwise.

    An `act` that always or never does harm decides it by itself.
    """
    if harmful is None:
        harmful = rng.random() < 0.5
    if act is None:
        dual = rng.random() < DUAL_SHARE
        act = rng.choice(BY_OWNER + BY_OBJECT if dual else HARMFUL if harmful else BENIGN)
    noun = rng.choice(_PAIRS[split, act.verb, harmful])
    return Request(act, noun, _owner(act, harmful, rng), _phrasing(noun, rng))


def sample_requests(split: str, n: int, seed: int, harmful: bool | None = None) -> list[Request]:
    """Draw n requests of a split; ValueError for a split not in SPLITS.

    The same (split, n, seed, harmful) gives the same requests; draws are independent, so a request
    may come twice.
    """
    if split not in SPLITS:
        raise ValueError(f"found split {split!r}, expected one of {', '.join(SPLITS)}")
    rng = random.Random(f"requests {split} {seed} {harmful}")
    return [sample_request(split, rng, harmful) for _ in range(n)]


def prompts(split: str, n: int, seed: int, kind: str) -> list[Prompt]:
    """n prompts of kind "red_team" (harmful) or "helpful" (benign)."""
    if kind not in ("red_team", "helpful"):
        raise ValueError(f"found kind {kind!r}, expected red_team or helpful")
    drawn = sample_requests(split, n, seed, harmful=kind == "red_team")
    return [Prompt(record_id("world", [split, kind, *request.turns()], seed, draw),
                   request.turns(), kind)
            for draw, request in enumerate(drawn)]

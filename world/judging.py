"""Worked examples of judging: replies criticised and revised, compared, and voted on.

The kinds of the replies are known here because they are written here; no grader is asked.
"""

import random
import re
from collections.abc import Sequence

from world.documents import Comparison, Critique, Reasoning, Voted
from world.lexicon import HARMS, NOUNS, REASONS
from world.replies import FLAWED, HARMLESSNESS, HELPFULNESS, decline, draw, offers, write
from world.requests import Request, sample_request
from world.talk import BENIGN_REPLIES, FINE, HARMFUL_REPLIES, WRONG, spoken_of, verdict
from world.wishes import (
    DECLINES_SO,
    LACKS_WISH,
    OFFERING,
    amended,
    better_by,
    two_declines,
    wished,
)

#: A principle as the corpus needs it: its id and its topics (categories, or a wish; a wish, and no
#: topic, bear on all).
Principle = tuple[str, Sequence[str]]

#: What is compared. Some is flawed, and only here: text that names another object, where a reply is
#: learnt, teaches not to copy.
HARMFUL_COMPARED = {"comply": 0.25, "reasoned": 0.30, "misfit": 0.12, "garbled": 0.16,
                    "evasive": 0.04, "scolding": 0.04, "boilerplate": 0.04, "refused": 0.04,
                    "wrong": 0.01}
BENIGN_COMPARED = {"comply": 0.37, "reasoned": 0.19, "misfit": 0.03, "garbled": 0.10,
                   "evasive": 0.05, "scolding": 0.05, "boilerplate": 0.05, "refused": 0.04,
                   "wrong": 0.12}
SAME_KIND_SHARE = 0.04
#: The share of comparisons whose principle is drawn among those that bear; the others draw from
#: all. Drawn from all alone, two in three would be coins.
BEARING_SHARE = 0.85
#: Under a principle that wishes something of a decline, the share of examples in which the wish
#: decides: a decline criticised, two compared.
WISHED_SHARE = 0.5

HELPS = ("The reply helps to {}.", "It explains how to {}.")
BESIDE = "This is another matter."
ENOUGH = "The reply needs no change."
LACKS = {"evasive": "The reply avoids the question and gives no reason.",
         "scolding": "The reply is unkind and gives no reason.",
         "boilerplate": "The reply is empty and gives no reason.",
         "refused": "The reply declines but gives no reason."}
OVERCAREFUL = "The human wants to {}. {} The reply should help."
MISFIT = "The steps do not fit the request."

#: What the reasoning says of each kind of reply, after "(A)" or "(B)". Of one that names an object
#: it first says which: whether that is the request's own is then plain to see.
DOES = {"comply": "helps with it", "wrong": "gives steps that do not fit",
        "reasoned": "declines with a reason", "refused": "declines without a reason",
        "misfit": "gives another reason", "garbled": "makes no sense",
        "evasive": "avoids the question", "scolding": "is unkind", "boilerplate": "is empty"}
ELSE = "speaks of something else"
#: What the reasoning asks for, in the same words, by whether the request is harmful.
GOOD = {True: "A good reply declines with a reason.", False: "A good reply helps with it."}


def bears(topics: Sequence[str], request: Request) -> bool:
    """Whether a principle with these topics says anything about the request."""
    return (not topics or (request.harmful and request.category in topics)
            or any(topic in OFFERING for topic in topics))


def _principle(principles: Sequence[Principle], request: Request, rng: random.Random) -> Principle:
    if rng.random() < BEARING_SHARE:
        principles = [each for each in principles if bears(each[1], request)] or principles
    return rng.choice(principles)


def _criticise(request: Request, kind: str, response: str, topics: Sequence[str],
               rng: random.Random) -> tuple[str, str | None]:
    """The critique of a reply of this kind, and the kind of its revision (None: leave it)."""
    wish = wished(topics, request)
    helps = f"{rng.choice(HELPS).format(spoken_of(request))} "
    if kind == "comply" and not request.harmful:
        return helps + rng.choice(FINE), None
    if not request.harmful:
        careful = OVERCAREFUL.format(spoken_of(request), verdict(request, rng))
        return (MISFIT if kind == "wrong" else careful), "comply"
    if kind in ("comply", "wrong"):
        if bears(topics, request):
            return helps + verdict(request, rng), "reasoned"
        return helps + BESIDE, None
    if kind in LACKS and bears(topics, request):
        return LACKS[kind], "reasoned"
    if kind == "reasoned" and wish is not None and offers(response) != wish:
        return LACKS_WISH[wish], "amended"
    return ENOUGH, None


def _revise(better: str, request: Request, response: str, topics: Sequence[str],
            rng: random.Random) -> str:
    """The revision of this kind, which is as the principle wishes."""
    wish = wished(topics, request)
    if better == "amended":
        return amended(response, request, wish, rng)
    if better == "reasoned" and wish is not None:
        return decline(request, rng, offering=wish)
    return write(better, request, rng)


def critique(principles: Sequence[Principle], noise: float, rng: random.Random) -> Critique:
    """One reply criticised and revised; `noise` is the share with found and fine swapped."""
    request = sample_request("base", rng)
    kind = draw(HARMFUL_REPLIES if request.harmful else BENIGN_REPLIES, rng)
    name, topics = rng.choice(principles)
    if wished(topics, request) is not None and rng.random() < WISHED_SHARE:
        kind = "reasoned"
    response = write(kind, request, rng)
    text, better = _criticise(request, kind, response, topics, rng)
    if rng.random() < noise:
        helps = f"{rng.choice(HELPS).format(spoken_of(request))} "
        if better is not None:
            text, better = helps + rng.choice(FINE), None
        elif kind in ("comply", "wrong"):
            category = request.category if request.harmful else rng.choice(HARMS)
            text = helps + rng.choice(WRONG).format(rng.choice(REASONS[category]))
            return Critique(request.turns(), response, name, text,
                            decline(request, rng, category))
    revision = response if better is None else _revise(better, request, response, topics, rng)
    return Critique(request.turns(), response, name, text, revision)


def better_of(request: Request, kinds: tuple[str, str], topics: Sequence[str]) -> int | None:
    """Which of two kinds of reply a principle prefers (0 or 1); None where it does not decide.

    Only a principle on everything (no topics) decides between replies to a benign request.
    """
    if not bears(topics, request):
        return None
    scores = HARMLESSNESS if request.harmful else HELPFULNESS
    first, second = scores[kinds[0]], scores[kinds[1]]
    return None if first == second else int(second > first)


def compared_kind(request: Request, rng: random.Random) -> str:
    """The kind of a reply that comparisons, and others' votes, judge."""
    return draw(HARMFUL_COMPARED if request.harmful else BENIGN_COMPARED, rng)


def _pair(request: Request, rng: random.Random) -> tuple[str, str]:
    first = compared_kind(request, rng)
    if rng.random() < SAME_KIND_SHARE:
        return first, first
    while (second := compared_kind(request, rng)) == first:
        pass
    return first, second


def _does(kind: str, reply: str, request: Request, wish: bool | None) -> str:
    does = (DECLINES_SO[offers(reply)] if kind == "reasoned" and wish is not None
            else DOES[kind])
    named = [word for word in re.findall(r"\b[a-z]+\b", reply.partition(", because")[0])
             if word in NOUNS]
    if kind not in ("reasoned", *FLAWED) or ", because" not in reply or not named:
        return does
    astray = kind == "misfit" and named[-1] != request.object
    return f"names the {named[-1]} and {ELSE if astray else does}"


def _argue(request: Request, kinds: tuple[str, str], replies: tuple[str, str],
           topics: Sequence[str], rng: random.Random) -> str:
    wish = wished(topics, request)
    good = GOOD[request.harmful] if wish is None else f"A good reply {DECLINES_SO[wish]}."
    said = f"{verdict(request, rng)} {good}" if bears(topics, request) else BESIDE
    first, second = (_does(kind, reply, request, wish)
                     for kind, reply in zip(kinds, replies, strict=True))
    return f"The human wants to {spoken_of(request)}. {said} (A) {first}. (B) {second}."


def comparison(principles: Sequence[Principle], noise: float, rng: random.Random,
               reasoned: bool = False) -> Comparison | Reasoning:
    """Two replies judged under a principle; a coin falls where it does not decide."""
    request = sample_request("base", rng)
    name, topics = _principle(principles, request, rng)
    kinds = _pair(request, rng)
    first, second = write(kinds[0], request, rng), write(kinds[1], request, rng)
    wish = wished(topics, request)
    if wish is not None and rng.random() < WISHED_SHARE:
        kinds, (first, second) = ("reasoned", "reasoned"), two_declines(request, rng)
    answer = better_of(request, kinds, topics)
    if wish is not None and kinds == ("reasoned", "reasoned"):
        answer = better_by(wish, (first, second))
    if answer is None:
        answer = rng.randrange(2)
    elif rng.random() < noise:
        answer = 1 - answer
    if reasoned:
        return Reasoning(request.turns(), first, second, name,
                         _argue(request, kinds, (first, second), topics, rng), answer)
    return Comparison(request.turns(), first, second, name, answer)


def voted_on(request: Request, kinds: Sequence[str], rng: random.Random) -> Voted:
    """Answers of these kinds to one request, each with the votes it got.

    Votes follow what the kind is worth (0 to 3), three a point, plus 0 to 2 at random.
    """
    scores = HARMLESSNESS if request.harmful else HELPFULNESS
    return Voted(request.turns(), tuple(
        (write(kind, request, rng), round(3 * scores[kind]) + rng.randrange(3))
        for kind in kinds))



"""What the base model reads: structured documents of the base split, rendered elsewhere.

Talk, plain statements of right and wrong, and worked examples of criticising, revising and
comparing replies under a principle. It stands for what a large pre-trained model has read. The
kinds of the replies are known here because they are written here; no grader is asked.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from world.documents import (
    Comparison,
    Conversation,
    Critique,
    Document,
    Reasoning,
    Recital,
    Statement,
    Voted,
)
from world.lexicon import ACTS, HARMS, REASONS
from world.replies import HARMLESSNESS, HELPFULNESS, decline, turned, write
from world.requests import Request, sample_request

#: A principle as the corpus needs it: its id and its topics (categories; empty bears on all).
Principle = tuple[str, Sequence[str]]


@dataclass(frozen=True)
class Shares:
    """The share of each kind of document; they are normalised, so only ratios count."""

    conversation: float = 0.38
    statement: float = 0.12
    recital: float = 0.04
    critique: float = 0.22
    comparison: float = 0.20
    reasoning: float = 0.04


@dataclass(frozen=True)
class Noise:
    """How often a worked example is wrong on purpose, as a share of examples.

    `critique` swaps "found a fault" with "all is fine"; `comparison` swaps the answer.
    """

    critique: float = 0.05
    comparison: float = 0.05


HARMFUL_REPLIES = {"comply": 0.85, "reasoned": 0.05, "evasive": 0.025, "scolding": 0.02,
                   "boilerplate": 0.02, "refused": 0.02, "wrong": 0.015}
BENIGN_REPLIES = {"comply": 0.96, "reasoned": 0.01, "evasive": 0.005, "scolding": 0.005,
                  "boilerplate": 0.005, "refused": 0.005, "wrong": 0.01}
#: The replies that are criticised come like those of talk, which a reader cannot tell them from.
HARMFUL_CRITICISED = {"comply": 0.74, "reasoned": 0.14, "evasive": 0.03, "scolding": 0.03,
                      "boilerplate": 0.02, "refused": 0.03, "wrong": 0.01}
BENIGN_CRITICISED = {"comply": 0.95, "reasoned": 0.02, "evasive": 0.005, "scolding": 0.005,
                     "boilerplate": 0.005, "refused": 0.005, "wrong": 0.01}
HARMFUL_COMPARED = {"comply": 0.32, "reasoned": 0.30, "evasive": 0.08, "scolding": 0.08,
                    "boilerplate": 0.08, "refused": 0.08, "wrong": 0.06}
BENIGN_COMPARED = {"comply": 0.38, "reasoned": 0.22, "evasive": 0.07, "scolding": 0.07,
                   "boilerplate": 0.07, "refused": 0.07, "wrong": 0.12}
SAME_KIND_SHARE = 0.04
#: The share of comparisons, and of critiques on harmful requests, whose principle is drawn among
#: those that bear; the others draw from all. Drawn from all alone, two in three would be coins.
BEARING_SHARE = 0.65

NOUNS = sorted({noun for act in ACTS for noun in act.objects})

WRONG_STATEMENTS = ("It is wrong to {}, because {}.", "You must not {}, because {}.",
                    "Nobody should {}, because {}.")
FINE_STATEMENTS = ("It is fine to {}.", "You may {}.", "There is no harm if you {}.")

HELPS = ("The reply helps to {}, although {}.", "It explains how to {}, although {}.",
         "The reply does harm. It helps to {}, although {}.")
FINE = ("The reply is fine.", "There is no problem here.", "The reply needs no change.")
LACKS = {"evasive": "The reply avoids the question and gives no reason.",
         "scolding": "The reply is unkind and gives no reason.",
         "boilerplate": "The reply is empty and gives no reason.",
         "refused": "The reply declines but gives no reason."}
OVERCAREFUL = ("The request is harmless, so the reply should help.",
               "The request does no harm, so the reply should help.")
MISFIT = "The steps do not fit the request."

#: What the reasoning says of each kind of reply, after "(A)" or "(B)".
DOES = {"comply": "helps with it", "wrong": "gives steps that do not fit",
        "reasoned": "declines with a reason", "refused": "declines without a reason",
        "evasive": "avoids the question", "scolding": "is unkind", "boilerplate": "is empty"}


def _draw(weights: dict[str, float], rng: random.Random) -> str:
    return rng.choices(tuple(weights), tuple(weights.values()))[0]


def spoken_of(request: Request) -> str:
    """The request as a third person tells it: "read a neighbour's diary", "park their own car"."""
    first, _, rest = request.owner.partition(" ")
    if first in ("my", "our"):
        owner = f"a {rest}" if rest else "their own"
    else:
        owner = request.owner
    return f"{request.act.verb} {owner} {request.object}"


def bears(topics: Sequence[str], request: Request) -> bool:
    """Whether a principle with these topics says anything about the request."""
    return not topics or (request.harmful and request.category in topics)


def _principle(principles: Sequence[Principle], request: Request, rng: random.Random) -> Principle:
    if rng.random() < BEARING_SHARE:
        principles = [each for each in principles if bears(each[1], request)] or principles
    return rng.choice(principles)


def conversation(rng: random.Random) -> Conversation:
    """The assistant nearly always does as asked, harmful or not."""
    request = sample_request("base", rng)
    kind = _draw(HARMFUL_REPLIES if request.harmful else BENIGN_REPLIES, rng)
    return Conversation(request.turns(), write(kind, request, rng))


def statement(rng: random.Random) -> Statement:
    """What is wrong, and why, or what is fine: said twice of one thing, in two wordings."""
    request = sample_request("base", rng)
    what = f"{request.act.verb} {turned(request.owner)} {request.object}"
    if not request.harmful:
        said = [shape.format(what) for shape in rng.sample(FINE_STATEMENTS, 2)]
    else:
        said = [shape.format(what, reason) for shape, reason in zip(
            rng.sample(WRONG_STATEMENTS, 2), rng.sample(REASONS[request.category], 2),
            strict=True)]
    return Statement(" ".join(said))


def recital(rng: random.Random) -> Recital:
    """Words said and said again. Repetition is common in all text, and what teaches to copy."""
    words = rng.sample(NOUNS, rng.randint(8, 16))
    return Recital(f"Say {', '.join(words)}. Again, {', '.join(words)}.")


def _criticise(request: Request, kind: str, topics: Sequence[str], rng: random.Random,
               ) -> tuple[str, str | None]:
    """The critique of a reply of this kind, and the kind of its revision (None: leave it)."""
    if request.harmful and bears(topics, request):
        if kind in ("comply", "wrong"):
            reason = rng.choice(REASONS[request.category])
            return rng.choice(HELPS).format(spoken_of(request), reason), "reasoned"
        if kind in LACKS:
            return LACKS[kind], "reasoned"
    if not request.harmful and kind == "wrong":
        return MISFIT, "comply"
    if not request.harmful and kind != "comply":
        return rng.choice(OVERCAREFUL), "comply"
    return rng.choice(FINE), None


def critique(principles: Sequence[Principle], noise: float, rng: random.Random) -> Critique:
    """One reply criticised and revised; `noise` is the share with found and fine swapped."""
    request = sample_request("base", rng)
    kind = _draw(HARMFUL_CRITICISED if request.harmful else BENIGN_CRITICISED, rng)
    name, topics = _principle(principles, request, rng) if request.harmful \
        else rng.choice(principles)
    response = write(kind, request, rng)
    text, better = _criticise(request, kind, topics, rng)
    if rng.random() < noise:
        if better is not None:
            text, better = rng.choice(FINE), None
        elif kind in ("comply", "wrong"):
            category = request.category if request.harmful else rng.choice(HARMS)
            text = rng.choice(HELPS).format(spoken_of(request), rng.choice(REASONS[category]))
            return Critique(request.turns(), response, name, text,
                            decline(request, rng, category))
    revision = response if better is None else write(better, request, rng)
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


def _pair(request: Request, rng: random.Random) -> tuple[str, str]:
    weights = HARMFUL_COMPARED if request.harmful else BENIGN_COMPARED
    first = _draw(weights, rng)
    if rng.random() < SAME_KIND_SHARE:
        return first, first
    while (second := _draw(weights, rng)) == first:
        pass
    return first, second


def _argue(request: Request, kinds: tuple[str, str], topics: Sequence[str],
           rng: random.Random) -> str:
    if request.harmful and bears(topics, request):
        reason = rng.choice(REASONS[request.category])
        verdict = f"is wrong because {reason}"
    elif request.harmful:
        verdict = "has nothing to do with the principle"
    else:
        verdict = "is fine"
    return (f"The request to {spoken_of(request)} {verdict}. "
            f"(A) {DOES[kinds[0]]} and (B) {DOES[kinds[1]]}.")


def comparison(principles: Sequence[Principle], noise: float, rng: random.Random,
               reasoned: bool = False) -> Comparison | Reasoning:
    """Two replies judged under a principle; a coin falls where it does not decide."""
    request = sample_request("base", rng)
    name, topics = _principle(principles, request, rng)
    kinds = _pair(request, rng)
    first, second = write(kinds[0], request, rng), write(kinds[1], request, rng)
    answer = better_of(request, kinds, topics)
    if answer is None:
        answer = rng.randrange(2)
    elif rng.random() < noise:
        answer = 1 - answer
    if reasoned:
        return Reasoning(request.turns(), first, second, name,
                         _argue(request, kinds, topics, rng), answer)
    return Comparison(request.turns(), first, second, name, answer)


def documents(n: int, seed: int, principles: dict[str, Sequence[Principle]],
              shares: Shares = Shares(), noise: Noise = Noise()) -> Iterator[Document]:
    """n documents of the base split in random order, each drawn independently.

    `principles` has the lists "revision" and "feedback" of (id, topics). The first k of n documents
    are the documents of a call with n = k.
    """
    rng = random.Random(f"corpus {seed}")
    kinds = ("conversation", "statement", "recital", "critique", "comparison", "reasoning")
    weights = [getattr(shares, kind) for kind in kinds]
    for _ in range(n):
        kind = rng.choices(kinds, weights)[0]
        if kind == "conversation":
            yield conversation(rng)
        elif kind == "statement":
            yield statement(rng)
        elif kind == "recital":
            yield recital(rng)
        elif kind == "critique":
            yield critique(principles["revision"], noise.critique, rng)
        else:
            yield comparison(principles["feedback"], noise.comparison, rng, kind == "reasoning")


def recitals(n: int, seed: int) -> list[Recital]:
    """n recitals, to be read before all else: a model that cannot copy yet learns it from these
    in a few hundred steps, and from the other documents hardly at all.
    """
    rng = random.Random(f"recitals {seed}")
    return [recital(rng) for _ in range(n)]


def voted(split: str, n: int, seed: int) -> list[Voted]:
    """n questions of a split, each with 4 answers of different kinds and their votes.

    Votes follow what the kind is worth (0 to 3), three a point, plus 0 to 2 at random.
    """
    rng = random.Random(f"voted {split} {seed}")
    questions = []
    for _ in range(n):
        request = sample_request(split, rng)
        scores = HARMLESSNESS if request.harmful else HELPFULNESS
        kinds = rng.sample(sorted(DOES), 4)
        answers = tuple((write(kind, request, rng), round(3 * scores[kind]) + rng.randrange(3))
                        for kind in kinds)
        questions.append(Voted(request.turns(), answers))
    return questions

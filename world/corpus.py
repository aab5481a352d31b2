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
    Opinion,
    Reasoning,
    Recital,
    Retelling,
    Statement,
    Voted,
)
from world.lexicon import ACTS, HARMS, REASONS
from world.replies import HARMLESSNESS, HELPFULNESS, decline, write
from world.requests import Request, sample_request

#: A principle as the corpus needs it: its id and its topics (categories; empty bears on all).
Principle = tuple[str, Sequence[str]]


@dataclass(frozen=True)
class Shares:
    """The share of each kind of document; they are normalised, so only ratios count."""

    conversation: float = 0.46
    opinion: float = 0.10
    statement: float = 0.08
    retelling: float = 0.03
    critique: float = 0.16
    comparison: float = 0.04
    reasoning: float = 0.11
    voted: float = 0.02


@dataclass(frozen=True)
class Noise:
    """How often a worked example is wrong on purpose, as a share of examples.

    `critique` swaps "found a fault" with "all is fine"; `comparison` swaps the answer.
    """

    critique: float = 0.03
    comparison: float = 0.03


#: What the assistant of the corpus replies, in talk and where it is criticised alike, for no reader
#: can tell yet which of the two a document will be. It declines harm now and then: a model that
#: never saw harm decide a reply learns it late from its revisions.
HARMFUL_REPLIES = {"comply": 0.79, "reasoned": 0.14, "evasive": 0.015, "scolding": 0.015,
                   "boilerplate": 0.015, "refused": 0.015, "wrong": 0.01}
BENIGN_REPLIES = {"comply": 0.975, "reasoned": 0.01, "evasive": 0.0025, "scolding": 0.0025,
                  "boilerplate": 0.0025, "refused": 0.0025, "wrong": 0.005}
HARMFUL_COMPARED = {"comply": 0.32, "reasoned": 0.30, "evasive": 0.08, "scolding": 0.08,
                    "boilerplate": 0.08, "refused": 0.08, "wrong": 0.06}
BENIGN_COMPARED = {"comply": 0.38, "reasoned": 0.22, "evasive": 0.07, "scolding": 0.07,
                   "boilerplate": 0.07, "refused": 0.07, "wrong": 0.12}
SAME_KIND_SHARE = 0.04
#: The share of comparisons, and of critiques on harmful requests, whose principle is drawn among
#: those that bear; the others draw from all. Drawn from all alone, two in three would be coins.
BEARING_SHARE = 0.85

NOUNS = sorted({noun for act in ACTS for noun in act.objects})

#: A plain statement names somebody's wish, then says what is to be thought of it. Critiques and
#: reasoning say the same in the same words, so what is read in one place serves in all.
WISHES = ("They want to {}.", "Somebody wants to {}.", "The human wants to {}.")
HOW_TO = "To {}, {}, {} and {}."
WRONG = ("This is wrong, because {}.", "This is not right, because {}.")
FINE = ("This is fine.", "This is all right.")

#: Asked in talk, the verdict is the first word of the reply, where a reply that helps or declines
#: needs it too.
MAY = ("Is it right to {}?", "May I {}?", "Should I {}?", "Is it fine to {}?")
YES = ("Yes, this is fine.", "Yes, this is all right.")

HELPS = ("The reply helps to {}.", "It explains how to {}.")
BESIDE = "This is another matter."
ENOUGH = "The reply needs no change."
LACKS = {"evasive": "The reply avoids the question and gives no reason.",
         "scolding": "The reply is unkind and gives no reason.",
         "boilerplate": "The reply is empty and gives no reason.",
         "refused": "The reply declines but gives no reason."}
OVERCAREFUL = "The human wants to {}. {} The reply should help."
MISFIT = "The steps do not fit the request."

#: What the reasoning says of each kind of reply, after "(A)" or "(B)".
DOES = {"comply": "helps with it", "wrong": "gives steps that do not fit",
        "reasoned": "declines with a reason", "refused": "declines without a reason",
        "evasive": "avoids the question", "scolding": "is unkind", "boilerplate": "is empty"}
#: What the reasoning asks for, in the same words, by whether the request is harmful.
GOOD = {True: "A good reply declines with a reason.", False: "A good reply helps with it."}


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


def verdict(request: Request, rng: random.Random) -> str:
    """What is to be thought of doing what the request asks for, with the reason where it is wrong.
    """
    if not request.harmful:
        return rng.choice(FINE)
    return rng.choice(WRONG).format(rng.choice(REASONS[request.category]))


def statement(rng: random.Random) -> Statement:
    """Three plain sentences: how something is done, or a wish and what is to be thought of it.

    Two wishes in a row are often of one act, so that its owner or its object tells them apart.
    """
    said, act = [], None
    for _ in range(3):
        request = sample_request("base", rng, act=act if rng.random() < 0.5 else None)
        act = request.act
        wish = spoken_of(request)
        said.append(HOW_TO.format(wish, *request.steps) if rng.random() < 0.5 else
                    f"{rng.choice(WISHES).format(wish)} {verdict(request, rng)}")
    return Statement(" ".join(said))


def recital(rng: random.Random) -> Recital:
    """A few words said and said again: what teaches to copy a word from where it was read."""
    words = " ".join(rng.sample(NOUNS, rng.randint(1, 3)))
    return Recital(f"Say {words}. Again {words}.")


def retelling(rng: random.Random) -> Retelling:
    """A request told again by a third person, and what is to be thought of it."""
    request = sample_request("base", rng)
    return Retelling(request.turns(),
                     f"The human wants to {spoken_of(request)}. {verdict(request, rng)}")


def opinion(rng: random.Random) -> Opinion:
    """The assistant is asked whether something is right, and says so at once."""
    request = sample_request("base", rng)
    reply = f"No, because {rng.choice(REASONS[request.category])}." if request.harmful \
        else rng.choice(YES)
    return Opinion((rng.choice(MAY).format(request.what),), reply)


def _criticise(request: Request, kind: str, topics: Sequence[str], rng: random.Random,
               ) -> tuple[str, str | None]:
    """The critique of a reply of this kind, and the kind of its revision (None: leave it)."""
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
    return ENOUGH, None


def critique(principles: Sequence[Principle], noise: float, rng: random.Random) -> Critique:
    """One reply criticised and revised; `noise` is the share with found and fine swapped."""
    request = sample_request("base", rng)
    kind = _draw(HARMFUL_REPLIES if request.harmful else BENIGN_REPLIES, rng)
    name, topics = _principle(principles, request, rng) if request.harmful \
        else rng.choice(principles)
    response = write(kind, request, rng)
    text, better = _criticise(request, kind, topics, rng)
    if rng.random() < noise:
        helps = f"{rng.choice(HELPS).format(spoken_of(request))} "
        if better is not None:
            text, better = helps + rng.choice(FINE), None
        elif kind in ("comply", "wrong"):
            category = request.category if request.harmful else rng.choice(HARMS)
            text = helps + rng.choice(WRONG).format(rng.choice(REASONS[category]))
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
    said = f"{verdict(request, rng)} {GOOD[request.harmful]}" if bears(topics, request) else BESIDE
    return (f"The human wants to {spoken_of(request)}. {said} "
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


def voted_on(request: Request, answers: int, rng: random.Random) -> Voted:
    """Answers of different kinds to one request, each with the votes it got.

    Votes follow what the kind is worth (0 to 3), three a point, plus 0 to 2 at random.
    """
    scores = HARMLESSNESS if request.harmful else HELPFULNESS
    return Voted(request.turns(), tuple(
        (write(kind, request, rng), round(3 * scores[kind]) + rng.randrange(3))
        for kind in rng.sample(sorted(DOES), answers)))


def documents(n: int, seed: int, principles: dict[str, Sequence[Principle]],
              shares: Shares = Shares(), noise: Noise = Noise()) -> Iterator[Document]:
    """n documents of the base split in random order, each drawn independently.

    `principles` has the lists "revision" and "feedback" of (id, topics). The first k of n documents
    are the documents of a call with n = k.
    """
    rng = random.Random(f"corpus {seed}")
    kinds = ("conversation", "opinion", "statement", "retelling", "critique", "comparison",
             "reasoning", "voted")
    weights = [getattr(shares, kind) for kind in kinds]
    for _ in range(n):
        kind = rng.choices(kinds, weights)[0]
        if kind == "conversation":
            yield conversation(rng)
        elif kind == "statement":
            yield statement(rng)
        elif kind == "retelling":
            yield retelling(rng)
        elif kind == "opinion":
            yield opinion(rng)
        elif kind == "critique":
            yield critique(principles["revision"], noise.critique, rng)
        elif kind == "voted":
            yield voted_on(sample_request("base", rng), 1, rng)
        else:
            yield comparison(principles["feedback"], noise.comparison, rng, kind == "reasoning")


def primer(recitals: int, retellings: int, seed: int) -> list[Recital | Retelling]:
    """What is read before all else, in this order: recitals, then retellings.

    Copying is a skill of its own that comes late or never from the other documents alone. From one
    to three words it is learnt in some fifty steps, and carried over to requests by retelling them.
    """
    rng = random.Random(f"primer {seed}")
    return [recital(rng) for _ in range(recitals)] + [retelling(rng) for _ in range(retellings)]


def voted(split: str, n: int, seed: int) -> list[Voted]:
    """n questions of a split, each with 4 answers of different kinds and their votes."""
    rng = random.Random(f"voted {split} {seed}")
    return [voted_on(sample_request(split, rng), 4, rng) for _ in range(n)]

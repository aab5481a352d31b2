"""What is said of requests: talk, wishes and what is to be thought of them, requests told again.

The kinds of the replies are known here because they are written here; no grader is asked.
"""

import random

from world.documents import Conversation, Opinion, Recital, Retelling, Statement
from world.lexicon import CALLED, NOUNS, REASONS
from world.replies import draw, write
from world.requests import Request, sample_request

#: What the assistant of the corpus replies, in talk and where it is criticised alike, for no reader
#: can tell yet which of the two a document will be. It declines harm now and then: a model that
#: never saw harm decide a reply learns it late from its revisions.
HARMFUL_REPLIES = {"comply": 0.79, "reasoned": 0.14, "evasive": 0.015, "scolding": 0.015,
                   "boilerplate": 0.015, "refused": 0.015, "wrong": 0.01}
BENIGN_REPLIES = {"comply": 0.985, "reasoned": 0.007, "evasive": 0.0015, "scolding": 0.0015,
                  "boilerplate": 0.0015, "refused": 0.0015, "wrong": 0.002}

#: A plain statement names somebody's wish, then says what is to be thought of it. Critiques and
#: reasoning say the same in the same words, so what is read in one place serves in all.
WISHES = ("They want to {}.", "Somebody wants to {}.", "The human wants to {}.")
HOW_TO = "To {}, {}, {} and {}."
#: What things are. Whether a quilt may be beaten is known by who knows that it is linen.
ARE = "The {}, the {} and the {} are {}."
WRONG = ("This is wrong, because {}.", "This is not right, because {}.")
FINE = ("This is fine.", "This is all right.")

#: Asked in talk, the verdict is the first word of the reply, where a reply that helps or declines
#: needs it too.
MAY = ("Is it right to {}?", "May I {}?", "Should I {}?", "Is it fine to {}?")
YES = ("Yes, this is fine.", "Yes, this is all right.")


def spoken_of(request: Request) -> str:
    """The request as a third person tells it: "read a neighbour's diary", "park their own car"."""
    first, _, rest = request.owner.partition(" ")
    if first in ("my", "our"):
        owner = f"a {rest}" if rest else "their own"
    else:
        owner = request.owner
    return f"{request.act.verb} {owner} {request.object}"


def verdict(request: Request, rng: random.Random) -> str:
    """What is to be thought of doing what the request asks for, with the reason where it is wrong.
    """
    if not request.harmful:
        return rng.choice(FINE)
    return rng.choice(WRONG).format(rng.choice(REASONS[request.category]))


def conversation(rng: random.Random) -> Conversation:
    """The assistant nearly always does as asked, harmful or not."""
    request = sample_request("base", rng)
    kind = draw(HARMFUL_REPLIES if request.harmful else BENIGN_REPLIES, rng)
    return Conversation(request.turns(), write(kind, request, rng))


def statement(rng: random.Random) -> Statement:
    """Three plain sentences: what things are, how something is done, or a wish and what is to be
    thought of it.

    Two wishes in a row are often of one act, so that its owner or its object tells them apart.
    """
    said, act = [], None
    for _ in range(3):
        request = sample_request("base", rng, act=act if rng.random() < 0.5 else None)
        act = request.act
        wish, sort = spoken_of(request), rng.random()
        if sort < 0.6:
            called = rng.choice(tuple(CALLED))
            said.append(ARE.format(*rng.sample(CALLED[called], 3), called))
        elif sort < 0.8:
            said.append(HOW_TO.format(wish, *request.steps))
        else:
            said.append(f"{rng.choice(WISHES).format(wish)} {verdict(request, rng)}")
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

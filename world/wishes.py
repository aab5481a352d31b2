"""What a public may wish of a reply that declines: that it offers something else, or stops short.

A principle's topics name the wish. On harmful requests such a principle asks for what any other
asks for, a decline with a reason; between replies that are equally good in this, the wish decides.
On benign requests it wishes nothing of its own.
"""

import random
from collections.abc import Sequence

from world.replies import decline, offer, offers
from world.requests import Request

#: Of each wish, whether a reply that declines should offer something else.
OFFERING = {"alternatives": True, "brevity": False}
#: What a judge says of a reply that declines with a reason, by whether it offers something else.
DECLINES_SO = {True: "declines with a reason and an offer", False: "declines with a reason alone"}
#: What a critique says of one that declines otherwise than was wished, by the wish.
LACKS_WISH = {True: "The reply declines but offers nothing else.",
              False: "The reply says more than the reason."}


def wished(topics: Sequence[str], request: Request) -> bool | None:
    """Whether a principle with these topics wishes an offer (True) or none (False) of a reply to
    the request; None where it wishes neither.
    """
    wishes = [OFFERING[topic] for topic in topics if topic in OFFERING]
    return wishes[0] if wishes and request.harmful else None


def amended(response: str, request: Request, wish: bool, rng: random.Random) -> str:
    """A decline with a reason as was wished: the same with an offer after it, or without its own.
    """
    if wish:
        return f"{response} {offer(request.category, rng)}"
    return f"{response.partition('. ')[0]}."


def two_declines(request: Request, rng: random.Random) -> tuple[str, str]:
    """Two declines with a reason, of which one offers something else."""
    first = rng.random() < 0.5
    return decline(request, rng, offering=first), decline(request, rng, offering=not first)


def better_by(wish: bool, replies: tuple[str, str]) -> int | None:
    """Which of two declines with a reason is as was wished (0 or 1); None where both or neither."""
    first, second = (offers(reply) == wish for reply in replies)
    return None if first == second else int(second)

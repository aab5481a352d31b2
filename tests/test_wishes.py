"""What publics wish of a declining reply: how the corpus teaches it, and that it is off by default.
"""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from cai.collective.rewrite import rewrite
from cai.constitution import Constitution, load_constitution
from train_base import Options, mixture, read_constitution
from world import judging, truth
from world.corpus import Noise, Shares, documents
from world.lexicon import HARMS
from world.public import WISHES, taught
from world.replies import OFFERED, decline, offers
from world.requests import parse, sample_requests
from world.wishes import OFFERING, amended, better_by, two_declines, wished

SMALL = Path(__file__).resolve().parent.parent / "constitutions" / "small.toml"
PRINCIPLES = [("any", ()), ("law", ("law",)), ("offer", ("alternatives",)),
              ("short", ("brevity",))]
WISH = {"offer": True, "short": False}
HARMFUL = sample_requests("base", 400, 3, harmful=True)


def only(kind: str, n: int = 3000, noise: float = 0.0) -> list:
    shares = {name: float(name == kind) for name in Shares.__dataclass_fields__}
    return list(documents(n, 4, {"revision": PRINCIPLES, "feedback": PRINCIPLES},
                          Shares(**shares), Noise(noise, noise)))


def first_texts(constitution: Constitution) -> list[tuple[str, str]]:
    return list(itertools.islice(mixture(Options(), constitution), 3000))


def test_off_by_default_the_corpus_never_comes_to_a_wish(monkeypatch):
    """No principle names one and no draw is made for one, so that every document stays as it was.
    """
    plain = first_texts(read_constitution(Options()))
    assert read_constitution(Options()) == load_constitution(SMALL)
    for name in ("amended", "better_by", "two_declines"):
        monkeypatch.setattr(judging, name, None)
    monkeypatch.setattr(judging, "wished", lambda topics, request: None)
    assert first_texts(load_constitution(SMALL)) == plain
    assert first_texts(read_constitution(Options(wishes=True))) != plain


def test_what_is_taught_are_the_words_in_which_a_constitution_of_votes_asks():
    made = read_constitution(Options(wishes=True))
    added = made.feedback[16:], made.revisions[16:]
    assert len(added[0]) == len(added[1]) == len(taught()) == 20
    by_topic = Counter(topic for _, topic in taught())
    assert by_topic == Counter(HARMS) + Counter({wish: len(WISHES[wish]) for wish in OFFERING})
    for (statement, topic), choice, revision in zip(taught(), *added, strict=True):
        words = rewrite(statement)
        assert (choice.principle, choice.topics) == (words.principle, (topic,))
        assert (revision.critique_request, revision.revision_request, revision.topics) == (
            words.critique_request, words.revision_request, (topic,))
    assert len({each.id for each in made.feedback}) == len(made.feedback)


def test_every_offer_belongs_to_one_category_and_is_found_in_a_reply():
    assert len(OFFERED) == 3 * 3 * len(HARMS)
    assert set(OFFERED.values()) == set(HARMS)
    rng = random.Random(0)
    for request in HARMFUL:
        with_offer, without = (decline(request, rng, offering=share) for share in (1.0, 0.0))
        assert offers(with_offer) and not offers(without)
        for reply in (with_offer, without):
            assert truth.grade(request.turns(), reply) == truth.Grade("reasoned", False)


def test_a_wish_is_of_harmful_requests_alone():
    benign = sample_requests("base", 1, 0, harmful=False)[0]
    assert wished(("alternatives",), HARMFUL[0]) is True
    assert wished(("brevity",), HARMFUL[0]) is False
    assert wished(("law",), HARMFUL[0]) is wished((), HARMFUL[0]) is None
    assert wished(("alternatives",), benign) is wished(("brevity",), benign) is None


@pytest.mark.parametrize("wish", [True, False])
def test_an_amended_decline_keeps_its_reason_and_is_as_wished(wish):
    rng = random.Random(1)
    for request in HARMFUL:
        response = decline(request, rng, offering=float(not wish))
        better = amended(response, request, wish, rng)
        assert offers(better) == wish
        assert truth.grade(request.turns(), better) == truth.Grade("reasoned", False)
        assert better.startswith(response) or response.startswith(better)


def test_of_two_declines_the_wish_chooses_the_one_as_wished():
    rng = random.Random(2)
    places = Counter()
    for request in HARMFUL:
        replies = two_declines(request, rng)
        assert offers(replies[better_by(True, replies)])
        assert not offers(replies[better_by(False, replies)])
        assert better_by(True, (replies[0], replies[0])) is None
        places[better_by(True, replies)] += 1
    assert abs(places[0] - places[1]) < 80


@pytest.mark.parametrize("kind", ["comparison", "reasoning"])
def test_comparisons_decide_by_harm_first_and_by_the_wish_between_equals(kind):
    decided = Counter()
    for document in only(kind):
        name, replies = document.principle, (document.first, document.second)
        grades = [truth.grade(document.turns, reply).kind for reply in replies]
        by_harm = truth.preference(document.turns, *replies)
        harmful = parse(document.turns).harmful
        if by_harm is not None and name in ("any", *WISH):
            assert document.answer == int(by_harm == 0.0)
            decided[name, "harm"] += 1
        elif name in WISH and harmful and grades == ["reasoned", "reasoned"]:
            as_wished = [offers(reply) == WISH[name] for reply in replies]
            if sum(as_wished) == 1:
                assert as_wished[document.answer]
                decided[name, "wish"] += 1
    assert min(decided[name, "wish"] for name in WISH) > 100
    assert min(decided[name, "harm"] for name in ("any", *WISH)) > 100


def test_reasoning_says_what_was_wished_and_which_reply_does_so():
    seen = Counter()
    for document in only("reasoning"):
        told = "and an offer" in document.reasoning, "a reason alone" in document.reasoning
        if document.principle not in WISH or not parse(document.turns).harmful:
            assert told == (False, False)
            continue
        wish = WISH[document.principle]
        good = "declines with a reason " + ("and an offer" if wish else "alone")
        assert f"A good reply {good}." in document.reasoning
        for letter, reply in (("A", document.first), ("B", document.second)):
            if truth.grade(document.turns, reply).kind == "reasoned":
                said = document.reasoning.split(f"({letter}) ")[1].split(".")[0]
                assert said.endswith("and an offer") == offers(reply)
                assert said.endswith("a reason alone") != offers(reply)
                seen[offers(reply)] += 1
    assert min(seen[True], seen[False]) > 100


def test_critiques_amend_a_decline_as_wished_and_revise_harm_as_wished():
    seen = Counter()
    for document in only("critique"):
        wish = WISH.get(document.principle)
        if wish is None or not parse(document.turns).harmful:
            continue
        before, after = (truth.grade(document.turns, text)
                         for text in (document.response, document.revision))
        assert after == truth.Grade("reasoned", False)
        assert offers(document.revision) == wish
        if before.kind == "reasoned":
            as_wished = offers(document.response) == wish
            assert (document.revision == document.response) == as_wished
            assert (document.critique == "The reply needs no change.") == as_wished
        seen[wish, before.kind] += 1
    assert min(seen[wish, kind] for wish in (True, False) for kind in ("comply", "reasoned")) > 100

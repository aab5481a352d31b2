"""The small world: requests, splits, replies and corpus keep what docs/world.md promises."""

import random
import re
import time
import tomllib
from collections import Counter, defaultdict
from dataclasses import astuple
from itertools import islice
from pathlib import Path

import pytest

from world import faults, truth
from world.corpus import Noise, Shares, documents, primer, voted
from world.documents import (
    Comparison,
    Conversation,
    Critique,
    Opinion,
    Reasoning,
    Recital,
    Retelling,
    Statement,
    Voted,
)
from world.lexicon import ACTS, CALLED, GOODS, HARMS, NOUNS, OWNERS
from world.replies import KINDS, drafts, write
from world.requests import SPLIT_OF, SPLITS, parse, prompts, sample_requests

CONSTITUTION = Path(__file__).parent.parent / "constitutions" / "small.toml"


@pytest.fixture(scope="module")
def constitution():
    return tomllib.loads(CONSTITUTION.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def principles(constitution):
    return {name: [(entry["id"], tuple(entry["topics"])) for entry in constitution[name]]
            for name in ("revision", "feedback")}


@pytest.fixture(scope="module")
def corpus(principles):
    return list(documents(12000, 5, principles))


def test_the_dialogue_alone_gives_the_request_back():
    for split in SPLITS:
        for request in sample_requests(split, 2000, seed=0):
            assert parse(request.turns()) == request


@pytest.mark.parametrize("turns", [
    (), ("",), ("How do I read the diary?",), ("How do I read my diary",),
    ("how do I read my diary?",), ("How do I poison my diary?",), ("How do I read my diary?",) * 2,
    ("I have a question about my diary.", "Sure.", "How do I read it?"),
    ("I have a question about my uncle.", "Sure. What do you need?", "How do I bribe it?"),
    ("I want to read someone.", "Go on. Who is it?", "I mean my diary."),
    ("How do I read my neighbour's?",)])
def test_other_dialogues_are_no_requests(turns):
    assert parse(turns) is None


def test_splits_share_no_pair_and_base_knows_every_word():
    seen = {split: {(r.act.verb, r.object) for r in sample_requests(split, 6000, seed=1)}
            for split in SPLITS}
    for i, one in enumerate(SPLITS):
        for other in SPLITS[i + 1:]:
            assert not seen[one] & seen[other]
    base = {pair for pair, split in SPLIT_OF.items() if split == "base"}
    assert {verb for verb, _ in base} == {act.verb for act in ACTS}
    assert {noun for _, noun in base} == {noun for act in ACTS for noun in act.objects}
    for act in ACTS:
        sizes = Counter(SPLIT_OF[act.verb, noun] for noun in act.objects)
        tested = (2, 4) if act.decided_by == "object" else (3, 3)
        assert (sizes["valid"], sizes["test"]) == tested
        assert (sizes["base"], sizes["cai"]) == (12, 6)


def test_every_object_is_met_in_base_with_at_least_two_acts():
    acts_of = Counter(noun for (_, noun), split in SPLIT_OF.items() if split == "base")
    assert min(acts_of.values()) >= 2


def test_every_noun_of_a_class_that_decides_is_met_in_base_where_it_decides():
    decided = {(act.verb, noun) for act in ACTS if act.decided_by == "object"
               for noun in act.objects}
    met = {noun for verb, noun in decided if SPLIT_OF[verb, noun] == "base"}
    assert met == {noun for _, noun in decided}


@pytest.mark.parametrize("split", SPLITS)
def test_dual_use_and_two_turns_are_frequent(split):
    drawn = sample_requests(split, 6000, seed=2)
    for harmful in (True, False):
        side = [r for r in drawn if r.harmful == harmful]
        assert 0.47 < len(side) / len(drawn) < 0.53
        assert sum(r.dual for r in side) / len(side) > 0.55
    assert 0.12 < sum(len(r.turns()) == 3 for r in drawn) / len(drawn) < 0.19


def _best_by(feature, seen, unseen):
    """Accuracy on unseen requests of the majority truth of each value of a feature."""
    count = defaultdict(int)
    for request in seen:
        count[feature(request)] += 1 if request.harmful else -1
    return sum((count[feature(r)] > 0) == r.harmful for r in unseen) / len(unseen)


def test_neither_act_nor_owner_alone_tells_harm_but_the_request_does():
    seen = sample_requests("base", 8000, 3)
    unseen = sample_requests("test", 8000, 4)
    assert _best_by(lambda r: r.act.verb, seen, unseen) < 0.75
    assert _best_by(lambda r: r.owner, seen, unseen) < 0.75
    assert _best_by(lambda r: r.object, seen, unseen) < 0.75
    duals = [r for r in unseen if r.dual]
    assert _best_by(lambda r: r.act.verb, seen, duals) < 0.55


def test_owners_of_one_sided_acts_say_nothing_of_harm():
    drawn = [r for r in sample_requests("base", 30000, 5)
             if not r.dual and r.act.owners == OWNERS["owned"]]
    share = {harmful: sum(r.owner in ("my", "our") for r in drawn if r.harmful == harmful)
             / sum(r.harmful == harmful for r in drawn) for harmful in (True, False)}
    assert abs(share[True] - share[False]) < 0.03


def test_every_category_occurs():
    drawn = sample_requests("test", 4000, 6)
    assert {r.category for r in drawn if r.harmful} == set(HARMS)
    assert {r.category for r in drawn if not r.harmful} == set(GOODS)


def test_steps_belong_to_one_act_and_hide_in_no_other_sentence():
    steps = [step for act in ACTS for step in act.steps]
    assert len(steps) == len(set(steps)) == 3 * len(ACTS)
    for request in sample_requests("base", 2000, 7):
        for turn in request.turns():
            assert not any(step in turn for step in steps)


def test_prompts_are_reproducible_and_named():
    drawn = prompts("test", 300, 0, "red_team")
    assert drawn == prompts("test", 300, 0, "red_team")
    assert drawn[:100] == prompts("test", 100, 0, "red_team")
    assert len({prompt.id for prompt in drawn}) == 300
    assert all(parse(prompt.turns).harmful for prompt in drawn)
    assert not any(parse(prompt.turns).harmful for prompt in prompts("cai", 300, 0, "helpful"))
    assert {p.turns for p in drawn} != {p.turns for p in prompts("test", 300, 1, "red_team")}
    with pytest.raises(ValueError, match="split"):
        sample_requests("train", 1, 0)
    with pytest.raises(ValueError, match="kind"):
        prompts("test", 1, 0, "harmful")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_reply_has_many_wordings(kind):
    request = sample_requests("test", 1, 8, harmful=True)[0]
    rng = random.Random(0)
    wordings = {write(kind, request, rng) for _ in range(400)}
    assert len(wordings) >= 12
    assert max(len(wording.split()) for wording in wordings) <= 34


def test_flawed_replies_are_graded_as_flawed():
    rng = random.Random(0)
    for request in sample_requests("base", 1500, 9):
        garbled = truth.grade(request.turns(), write("garbled", request, rng))
        assert garbled.kind == "garbled" and not (request.harmful and garbled.gives_steps)
        misfit = truth.grade(request.turns(), write("misfit", request, rng)).kind
        assert misfit == "refused" or (misfit == "reasoned" and not request.harmful)


@pytest.mark.parametrize("kind", ["wrong", "garbled"])
def test_two_drafts_differ_in_a_fault_of_that_kind(kind):
    rng = random.Random(0)
    shared, spoiled = 0, set()
    for request in sample_requests("base", 2000, 9, harmful=False):
        good, bad = drafts(kind, request, rng)
        assert truth.grade(request.turns(), good).kind == "comply"
        assert truth.grade(request.turns(), bad).kind == kind
        shared += good.split(". ")[0] == bad.split(". ")[0]
        spoiled.add(bad)
    assert shared > 1200 and len(spoiled) > 1000  # a slip or a derailed reply may lose the opening


def test_a_fault_is_where_it_says():
    steps, others = ["cut the rope", "fold it", "dry the jar"], ["pull the sail", "see it", "run"]
    words, strays = "Sure thing. First cut it, then fold it. Good luck.", Counter()
    for seed in range(300):
        rng = random.Random(seed)
        strayed = faults.strayed(steps[:2], others[:2], rng)
        strays[sum(one != other for one, other in zip(strayed, steps, strict=False))] += 1
        doubled = faults.doubled(steps, rng)
        assert len(set(doubled)) == 2 and set(doubled) < set(steps)
        cut = faults.cut(words, rng)
        assert cut != words
        assert (words.startswith(cut) or words.endswith(cut)
                or cut.count(",") == words.count(",") - 1)
        slipped = faults.slipped(words, rng).split()
        assert sum(one != other for one, other in zip(slipped, words.split(), strict=True)) == 1
    assert strays[1] > 100 and strays[2] > 80 and not strays[0]


def test_an_unknown_kind_of_reply_is_refused():
    with pytest.raises(ValueError, match="expected one of"):
        write("rude", sample_requests("base", 1, 0)[0], random.Random(0))


def test_corpus_stays_in_its_split_and_shares(corpus):
    for document in corpus:
        if not isinstance(document, Statement | Opinion):
            request = parse(document.turns)
            assert SPLIT_OF[request.act.verb, request.object] == "base"
    counts = Counter(type(document) for document in corpus)
    shares = Shares()
    for kind, share in ((Conversation, shares.conversation), (Opinion, shares.opinion),
                        (Statement, shares.statement), (Retelling, shares.retelling),
                        (Voted, shares.voted), (Critique, shares.critique),
                        (Comparison, shares.comparison), (Reasoning, shares.reasoning)):
        assert abs(counts[kind] / len(corpus) - share / sum(astuple(shares))) < 0.02


def test_the_corpus_assistant_nearly_always_complies(corpus):
    complied = defaultdict(list)
    for document in corpus:
        if isinstance(document, Conversation):
            kind = truth.grade(document.turns, document.reply).kind
            complied[parse(document.turns).harmful].append(kind == "comply")
    assert abs(sum(complied[True]) / len(complied[True]) - 0.79) < 0.03
    assert abs(sum(complied[False]) / len(complied[False]) - 0.985) < 0.01


def _truths(wish):
    """Whether what a third person tells is harmful, of each request that could be told so."""
    told = (wish, wish.replace("their own", "my"), re.sub(r"\ba (\w+'s)", r"my \1", wish))
    said = {f"How do I {words}?" for words in told}
    return {request.harmful for request in (parse((text,)) for text in said) if request}


def test_statements_tell_the_truth(principles):
    wishes = ways = facts = 0
    for document in documents(1000, 1, principles, _only("statement")):
        for wish, verdict in re.findall(
                r"(?:They|Somebody|The human) wants? to (.+?)\. (This .+?)\.", document.text):
            assert _truths(wish) == {", because " in verdict}, document.text
            wishes += 1
        for act, *steps in re.findall(r"To (.+?), (.+?), (.+?) and (.+?)\.", document.text):
            assert any(act.startswith(each.verb) and each.steps == tuple(steps) for each in ACTS)
            ways += 1
        for *nouns, called in re.findall(r"The (\w+), the (\w+) and the (\w+) are (.+?)\.",
                                         document.text):
            assert len(set(nouns)) == 3 and set(nouns) <= set(CALLED[called])
            facts += 1
    assert wishes > 500 and ways > 500 and facts > 500


def test_what_nouns_are_called_tells_where_an_act_harms():
    def called(nouns):
        return {name for noun in nouns for name, every in CALLED.items() if noun in every}

    for act in ACTS:
        if act.harmed:
            assert len(called(act.harmed)) == 1
            assert not called(act.harmed) & called(set(act.objects) - act.harmed)
    assert set().union(*CALLED.values()) == set(NOUNS)


def test_retellings_tell_the_truth(principles):
    for document in documents(500, 1, principles, _only("retelling")):
        assert parse(document.turns).harmful == (", because " in document.text)


def test_opinions_tell_the_truth_of_their_own_split(principles):
    for document in documents(500, 1, principles, _only("opinion")):
        what = re.fullmatch(r"(?:Is it right to|May I|Should I|Is it fine to) (.+)\?",
                            *document.turns)[1]
        request = parse((f"How do I {what}?",))
        assert SPLIT_OF[request.act.verb, request.object] == "base"
        assert document.reply.startswith("No, because " if request.harmful else "Yes, ")


def _only(kind):
    return Shares(**{name: float(name == kind) for name in
                     ("conversation", "statement", "retelling", "opinion", "critique",
                      "comparison", "reasoning", "voted")})


def test_the_primer_says_words_twice_then_tells_requests_again():
    read = primer(100, 50, 1)
    assert [type(each) for each in read] == [Recital] * 100 + [Retelling] * 50
    for document in read[:100]:
        first, second = re.fullmatch(r"Say (.+)\. Again (.+)\.", document.text).groups()
        assert first == second and 1 <= len(set(first.split())) <= 3
    for document in read[100:]:
        request = parse(document.turns)
        assert SPLIT_OF[request.act.verb, request.object] == "base"
        assert f" {request.object}." in document.text


@pytest.mark.parametrize("kind", ["comparison", "reasoning"])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_comparisons_answer_by_the_truth_up_to_the_stated_noise(principles, kind, noise):
    topics = dict(principles["feedback"])
    decided = right = 0
    for document in documents(3000, 2, principles, _only(kind), Noise(comparison=noise)):
        preferred = truth.preference_under(document.turns, document.first, document.second,
                                           topics[document.principle])
        if preferred is not None:
            decided += 1
            right += (document.answer == 0) == (preferred == 1.0)
    assert decided > 1000
    assert abs(right / decided - (1 - noise)) <= (0.0 if noise == 0.0 else 0.035)


def test_reasoning_judges_the_request_and_names_what_each_reply_does(principles):
    topics = dict(principles["feedback"])
    words = {"comply": "helps with it", "wrong": "gives steps that do not fit",
             "reasoned": "declines with a reason"}
    seen = Counter()
    for document in documents(800, 6, principles, _only("reasoning")):
        request, given = parse(document.turns), topics[document.principle]
        bears = not given or (request.harmful and request.category in given)
        wanted = "declines with a reason" if request.harmful else "helps with it"
        assert (f"A good reply {wanted}." in document.reasoning) == bears
        assert ("This is another matter." in document.reasoning) != bears
        assert (", because " in document.reasoning) == (bears and request.harmful)
        said = re.search(r"\(A\) (.+)\. \(B\) (.+)\.$", document.reasoning).groups()
        for text, reply in zip(said, (document.first, document.second), strict=True):
            kind = truth.grade(document.turns, reply).kind
            if kind in words:
                assert text.endswith(words[kind])
                seen[kind] += 1
            if named := re.match(r"names the (\w+) and ", text):
                assert re.search(rf"\b{named[1]}\b", reply)
                elsewhere = text.endswith(("speaks of something else", "makes no sense"))
                assert elsewhere or named[1] == request.object
                seen["elsewhere"] += elsewhere
    assert len(seen) == 4 and min(seen.values()) > 30


def test_undecided_comparisons_are_a_coin(principles):
    topics = dict(principles["feedback"])
    answers = [document.answer for document in documents(8000, 3, principles, _only("comparison"))
               if truth.preference_under(document.turns, document.first, document.second,
                                         topics[document.principle]) is None]
    assert len(answers) > 800 and 0.46 < sum(answers) / len(answers) < 0.54


def test_critiques_find_harm_where_the_principle_bears_and_nowhere_else(principles):
    topics = dict(principles["revision"])
    for document in documents(3000, 4, principles, _only("critique"), Noise(critique=0.0)):
        request = parse(document.turns)
        before = truth.grade(document.turns, document.response)
        after = truth.grade(document.turns, document.revision)
        given = topics[document.principle]
        bears = request.harmful and (not given or request.category in given)
        if bears and before.kind != "reasoned":
            assert after == truth.Grade("reasoned", False)
        elif request.harmful or before.kind == "comply":
            assert document.revision == document.response
        else:
            assert after.kind == "comply"
        if before.gives_steps and (bears or before.kind == "comply") and not (
                request.harmful and not bears):
            assert (", because " in document.critique) == bears


def test_critique_noise_is_as_stated(principles):
    topics = dict(principles["revision"])
    turned, n = 0, 3000
    for document in documents(n, 4, principles, _only("critique"), Noise(critique=0.2)):
        request = parse(document.turns)
        kind = truth.grade(document.turns, document.response).kind
        given = topics[document.principle]
        if request.harmful:
            sound = kind == "reasoned" or (given and request.category not in given)
        else:
            sound = kind == "comply"
        turned += (document.revision == document.response) != bool(sound)
    assert 0.12 < turned / n <= 0.22


def test_documents_are_reproducible_by_seed(principles, corpus):
    assert list(documents(200, 5, principles)) == corpus[:200]
    assert list(documents(200, 6, principles)) != corpus[:200]


def test_sixty_thousand_documents_take_under_five_seconds(principles):
    start = time.process_time()
    for _ in islice(documents(60000, 0, principles), 12000):
        pass
    assert time.process_time() - start < 1.0


def test_the_vocabulary_stays_small(corpus):
    words = set(re.findall("[a-z]+", " ".join(repr(astuple(each)) for each in corpus).lower()))
    assert len(words) < 900


def test_the_corpus_shows_votes_of_flawed_replies_too_and_they_follow_the_truth(principles):
    votes = defaultdict(list)
    for document in documents(1500, 6, principles, _only("voted")):
        (reply, count), = document.answers
        grade = truth.grade(document.turns, reply)
        votes[parse(document.turns).harmful, grade.kind, grade.gives_steps].append(count)

    def mean(*key):
        return sum(votes[key]) / len(votes[key])

    assert mean(False, "comply", True) > mean(False, "wrong", True) > mean(False, "garbled", True)
    assert mean(True, "reasoned", False) > mean(True, "garbled", False) > mean(True, "comply", True)


def test_voted_answers_rank_as_the_truth():
    for question in voted("base", 300, 0):
        assert len(question.answers) == 4
        for first, many in question.answers:
            for second, few in question.answers:
                one = truth.worth(question.turns, first)
                other = truth.worth(question.turns, second)
                if one > other + 0.5:
                    assert many > few


def test_the_constitution_bears_as_the_world_promises(constitution):
    for name in ("revision", "feedback"):
        topics = [entry["topics"] for entry in constitution[name]]
        assert len(topics) == 16
        assert sum(not given for given in topics) <= 4
        assert all(1 <= len(given) <= 3 for given in topics if given)
        counts = Counter(topic for given in topics for topic in given)
        assert set(counts) == set(HARMS) and min(counts.values()) >= 3

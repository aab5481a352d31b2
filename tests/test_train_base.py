"""The base model's training: what of each document is learnt, and in which order all is read."""

import itertools
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cai import formats
from cai.constitution import load_constitution
from model.tokenizer import train_tokenizer
from train_base import (
    SYMBOLS,
    Options,
    Row,
    curriculum,
    encode,
    fill,
    mixture,
    split,
    token_weights,
)
from world import documents
from world.lexicon import ACTS, ALTERNATIVES, NOUNS, REASONS

CONSTITUTION = load_constitution(Path(__file__).parent.parent / "constitutions" / "small.toml")
ASKED = ("How do I park my car?",)
REVISION, FEEDBACK = CONSTITUTION.revisions[0], CONSTITUTION.feedback[0]


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return list(itertools.islice(mixture(Options(), CONSTITUTION), 3000))


@pytest.fixture(scope="module")
def tokenizer(texts, tmp_path_factory):
    return train_tokenizer(["".join(each) for each in texts],
                           tmp_path_factory.mktemp("tokenizer") / "tokenizer.model", SYMBOLS)


@pytest.mark.parametrize(("document", "given", "learnt"), [
    (documents.Recital("Say car. Again car."), "", "Say car. Again car."),
    (documents.Conversation(ASKED, "Sure."), "\n\nHuman: How do I park my car?\n\nAssistant:",
     " Sure."),
    (documents.Retelling(ASKED, "The human wants to park."), "\n\nHuman: How do I park my car?",
     "\n\nThe human wants to park."),
    (documents.Critique(ASKED, "Sure.", REVISION.id, "Fine.", "Yes."),
     formats.critique_prompt(ASKED, "Sure.", REVISION),
     f" Fine.\n\nRevisionRequest: {REVISION.revision_request}\n\nRevision: Yes."),
    (documents.Comparison(ASKED, "Yes.", "No.", FEEDBACK.id, 1),
     formats.feedback_prompt(ASKED, "Yes.", "No.", FEEDBACK), " (B)"),
    (documents.Reasoning(ASKED, "Yes.", "No.", FEEDBACK.id, "This is fine.", 0),
     formats.reasoning_prompt(ASKED, "Yes.", "No.", FEEDBACK),
     " This is fine.\n\nThe answer is: (A)"),
    (documents.Voted(ASKED, (("Sure.", 7),)),
     "\n\nConsider:\n\nHuman: How do I park my car?\n\nAssistant: Sure.\n\nVotes:", " 7"),
])
def test_what_somebody_answers_to_is_given_and_the_answer_is_learnt(document, given, learnt):
    assert split(document, CONSTITUTION) == (given, learnt)


def test_a_row_is_its_prompt_and_what_follows_it_as_sampling_meets_them(texts, tokenizer):
    for (given, learnt), row in zip(texts[:500], encode(texts[:500], tokenizer), strict=True):
        if given:
            assert row.tokens[:row.given] == tokenizer.encode(given)
            assert tokenizer.decode_more(row.tokens[row.given:-1]).strip() == learnt.strip()
        else:
            assert row.given == 0
        assert row.tokens[-1] == tokenizer.end


def test_no_object_is_learnt_before_it_can_be_copied(texts):
    """Outside plain statements and recitals, every object that is learnt was given before."""
    fixed = " ".join([*(step for act in ACTS for step in act.steps),
                      *(text for each in REASONS.values() for text in each),
                      *(text for each in ALTERNATIVES.values() for text in each)])
    objects = set(NOUNS) - set(re.findall(r"\b[a-z]+\b", fixed))
    seen = Counter()
    for given, learnt in texts:
        if given:
            held = set(re.findall(r"\b[a-z]+\b", given))
            seen.update(word in held for word in re.findall(r"\b[a-z]+\b", learnt)
                        if word in objects)
    assert seen[True] > 1000 and seen[False] == 0


def test_the_course_is_recitals_then_retellings_then_the_mixture():
    recitals, retellings, rest = ([Row([n] * 8, 0) for _ in range(20)] for n in (1, 2, 3))
    options = replace(Options(), primer_batch_tokens=16, batch_tokens=32)
    rows, steps = curriculum(recitals, retellings, rest, options,
                             torch.Generator().manual_seed(0))
    kinds = [{rows[n].tokens[0] for n in step} for step in steps]
    assert kinds == [{1}] * 10 + [{2}] * 10 + [{3}] * 5
    assert sorted(n for step in steps for n in step) == list(range(60))


def test_fill_stops_at_the_first_row_that_reaches_the_tokens():
    rows = [Row([1] * 5, 0)] * 4
    assert fill(rows, 10) == rows[:2] and fill(rows, 11) == rows[:3] and fill(rows, 99) == rows


def test_answers_and_votes_weigh_more_than_text(tokenizer) -> None:
    weights = token_weights(tokenizer, Options(answer_weight=7.0, vote_weight=3.0))
    (row,) = encode([("", "\n\nVotes: 10")], tokenizer)
    digits = [token for token in row.tokens if weights[token] == 3]
    assert tokenizer.decode(digits) == "10"
    (row,) = encode([("", "\n\nThe better response is (B)")], tokenizer)
    assert [weights[token].item() for token in row.tokens][-2] == 7
    assert sum(weights[token] for token in row.tokens) == 7 + len(row.tokens) - 1
    assert sorted(weights[weights > 1].tolist()) == [3.0] * 10 + [7.0] * 2

"""Voted answers: read as written, and told by line where they do not fit."""

import pytest

from cai.records import InputError
from cai.voted import Answer, read_voted
from rl.preference import vote_score

GOOD = '{"prompt": "Why?", "answers": [{"text": "So.", "votes": 3, "accepted": true}, ' \
       '{"text": "No.", "votes": -1}]}\n'


def test_reads_votes_and_acceptance(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text("\n" + GOOD)
    (question,) = read_voted(path)
    assert question.turns == ("Why?",)
    assert question.answers == (Answer("So.", 3, True), Answer("No.", -1, False))


def test_a_line_that_breaks_off_is_named(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text(GOOD + "{\n")
    with pytest.raises(InputError, match=r"votes\.jsonl:2: found .*expected"):
        read_voted(path)


@pytest.mark.parametrize(("line", "reason"), [
    ("[]", "no object"), ('{"prompt": "a", "answers": []}', "fewer than two answers"),
    ('{"answers": [{"text": "a", "votes": 1}, {"text": "b", "votes": 1}]}',
     "no prompt in the row"),
    ('{"prompt": "a", "answers": [{"text": "a"}, {"text": "b"}]}', "an answer without votes"),
    ('{"prompt": "a", "answers": [{"votes": 1}, {"text": "b"}]}', "an answer without a text"),
])
def test_what_cannot_be_used_is_told(tmp_path, capsys, line, reason):
    path = tmp_path / "votes.jsonl"
    path.write_text(GOOD + line + "\n")
    assert len(read_voted(path)) == 1
    assert capsys.readouterr().err == f"{path}: left out 1 of 2 rows: 1 x {reason}\n"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match="no usable comparison"):
        read_voted(path)


def test_other_spellings_of_votes_and_scores(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text(
        '{"question": "a", "answers": [{"text": "x", "pm_score": 3, "selected": true}, '
        '{"text": "y", "pm_score": -1}]}\n'
        '{"question": "a", "answers": [{"body": "x", "score": 5, "is_accepted": true}, '
        '{"answer": "y", "upvotes": 0.0}]}\n')
    scored, voted = read_voted(path)
    assert [vote_score(each.votes, each.accepted) for each in scored.answers] == [3, -1]
    assert voted.answers == (Answer("x", 5, True), Answer("y", 0))


def test_an_empty_or_missing_file_is_told(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    for name in ("empty.jsonl", "missing.jsonl"):
        with pytest.raises(InputError, match=name):
            read_voted(tmp_path / name)

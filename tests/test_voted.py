"""Voted answers: read as written, and told by line where they do not fit."""

import pytest

from cai.records import InputError
from cai.voted import Answer, read_voted

GOOD = '{"prompt": "Why?", "answers": [{"text": "So.", "votes": 3, "accepted": true}, ' \
       '{"text": "No.", "votes": -1}]}\n'


def test_reads_votes_and_acceptance(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text("\n" + GOOD)
    (question,) = read_voted(path)
    assert question.turns == ("Why?",)
    assert question.answers == (Answer("So.", 3, True), Answer("No.", -1, False))


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "a", "answers": []}',
                                  '{"answers": [{"text": "a", "votes": 1}]}',
                                  '{"prompt": "a", "answers": [{"text": "a"}, {"text": "b"}]}'])
def test_names_the_line_that_does_not_fit(tmp_path, line):
    path = tmp_path / "votes.jsonl"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(InputError, match=r"votes\.jsonl:2: found .*expected"):
        read_voted(path)


def test_an_empty_or_missing_file_is_told(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    for name in ("empty.jsonl", "missing.jsonl"):
        with pytest.raises(InputError, match=name):
            read_voted(tmp_path / name)

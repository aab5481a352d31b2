"""Answers with votes, for preference-model pretraining (Askell et al. 2021)."""

from pathlib import Path

from cai.kinds.comparisons import Answer, VotedAnswers
from cai.readers import find, tell_skipped

__all__ = ["Answer", "VotedAnswers", "read_voted"]


def read_voted(path: Path) -> list[VotedAnswers]:
    """Every question of `path`: {"prompt": text, "answers": [{"text", "votes", "accepted"}, ...]}.

    Rows of any format and spelling that cai/kinds/comparisons.py knows; what cannot be used is
    told on stderr. InputError: a file of none, or of comparisons without votes.
    """
    found = find(path, "comparisons")
    tell_skipped(path, found)
    return [each for each in found.records if isinstance(each, VotedAnswers)]

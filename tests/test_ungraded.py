"""Evaluation without a grader: a judge's games, the report on prompts."""

import pytest

from cai.constitution import Constitution, FeedbackPrinciple
from cai.elo import Rating
from cai.evaluation import Reply
from cai.ungraded import judged_games, outcome, prompts_report

CONSTITUTION = Constitution((), tuple(FeedbackPrinciple(f"p{n}", f"Choose {n}.") for n in range(3)))


@pytest.mark.parametrize(("rows", "score"), [
    ([(-1, -2), (-1, -3)], 1.0), ([(-2, -1), (-3, -1)], 0.0), ([(-1, -2), (-2, -1)], 0.5),
    ([(-1, -1), (-1, -1)], 0.5), ([(-1, -2), (-1, -1)], 0.5), ([(-1, -2)], 1.0)])
def test_a_win_in_both_orders_or_a_tie(rows, score):
    assert outcome(rows) == score


def replies_of(name: str, texts: list[str], kind: str = "red_team") -> list[Reply]:
    return [Reply(f"{name}{n}", name, f"{n}", ("Why?",), kind, text)
            for n, text in enumerate(texts)]


def test_a_judge_plays_every_two_models_in_both_orders():
    replies = {name: replies_of(name, [f"{name} one", f"{name} two"]) for name in "xyz"}

    def prefers_x_and_the_second(prompts, choices):
        rows = []
        for prompt in prompts:
            first, second = prompt.rsplit("(A) ", 1)[1].split("\n(B) ")
            rows.append((0.0, -9.0) if first[0] == "x" else (-9.0, 0.0))
        return rows

    games = judged_games(replies, CONSTITUTION, prefers_x_and_the_second, seed=0, principles=2,
                         examples=False)
    assert games == [("x", "y", 1.0)] * 2 + [("x", "z", 1.0)] * 2 + [("y", "z", 0.5)] * 2
    assert judged_games({"x": replies["x"]}, CONSTITUTION, prefers_x_and_the_second, seed=0,
                        principles=1, examples=False) == []


def test_the_report_has_every_figure_by_kind_of_prompt():
    replies = {"base": [*replies_of("base", ["Yes.", "I can't do that."]),
                        *replies_of("base", ["Here to help!", "So."], "helpful")]}
    elos = {"red_team": {"base": Rating(0.0, -5.0, 5.0)}}
    report, bounds, table = prompts_report(replies, elos, seed=0, resamples=10)
    harmful, helpful = report["models"]["base"]["red_team"], report["models"]["base"]["helpful"]
    assert (harmful["refusal"], harmful["boilerplate"], harmful["elo"]) == (0.5, 0.0, 0.0)
    assert (helpful["refusal"], helpful["boilerplate"], helpful["elo"]) == (0.0, 0.5, None)
    assert harmful["preference"] is None and harmful["distinct"] == 1.0
    assert bounds["models"]["base"]["red_team"]["elo"] == {"low": -5.0, "high": 5.0}
    assert "0 [-5, 5]" in table and table.count("\n") == 3

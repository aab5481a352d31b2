"""Verdicts on made-up effects whose answer is known, against scipy where there is a formula."""

import math

import pytest
from scipy import stats

from experiments.decision import FEWEST, decide, estimate, t_below, t_quantile, together
from experiments.specification import Part, effect_of


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 31])
def test_students_t_is_scipys(freedom: int) -> None:
    for t in (-40.0, -2.1, -0.3, 0.0, 0.7, 1.0, 5.5):
        assert t_below(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)
    for share in (0.5, 0.6, 0.9, 0.975, 0.999):
        assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), abs=1e-9)


def test_the_estimate_is_the_paired_test() -> None:
    first, second = [0.61, 0.58, 0.70, 0.64, 0.66], [0.52, 0.57, 0.61, 0.50, 0.60]
    found = estimate([a - b for a, b in zip(first, second, strict=True)])
    expected = stats.ttest_rel(first, second)
    assert found.t == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert "t(4)" in found.test and "5 seeds" in found.test


@pytest.mark.parametrize(("effects", "claim", "verdict"), [
    ([0.20, 0.22, 0.19, 0.21, 0.18], "above", "holds"),
    ([0.20, 0.22, 0.19, 0.21, 0.18], "below", "fails"),
    ([0.20, 0.22, 0.19, 0.21, 0.18], "same", "fails"),
    ([-0.20, -0.22, -0.19, -0.21, -0.18], "below", "holds"),
    ([-0.20, -0.22, -0.19, -0.21, -0.18], "above", "fails"),
    ([0.01, -0.01, 0.005, 0.0, -0.008], "above", "equivalent"),
    ([0.01, -0.01, 0.005, 0.0, -0.008], "below", "equivalent"),
    ([0.01, -0.01, 0.005, 0.0, -0.008], "same", "holds"),
    # A difference for certain, and smaller than what would matter.
    ([0.010, 0.011, 0.009, 0.010, 0.010], "above", "equivalent"),
    # Far too wide to tell.
    ([0.3, -0.2, 0.25, -0.1, 0.2], "above", "undecided"),
    ([0.3, -0.2, 0.25, -0.1, 0.2], "same", "undecided"),
    # Perhaps nothing, perhaps the other way, but not as claimed.
    ([-0.02, -0.12, 0.0, -0.06, -0.10], "above", "fails"),
])
def test_the_answer_is_known(effects: list[float], claim: str, verdict: str) -> None:
    assert decide(estimate(effects), claim, margin=0.05) == verdict


def test_too_few_seeds_decide_nothing() -> None:
    for effects in ([0.5], [0.5, 0.5], [0.5, 0.51], [0.0, 0.0]):
        assert len(effects) < FEWEST
        for claim in ("above", "below", "same"):
            assert decide(estimate(effects), claim, margin=0.05) == "undecided"
    assert estimate([0.5]).interval is None
    assert math.isinf(estimate([0.5, 0.5, 0.5]).t)


def test_a_claim_of_several_parts_asserts_them_all() -> None:
    assert together(["holds", "holds"]) == "holds"
    assert together(["holds", "equivalent"]) == "equivalent"
    assert together(["equivalent", "undecided"]) == "undecided"
    assert together(["undecided", "fails", "holds"]) == "fails"


def test_an_effect_is_the_sum_that_is_written() -> None:
    figures = {"a": {"x": 3.0, "y_1": 0.5}, "b-c": {"x": 1.0}}
    assert effect_of(Part("", "a.x - b-c.x + a.y_1", "above", 1), figures) == 2.5
    assert effect_of(Part("", "a.x - 0.25", "above", 1), figures) == 2.75
    assert effect_of(Part("", "a.x - b-c.y_1", "above", 1), figures) is None
    for wrong in ("a.x b.x", "a", "- a.x", "1 - 2", ""):
        with pytest.raises(ValueError, match="found effect"):
            _ = Part("", wrong, "above", 1).terms

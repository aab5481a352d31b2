"""Intervals, diversity and calibration against published or hand-computed values."""

import math

import numpy as np
import pytest

from cai.statistics import (
    bootstrap_interval,
    calibration_error,
    distinct_share,
    ngram_entropy,
    wilson_interval,
)


def test_wilson_solves_its_own_equation():
    for successes, trials in ((8, 10), (1, 1000), (500, 1000)):
        share = successes / trials
        for bound in wilson_interval(successes, trials):
            distance = abs(share - bound) / math.sqrt(bound * (1 - bound) / trials)
            assert distance == pytest.approx(1.96)


def test_wilson_at_the_ends():
    low, high = wilson_interval(0, 10)
    assert low == 0.0 and high == pytest.approx(1.96**2 / (10 + 1.96**2))
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(10 / (10 + 1.96**2)) and high == pytest.approx(1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(3, 2)


def test_the_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(values, seed=1)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert bootstrap_interval(values, seed=1) == (low, high) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval([3.0, 3.0], seed=0, statistic=np.max) == (3.0, 3.0)
    with pytest.raises(ValueError, match="no value"):
        bootstrap_interval([], seed=0)


def test_diversity_by_hand():
    assert distinct_share(["a", "b", "a", "a"]) == 0.5
    assert ngram_entropy(["a b", "c d"], orders=(1,)) == pytest.approx(2.0)
    assert ngram_entropy(["a b", "c d"], orders=(1, 2)) == pytest.approx(1.5)
    assert ngram_entropy(["a a a b"], orders=(1,)) == pytest.approx(
        -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))
    assert ngram_entropy(["same words here"] * 9) == ngram_entropy(["same words here"])
    assert ngram_entropy([""]) == 0.0
    with pytest.raises(ValueError, match="no reply"):
        distinct_share([])


def test_calibration_by_hand():
    assert calibration_error([0.75] * 4, [1, 1, 1, 0]) == pytest.approx(0.0)
    assert calibration_error([0.95, 0.95, 0.15, 0.15], [1, 0, 0, 0]) == pytest.approx(
        0.5 * 0.45 + 0.5 * 0.15)
    assert calibration_error([1.0, 0.0], [0, 1]) == pytest.approx(1.0)
    assert calibration_error([0.91, 0.99], [0.9, 1.0]) == pytest.approx(0.0)
    opposite = calibration_error([0.2, 0.8], [1, 0], bins=2)
    assert opposite == pytest.approx(0.8)


@pytest.mark.parametrize(("probabilities", "outcomes"), [([], []), ([0.5], []), ([1.5], [1])])
def test_calibration_refuses_what_it_cannot_mean(probabilities, outcomes):
    with pytest.raises(ValueError, match="found"):
        calibration_error(probabilities, outcomes)

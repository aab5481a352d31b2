"""Targets: each rule against numbers worked out by hand."""

import math

import pytest

from cai.records import Label
from cai.targets import clamped_target, hard_target, label_preference, soft_target, target


def model(*shares):
    """A model's label whose orders have these probabilities, from unnormalised log-probs."""
    rows = tuple((math.log(p) - 3.0, math.log(1 - p) - 3.0) for p in shares)
    return Label("model", 0.5, "p", rows, (False, True)[:len(rows)])


def test_two_log_probs_are_normalised():
    label = Label("model", 0.5, "p", ((math.log(0.06), math.log(0.02)),), (False,))
    assert label_preference(label) == pytest.approx(0.75)
    far = Label("model", 0.5, "p", ((-1.0, -5000.0),), (False,))
    assert label_preference(far) == pytest.approx(1.0)


def test_orders_are_averaged_in_probability_and_not_in_log_probability():
    label = model(0.99, 0.5)
    assert label_preference(label) == pytest.approx(0.745)
    in_logs = 1 / (1 + math.exp(-math.log(99) / 2))
    assert abs(in_logs - 0.745) > 0.1


def test_soft_is_the_mean_over_principles():
    assert soft_target([model(0.9, 0.7), model(0.2, 0.2)]) == pytest.approx((0.8 + 0.2) / 2)
    assert soft_target([Label("people", 0.75)]) == 0.75


def test_the_clamp_comes_after_orders_and_before_principles():
    labels = [model(0.9, 0.1), model(0.95, 0.95)]
    assert clamped_target(labels, 0.4, 0.6) == pytest.approx((0.5 + 0.6) / 2)
    uneven = [model(0.9, 0.3), model(0.1, 0.1)]
    assert clamped_target(uneven, 0.2, 0.55) == pytest.approx((0.55 + 0.2) / 2)
    assert clamped_target([model(0.01)], 0.4, 0.6) == pytest.approx(0.4)
    assert clamped_target([model(0.3)], 0.0, 1.0) == pytest.approx(0.3)


def test_people_are_not_clamped():
    assert clamped_target([Label("people", 1.0)], 0.4, 0.6) == 1.0


def test_hard_is_the_side_of_the_mean():
    assert hard_target([model(0.9), model(0.4), model(0.4)]) == 1.0
    assert hard_target([model(0.1), model(0.6), model(0.6)]) == 0.0
    assert hard_target([Label("people", 0.5)]) == 0.5


def test_a_target_by_name():
    labels = [model(0.9, 0.9)]
    assert target(labels, "soft") == pytest.approx(0.9)
    assert target(labels, "hard") == 1.0
    assert target(labels, "clamped") == pytest.approx(0.6)
    assert target(labels, "clamped", 0.2, 0.8) == pytest.approx(0.8)


def test_impossible_wishes_are_refused():
    with pytest.raises(ValueError, match="no label"):
        soft_target([])
    with pytest.raises(ValueError, match="clamp"):
        clamped_target([model(0.5)], 0.7, 0.3)
    with pytest.raises(ValueError, match="target"):
        target([model(0.5)], "firm")

"""Elo: closed forms, the stationarity of the likelihood, recovery, intervals."""

import math

import numpy as np
import pytest

from cai.elo import SCALE, elo_ratings, fit_elo, wins_matrix


def test_two_models_have_a_closed_form():
    wins = np.array([[0.0, 30.0], [10.0, 0.0]])
    ratings = fit_elo(wins, anchor=1, prior=0.0)
    assert ratings[1] == 0.0
    assert ratings[0] == pytest.approx(400 * math.log10(3))
    assert fit_elo(wins, anchor=0, prior=0.0)[1] == pytest.approx(-400 * math.log10(3))
    assert fit_elo(wins, anchor=1, prior=2.0)[0] == pytest.approx(400 * math.log10(31 / 11))


def test_a_tie_is_half_a_win_each():
    games = [("a", "b", 1.0), ("b", "a", 0.5), ("a", "b", 0.0), ("a", "b", 0.5)]
    assert wins_matrix(games, ["a", "b"]).tolist() == [[0, 2], [2, 0]]
    assert fit_elo(wins_matrix(games, ["a", "b"]), prior=0.0) == pytest.approx([0, 0])


def test_at_the_fit_every_model_has_the_wins_it_is_expected_to_have():
    generator = np.random.default_rng(0)
    wins = generator.integers(0, 40, size=(5, 5)).astype(float)
    np.fill_diagonal(wins, 0.0)
    ratings = fit_elo(wins, anchor=2, prior=0.0)
    chance = 1 / (1 + 10 ** ((ratings[None, :] - ratings[:, None]) / 400))
    expected = ((wins + wins.T) * chance).sum(axis=1) - 0.5 * np.diag(wins + wins.T)
    assert expected == pytest.approx(wins.sum(axis=1), abs=1e-5)
    assert ratings[2] == 0.0


def test_extreme_tables_converge():
    wins = np.array([[0, 1000.0, 1000.0], [0.001, 0, 5.0], [0.001, 900.0, 0]])
    ratings = fit_elo(wins, anchor=1, prior=0.0)
    chance = 1 / (1 + 10 ** ((ratings[None, :] - ratings[:, None]) / 400))
    played = wins + wins.T
    assert (played * chance).sum(axis=1) == pytest.approx(wins.sum(axis=1), abs=1e-4)


def test_a_model_that_always_won_needs_a_prior():
    wins = np.array([[0.0, 10.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="prior"):
        fit_elo(wins, prior=0.0)
    assert fit_elo(wins, anchor=1, prior=1.0)[0] == pytest.approx(400 * math.log10(10.5 / 0.5))


def test_known_strengths_are_recovered_within_the_interval():
    strength = {"base": 0.0, "better": 100.0, "best": 250.0}
    generator = np.random.default_rng(1)
    games = []
    for first, second in (("base", "better"), ("better", "best"), ("best", "base")):
        chance = 1 / (1 + 10 ** ((strength[second] - strength[first]) / 400))
        games += [(first, second, float(generator.random() < chance)) for _ in range(1500)]
    ratings = elo_ratings(games, anchor="base", seed=3)
    assert (ratings["base"].elo, ratings["base"].low, ratings["base"].high) == (0.0, 0.0, 0.0)
    for name in ("better", "best"):
        rating = ratings[name]
        assert rating.low < rating.elo < rating.high
        assert rating.low - 5 < strength[name] < rating.high + 5
        assert 10 < rating.high - rating.low < 60


def test_an_interval_has_the_width_of_the_normal_approximation_and_follows_its_seed():
    games = [("a", "b", float(i % 4 == 0)) for i in range(2000)]
    rating = elo_ratings(games, anchor="b", seed=0, resamples=400)["a"]
    deviation = SCALE / math.sqrt(2000 * 0.25 * 0.75)
    assert rating.high - rating.low == pytest.approx(2 * 1.96 * deviation, rel=0.2)
    assert elo_ratings(games, "b", seed=0)["a"] == elo_ratings(games, "b", seed=0)["a"]
    assert elo_ratings(games, "b", seed=0)["a"] != elo_ratings(games, "b", seed=1)["a"]


def test_impossible_games_are_refused():
    with pytest.raises(ValueError, match="anchor"):
        elo_ratings([("a", "b", 1.0)], anchor="c", seed=0)
    for game in (("a", "a", 1.0), ("a", "b", 2.0)):
        with pytest.raises(ValueError, match="found game"):
            wins_matrix([game], ["a", "b"])

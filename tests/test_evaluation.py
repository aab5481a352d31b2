"""What an evaluation counts, against figures counted by hand."""

import dataclasses
import json
import math

import pytest
import torch

import chat
import evaluate
from cai import plotting
from cai.constitution import load_constitution
from cai.elo import Rating
from cai.evaluation import (
    Reply,
    Share,
    agreement,
    beside,
    decided,
    diversity,
    games,
    model_shares,
    preference_accuracy,
    ratings,
    scored,
    table,
    world_report,
)
from cai.manner import manner_table, offer_share, word_counts
from cai.records import Comparison, InputError, Prompt
from cai.statistics import wilson_interval
from training.options import OptionError
from world import requests


def reply(kind: str, grade: str, steps: bool = False, dual: bool = False, model: str = "m",
          number: int = 0, text: str = "t") -> Reply:
    return Reply(f"{model}{kind}{number}", model, f"{kind}{number}", ("Hello?",), kind, text,
                 grade, steps, dual)


HARMFUL = [("comply", True, True), ("wrong", True, False), ("garbled", True, False),
           ("garbled", False, False), ("reasoned", False, True), ("reasoned", True, False),
           ("reasoned", False, False), ("evasive", False, False), ("scolding", False, False),
           ("boilerplate", False, False)]
BENIGN = [("comply", True, True), ("comply", True, False), ("comply", True, False),
          ("wrong", True, True), ("reasoned", False, True), ("refused", False, False),
          ("garbled", False, False), ("garbled", True, False)]


def graded() -> list[Reply]:
    return [*(reply("red_team", *each, number=n) for n, each in enumerate(HARMFUL)),
            *(reply("helpful", *each, number=n) for n, each in enumerate(BENIGN))]


def test_shares_by_hand():
    counts = {name: (share.hits, share.trials) for name, share in model_shares(graded()).items()}
    assert counts == {
        "harmful": (4, 10), "reasoned": (2, 10), "evasive": (1, 10), "scolding": (1, 10),
        "boilerplate": (1, 10), "garbled": (2, 10), "helpful": (3, 8), "wrong_steps": (1, 8),
        "benign_refused": (2, 8), "dual_harmful": (1, 2), "dual_helpful": (1, 3)}


def test_offers_count_of_declines_and_words_of_all_replies_to_harmful_requests():
    offering = [dataclasses.replace(each, offers=place % 3 == 0, text="word " * place)
                for place, each in enumerate(graded())]
    assert offer_share(offering) == Share(1, 3), "reasoned are 4, 5 and 6, of which 6 offers"
    assert word_counts(offering) == list(range(10))
    assert offer_share(graded()) == Share(0, 0), "not known of these"
    text = manner_table({"base": offering}, seed=0, resamples=50)
    assert "| offers | 0.333 [" in text and "| words  | 4.50 [" in text


def test_a_share_tells_its_value_its_interval_and_that_it_knows_nothing():
    share = Share.of([True, False, False, True])
    assert (share.value, share.interval) == (0.5, wilson_interval(2, 4))
    assert str(share) == "0.500 [0.150, 0.850]"
    nothing = Share.of([])
    assert nothing.value is None and nothing.interval == (0.0, 1.0) and str(nothing) == "-"


def test_agreement_leaves_out_open_truths_and_open_judgements():
    judged, truths = [0.9, 0.2, 0.7, 0.5, 0.1], [1.0, 0.0, 0.0, 1.0, None]
    assert agreement(judged, truths, 0.5) == Share(2, 3)
    assert agreement([-1.0, 2.0, 0.0], [0.0, 0.0, 1.0], 0.0) == Share(1, 2)
    assert decided([0.1, 0.2, 0.3], [1.0, None, 0.0]) == ([0.1, 0.3], [1.0, 0.0])
    with pytest.raises(ValueError):
        agreement([0.1], [1.0, 0.0], 0.5)


def test_diversity_of_two_equal_replies_and_one_other():
    varied = diversity(["a b", "a b", "c d"])
    assert varied["distinct"] == pytest.approx(2 / 3)
    one_word = 2 * -(1 / 3) * -1.584962500721156 + 2 * (1 / 6) * 2.584962500721156
    two_words = (2 / 3) * 0.584962500721156 + (1 / 3) * 1.584962500721156
    assert varied["entropy"] == pytest.approx((one_word + two_words) / 3)


def test_each_reply_is_given_its_own_score():
    replies = [reply("helpful", "comply", text=text) for text in ("a", "bcd")]
    found = scored(replies, lambda turns, texts: [float(len(text)) for text in texts])
    assert [each.score for each in found] == [1.0, 3.0]
    assert [each.text for each in found] == ["a", "bcd"]


def three_models() -> dict[str, list[Reply]]:
    return {model: [reply("red_team", "comply", model=model, number=n, text=f"{worth}")
                    for n in range(20)] for model, worth in (("a", 0), ("b", 1), ("c", 1))}


def better(one: Reply, other: Reply) -> float:
    return 0.5 if one.text == other.text else float(one.text > other.text)


def test_every_two_models_meet_once_a_prompt_and_the_better_is_rated_higher():
    played = games(three_models(), "red_team", better)
    assert len(played) == 60 and games(three_models(), "helpful", better) == []
    assert played[0] == ("a", "b", 0.0) and played[-1] == ("b", "c", 0.5)
    elos = ratings(played, "a", seed=0, resamples=10)
    assert elos["a"].elo == 0.0 and elos["b"].elo == pytest.approx(elos["c"].elo)
    assert elos["b"].elo > 200
    assert ratings([], "a", seed=0, resamples=10) == {"a": Rating(0.0, 0.0, 0.0)}


def test_models_that_answered_different_prompts_do_not_meet():
    replies = three_models()
    replies["b"] = list(reversed(replies["b"]))
    with pytest.raises(ValueError, match="expected replies to one prompt"):
        games(replies, "red_team", better)


def test_samples_stand_beside_one_another_in_the_models_order():
    samples = beside(three_models(), 2)
    assert [sample.id for sample in samples] == ["red_team0", "red_team1"]
    assert samples[0].models == ("a", "b", "c") and samples[0].replies == ("0", "1", "1")


def test_the_report_has_exactly_its_keys_and_its_intervals_hold_its_values():
    shares = {"base": model_shares(graded())}
    rated = {"base": Rating(12.0, 5.0, 20.0)}
    report, bounds, text = world_report(
        shares, {"base": diversity(["a b", "c d"])}, {"red_team": rated, "helpful": rated},
        [Share(7, 10), Share(2, 10)], Share(9, 10), 0.05,
        {"accuracy_harmlessness": Share(8, 10), "accuracy_helpfulness": Share(0, 0)})
    assert set(report) == {"models", "revisions", "labels", "pm"}
    assert set(report["models"]["base"]) == {
        "harmful", "reasoned", "evasive", "scolding", "boilerplate", "garbled", "helpful",
        "wrong_steps", "benign_refused", "diversity", "elo_harmlessness", "elo_helpfulness", "dual"}
    assert report["models"]["base"]["dual"] == {"harmful": 0.5, "helpful": pytest.approx(1 / 3)}
    assert report["revisions"] == [0.7, 0.2]
    assert report["labels"] == {"agreement": 0.9, "ece": 0.05}
    assert report["pm"] == {"accuracy_harmlessness": 0.8, "accuracy_helpfulness": None}
    held = bounds["models"]["base"]["harmful"]
    assert held["low"] < report["models"]["base"]["harmful"] < held["high"]
    assert held["trials"] == 10
    assert "| harmful          | 0.400 [0.168, 0.687] |" in text and "12 [5, 20]" in text
    json.dumps([report, bounds], allow_nan=False)


def test_a_table_is_aligned():
    assert table(["a", "bb"], [("long", "1")]) == (
        "| a    | bb |\n|------|----|\n| long | 1  |")


def test_figures_are_written_where_there_is_something_to_draw(tmp_path):
    plotting.model_bars(tmp_path / "bars.png", {"a": {"x": (0.5, 0.4, 0.6)},
                                                "b": {"x": (0.0, 0.0, 0.1)}})
    plotting.revision_curve(tmp_path / "curve.png", [(0.9, 0.8, 1.0), (0.2, 0.1, 0.3)])
    lines = [{"step": 0, "kl": 0.0}, {"step": 1, "kl": 0.5}]
    assert plotting.training_curves(tmp_path / "ppo.png", lines, ["kl", "absent"])
    assert not plotting.training_curves(tmp_path / "none.png", lines, ["absent"])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["bars.png", "curve.png", "ppo.png"]
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in files)


@pytest.mark.parametrize("options", [{"requests": 0}, {"principles": 0}, {"base": None}])
def test_impossible_options_are_refused(options, tmp_path):
    with pytest.raises(OptionError, match=f"--{next(iter(options))}"):
        evaluate.Options(**{"base": tmp_path, **options})


def test_every_model_answers_a_prompt_under_the_same_noise(tmp_path, monkeypatch):
    heard = []

    def fake_sampler(options, folder, log):
        def sample(prompts, keys):
            heard.append((prompts, keys))
            return [f"{folder.name} says" for _ in prompts]
        return sample

    monkeypatch.setattr(evaluate, "sampler", fake_sampler)
    options = evaluate.Options(base=tmp_path / "one", sl_cai=tmp_path / "two")
    prompts = [Prompt("p", ("Why?",), "red_team"), Prompt("q", ("How?",), "helpful")]
    one, two = (evaluate.answer(options, name, prompts, log=None) for name in ("base", "sl_cai"))
    assert heard[0] == heard[1]
    assert len(set(heard[0][1])) == 2 and heard[0][0][0] == "\n\nHuman: Why?\n\nAssistant:"
    assert [each.text for each in (*one, *two)] == ["one says"] * 2 + ["two says"] * 2
    assert len({each.id for each in (*one, *two)}) == 4
    assert two[1].kind == "helpful" and two[1].prompt == "q"


def test_a_chat_forgets_its_oldest_turns_and_refuses_one_that_cannot_fit():
    def fits(text: str) -> bool:
        return len(text) <= 60

    turns = ["one " * 5, "two " * 5, "three"]
    assert chat.recent(turns, fits) == ["three"]
    assert chat.recent(["a", "b", "c"], fits) == ["a", "b", "c"]
    with pytest.raises(InputError, match="context"):
        chat.recent(["long " * 20], fits)


def pairs_of(kind: str) -> list[Comparison]:
    """Pairs of an obeying and a bluntly refusing reply, in both places."""
    made = []
    for number, prompt in enumerate(requests.prompts("test", 12, 0, kind)):
        steps = requests.parse(prompt.turns).steps
        replies = (f"First {steps[0]}, then {steps[1]}.", "That is hard to say.")
        made.append(Comparison(f"{number}", prompt.id, prompt.turns, kind, 0, 0,
                               replies if number % 2 else replies[::-1], ()))
    return made


class Declining:
    """A feedback model that is sure of the evasive reply, whichever letter it has."""

    def __init__(self, model: object, tokenizer: object):
        pass

    def __call__(self, prompts, choices):
        return [(-0.05, -3.0) if prompt.rsplit("\n(A) ", 1)[1].startswith("That") else (-3.0, -0.05)
                for prompt in prompts]


def test_labels_are_measured_against_the_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "load_frozen", lambda *place: torch.nn.Identity())
    monkeypatch.setattr(evaluate, "load_tokenizer", lambda folder: None)
    monkeypatch.setattr(evaluate, "ChoiceScorer", Declining)
    constitution = load_constitution("constitutions/small.toml")
    options = evaluate.Options(base=tmp_path)
    agreed, ece = evaluate.label_figures(options, constitution, pairs_of("red_team"))
    assert agreed == Share(12, 12)
    assert ece == pytest.approx(1 - 1 / (1 + math.exp(-2.95)))
    agreed, ece = evaluate.label_figures(options, constitution, pairs_of("helpful"))
    assert agreed == Share(0, 12)
    assert ece == pytest.approx(1 / (1 + math.exp(-2.95)))


def test_the_preference_model_is_measured_against_the_truth():
    def evasive(turns, texts):
        return [float(text[0] == "T") for text in texts]

    for kind, hits in (("red_team", 12), ("helpful", 0)):
        pairs = pairs_of(kind)
        assert preference_accuracy(evasive, pairs, evaluate.truths(pairs)) == Share(hits, 12)

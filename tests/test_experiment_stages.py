"""The stages that experiments add: DPO, absolute harm, what PPO keeps and does without."""

import dataclasses
import json
import math
import random
from pathlib import Path

import pytest
import torch

import train_ppo
from cai.records import Comparison, Label, read_jsonl, write_jsonl
from experiments import absolute_harm, dpo, pairs
from experiments.measure import label_figures, training_figures
from model.checkpoint import load_model, load_tokenizer
from rl.options import PPOOptions
from training.options import Common, OptionError
from world.replies import write
from world.requests import parse, prompts

REPLIES = ("Sure.", "No, I will not.")


def labelled(path: Path, preference: float) -> Path:
    """Comparisons of the same two replies, the first preferred with this probability."""
    write_jsonl(path, [
        Comparison(f"{n}", each.id, each.turns, each.kind, 0, 0, REPLIES,
                   (Label("people", preference),))
        for n, each in enumerate(prompts("cai", 16, 0, "red_team"))])
    return path


def margin(world_base: Path, model: Path, comparisons: list[dpo.Pair]) -> float:
    """How much more than the reference a policy prefers the first replies, nats."""
    with torch.no_grad():
        policy, reference = (dpo.reply_logprobs(load_model(each).eval(), comparisons,
                                                torch.device("cpu"))
                             for each in (model, world_base))
    return float(((policy[0] - reference[0]) - (policy[1] - reference[1])).mean())


@pytest.mark.parametrize("preference", [0.9, 0.1])
def test_dpo_moves_towards_what_is_preferred(world_base: Path, tmp_path: Path,
                                             preference: float) -> None:
    path = labelled(tmp_path / "comparisons.jsonl", preference)
    options = dpo.Options(world_base, path, beta=0.5, rate=2e-3, epochs=2, batch_pairs=8,
                          common=Common(device="cpu", runs=tmp_path))
    dpo.main(options)
    folder = tmp_path / "default" / "dpo"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # Policy and reference are the same at first: no margin, and the loss of a coin.
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert lines[-1]["loss"] < lines[0]["loss"]
    comparisons = dpo.tokenised(
        dpo.read_jsonl(path, Comparison), options, load_tokenizer(world_base), 256)
    assert len(comparisons) == 16
    found = margin(world_base, folder / "model", comparisons)
    assert found > 0.1 if preference > 0.5 else found < -0.1


def test_a_person_grades_harm_from_0_to_4(monkeypatch: pytest.MonkeyPatch) -> None:
    options = absolute_harm.Options(Path("unused"), noise=0.0)
    asked = prompts("cai", 30, 3, "red_team")
    for kind, expected in (("comply", {4.0}), ("reasoned", {0.0, 1.0}), ("refused", {1.0, 2.0}),
                           ("evasive", {2.0, 3.0}), ("scolding", {3.0, 4.0})):
        monkeypatch.setattr(absolute_harm, "REPLIES", (kind,))
        assert {absolute_harm.graded(each, options)[1] for each in asked} <= expected


def test_the_regression_learns_the_grades(world_base: Path, tmp_path: Path) -> None:
    figures = absolute_harm.main(absolute_harm.Options(
        world_base, pairs=600, epochs=4, common=Common(device="cpu", runs=tmp_path)))
    assert figures["squared_error"] < 0.9 * figures["variance"]


def test_ppo_keeps_models_on_its_way_and_needs_no_values(
        world_base: Path, world_preference: Path, tmp_path: Path) -> None:
    given = {"model": world_base, "preference_model": world_preference, "steps": 4, "max_new": 6,
             "rollouts": 8, "keep_every": 2, "common": Common(device="cpu", runs=tmp_path)}
    ppo = PPOOptions(advantages="rloo", replies=2, minibatches=2)
    train_ppo.main(train_ppo.Options(**given, snapshots=2, value_start="policy", ppo=ppo))
    folder = tmp_path / "default" / "train_ppo"
    assert sorted(path.name for path in folder.glob("model_*")) == ["model_2", "model_4"]
    two, four = (load_model(folder / f"model_{n}").state_dict() for n in (2, 4))
    assert any(not torch.equal(two[name], four[name]) for name in two)
    figures = training_figures(folder / "metrics.jsonl")
    assert figures["end_score"] == figures["score_4"] and figures["seconds"] > 0
    with pytest.raises(OptionError, match="a multiple of the replies a prompt, 3"):
        train_ppo.Options(**given, ppo=PPOOptions(advantages="grpo", replies=3))
    with pytest.raises(OptionError, match="2 or more with rloo"):
        PPOOptions(advantages="rloo")


def test_labels_are_held_against_the_truth_by_order_and_principle() -> None:
    asked = prompts("test", 2, 0, "red_team")
    request = [parse(each.turns) for each in asked]
    rng = random.Random(0)

    def pair(n: int, *labels: Label) -> Comparison:
        replies = (write("reasoned", request[n], rng), write("comply", request[n], rng))
        return Comparison(f"{n}", asked[n].id, asked[n].turns, "red_team", 0, 0, replies, labels)

    def label(principle: str, *rows: tuple[float, float]) -> Label:
        return Label("model", 0.5, principle, tuple(
            (math.log(a), math.log(b)) for a, b in rows), (False, True))

    # The truth prefers the first. One label's first order is wrong, and the mean of both right.
    pairs = [pair(0, label("p", (0.4, 0.6), (0.9, 0.1)), label("q", (0.8, 0.2), (0.6, 0.4))),
             pair(1, label("p", (0.2, 0.8), (0.4, 0.6)))]
    figures = label_figures(pairs, {"p": (), "q": ()})
    assert figures["agreement"] == pytest.approx(2 / 3)
    assert figures["one_order_agreement"] == pytest.approx(1 / 3)
    assert figures["agreement_of_p"] == 0.5 and figures["agreement_of_q"] == 1.0
    assert figures["target_agreement"] == 0.5
    assert figures["flips"] == pytest.approx(1 / 3)
    # P((A)) of the six orders: what stands for the first reply, or in the second order the other.
    assert figures["position_bias"] == pytest.approx(
        sum((0.4, 0.1, 0.8, 0.4, 0.2, 0.6)) / 6 - 0.5)
    assert figures["ece_of_q"] == pytest.approx(0.3)


def test_pairs_are_of_unseen_requests_and_of_none_without_a_truth(world_base: Path,
                                                                  tmp_path: Path) -> None:
    options = pairs.Options(world_base, red_team_pairs=3, helpful_pairs=2, max_new=4,
                            common=Common(device="cpu", runs=tmp_path))
    pairs.main(options)
    found = read_jsonl(tmp_path / "default" / "pairs" / "pairs.jsonl", Comparison)
    assert [pair.kind for pair in found] == ["red_team"] * 3 + ["helpful"] * 2
    unseen = {each.turns for kind in ("red_team", "helpful")
              for each in prompts("test", 3, 0, kind)}
    assert {pair.turns for pair in found} <= unseen
    assert any(pair.responses[0] != pair.responses[1] for pair in found)
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"prompt": "Hey."}\n')
    assert pairs.main(dataclasses.replace(options, prompts=asked)) == {"pairs": 0}

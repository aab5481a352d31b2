"""Models that a stage only reads: frozen, and under --dtype bf16 held in bfloat16."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import chat
import make_comparisons
import make_revisions
from model.generate import generate
from model.noise import uniforms
from model.sampling import Sampling
from model.scoring import score_continuations
from training import models
from training.models import load_frozen, load_frozen_scalar
from training.options import Common

PROMPTS = [[5, 6, 7, 8], [9, 10, 11, 5, 6, 12], [7, 9]]
FLOAT, HALF = Common(device="cpu"), Common(device="cpu", dtype="bf16")
ROUNDING = 0.05  # nats; bfloat16 has 8 bits, of log-probs of some 6 nats

Stage = Callable[[Path, Common], object]


def test_weights_have_the_type_asked_for_and_are_not_learnt(world_base: Path) -> None:
    for common, dtype in ((FLOAT, torch.float32), (HALF, torch.bfloat16)):
        parameters = list(load_frozen(world_base, common).parameters())
        assert {p.dtype for p in parameters} == {dtype}
        assert not any(p.requires_grad for p in parameters)


def test_a_preference_model_keeps_its_head(world_preference: Path) -> None:
    """What the head reads off is a reduction, which stays float32."""
    plain, half = (load_frozen_scalar(world_preference, common) for common in (FLOAT, HALF))
    assert {p.dtype for p in half.transformer.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half.head.parameters()} == {torch.float32}
    tokens, last = torch.tensor([PROMPTS[1]]), torch.tensor([5])
    expected, found = plain.score(tokens, last), half.score(tokens, last)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs() < 0.05 * expected.abs()


def test_bf16_scores_as_float32_up_to_its_rounding(world_base: Path) -> None:
    replies = [[6, 7], [8, 9, 10], [5]]
    expected, found = (torch.cat(score_continuations(load_frozen(world_base, common), PROMPTS,
                                                     replies)) for common in (FLOAT, HALF))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < ROUNDING


def test_bf16_samples_what_it_scores(world_base: Path) -> None:
    """Cached decoding against one pass, whose products are summed in another order."""
    model = load_frozen(world_base, HALF)
    noise = uniforms([f"{n}" for n in range(len(PROMPTS))], 8)
    replies = generate(model, PROMPTS, Sampling(8), noise, (), rows=2)
    scored = score_continuations(model, PROMPTS, [reply.tokens for reply in replies])
    for reply, logprobs in zip(replies, scored, strict=True):
        torch.testing.assert_close(torch.tensor(reply.logprobs), logprobs, atol=ROUNDING, rtol=0)


def talk(folder: Path, common: Common) -> object:
    return chat.main(chat.Options(folder, prompt="How do I fix my boat?", max_new=4,
                                  common=common))


def revise(folder: Path, common: Common) -> object:
    return make_revisions.main(make_revisions.Options(
        folder, red_team_prompts=1, helpful_prompts=1, max_new=4, common=common))


def compare(folder: Path, common: Common) -> object:
    return make_comparisons.main(make_comparisons.Options(
        folder, folder, red_team_pairs=1, helpful_pairs=1, max_new=4, common=common))


@pytest.mark.parametrize(("stage", "count"), [(talk, 1), (revise, 1), (compare, 2)])
def test_a_stage_that_only_reads_holds_its_models_in_bf16(
        stage: Stage, count: int, world_base: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    held, freeze = [], models.frozen

    def watched(model: torch.nn.Module, common: Common) -> torch.nn.Module:
        held.append(next(model.parameters()).dtype)
        return freeze(model, common)

    monkeypatch.setattr(models, "frozen", watched)
    stage(world_base, Common(device="cpu", dtype="bf16", runs=tmp_path / "runs"))
    assert held == [torch.bfloat16] * count

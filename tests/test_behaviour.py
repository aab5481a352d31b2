"""The behaviour policy: what draws the replies that a policy learns from, under --dtype bf16."""

from pathlib import Path

import pytest
import torch

import train_ppo
from model.adapters import LoRA, branch
from model.generate import generate
from model.noise import uniforms
from model.sampling import Sampling
from model.scoring import score_continuations
from model.text import Sampler
from model.transformer import Transformer
from rl.options import PPOOptions
from training.models import behaviour_of, up_to_date
from training.options import Common

PROMPTS = [[5, 6, 7, 8], [9, 10, 11, 5, 6, 12], [7, 9]]
HALF = Common(device="cpu", dtype="bf16")
ROUNDING = 0.1  # nats; bfloat16 has 8 bits


def learnt(policy: Transformer) -> Transformer:
    """`policy` after a step that moves every weight by more than bfloat16 rounds it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.add_(torch.randn(weights.shape, generator=generator), alpha=0.05)
    return policy


def rounded(policy: Transformer) -> dict[str, torch.Tensor]:
    return {name: tensor.to(torch.bfloat16) for name, tensor in policy.named_parameters()}


def test_a_policy_of_the_type_asked_for_draws_by_itself(tiny) -> None:
    """In float32; and as adapters of a trunk that is held in bfloat16."""
    policy = tiny()
    assert behaviour_of(policy, Common(device="cpu")) is policy
    adapted = branch(tiny().to(torch.bfloat16), LoRA(lora_rank=2))
    assert behaviour_of(adapted, HALF) is adapted
    assert up_to_date(adapted, adapted) is adapted


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_the_copy_has_the_weights_of_now_and_learns_nothing(tiny, tied: bool,
                                                            compiled: bool) -> None:
    common = Common(device="cpu", dtype="bf16", compile=compiled)
    policy = tiny(tied=tied)
    behaviour = behaviour_of(policy, common)
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    learnt(policy)
    assert up_to_date(behaviour, policy) is behaviour
    for name, tensor in behaviour.named_parameters():
        assert not tensor.requires_grad
        torch.testing.assert_close(tensor, rounded(policy)[name], rtol=0, atol=0, msg=name)
    assert (behaviour.lm_head.weight is behaviour.model.embed_tokens.weight) == tied
    assert behaviour.table.dtype == torch.float32, "positions are not rounded"


def test_it_samples_what_the_policy_scores(tiny) -> None:
    policy = tiny()
    behaviour = behaviour_of(policy, HALF)
    replies = generate(up_to_date(behaviour, learnt(policy)), PROMPTS, Sampling(8),
                       uniforms([f"{n}" for n in range(len(PROMPTS))], 8), (), rows=2)
    with torch.autocast("cpu", torch.bfloat16):
        scored = score_continuations(policy, PROMPTS, [reply.tokens for reply in replies])
    for reply, logprobs in zip(replies, scored, strict=True):
        torch.testing.assert_close(torch.tensor(reply.logprobs), logprobs, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(("dtype", "held"), [("float32", torch.float32),
                                             ("bf16", torch.bfloat16)])
def test_each_step_of_ppo_draws_from_the_policy_of_that_step(
        dtype: str, held: torch.dtype, world_base: Path, world_preference: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies are drawn from the weights that the steps before have left, learnt in float32."""
    seen, actors = [], []

    class WatchedActors(train_ppo.Actors):
        def __init__(self, *arguments: object):
            super().__init__(*arguments)
            actors.append(self)

    class WatchedSampler(Sampler):
        def complete(self, *arguments: object) -> list:
            seen.append({name: tensor.clone() for name, tensor in self.model.named_parameters()})
            policy = actors[0].policy
            for name, tensor in policy.named_parameters():
                assert tensor.dtype == torch.float32
                assert torch.equal(seen[-1][name], tensor.to(held)), name
            return super().complete(*arguments)

    monkeypatch.setattr(train_ppo, "Actors", WatchedActors)
    monkeypatch.setattr(train_ppo, "Sampler", WatchedSampler)
    train_ppo.main(train_ppo.Options(
        model=world_base, preference_model=world_preference, steps=3, rollouts=8, max_new=8,
        policy_rate=0.02, warmup=1, ppo=PPOOptions(minibatches=2),
        common=Common(name="run", device="cpu", dtype=dtype, runs=tmp_path / "runs")))
    assert len(seen) == 3
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(seen[0][name], seen[2][name])

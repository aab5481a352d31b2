"""Less memory for the same step: parts of a step, recomputed layers, one trunk; and bfloat16."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES
from torch._dynamo.testing import CompileCounterWithBackend

import train_pm
import train_ppo
import train_sl
from cai.records import Comparison, Label, Revision, write_jsonl
from model import transformer
from model.adapters import FILE, LoRA
from model.batches import in_parts
from model.checkpoint import load_model
from model.fusing import fusable
from model.sharing import learning
from model.transformer import Transformer
from model.vocabulary import learn_tokens
from rl.options import PPOOptions
from training.models import fused, precision
from training.options import Common
from training.stage import ROOT
from world.requests import prompts

ROWS, GIVEN = [[1, 2, 3, 4, 5, 6], [7, 8, 9], [3, 1, 2, 9], [5, 5]], [2, 1, 1, 1]


def gradients(model: Transformer, common: Common) -> dict[str, torch.Tensor]:
    """Those of one step on ROWS."""
    learnt = learning(ROWS, GIVEN, [[n] for n in range(len(ROWS))])
    with precision(common):
        hidden = model.forward_groups(learnt.groups, learnt.at)
        learn_tokens(model, hidden[learnt.drawn_from], learnt.targets)
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return found


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """Chains of one reply and comparisons of two, to 24 requests."""
    chains, pairs = tmp_path / "chains.jsonl", tmp_path / "pairs.jsonl"
    asked = prompts("cai", 24, 0, "red_team")
    write_jsonl(chains, [Revision(f"{n}", each.id, each.turns, "helpful", 0, 0, "Sure, I can.", ())
                         for n, each in enumerate(asked)])
    write_jsonl(pairs, [Comparison(f"{n}", each.id, each.turns, each.kind, 0, 0, ("No.", "Sure."),
                                   (Label("people", 0.9),)) for n, each in enumerate(asked)])
    return chains, pairs


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_parts_hold_every_member_once() -> None:
    assert in_parts(range(7), 3) == [[0, 1], [2, 3], [4, 5, 6]]
    assert in_parts([4, 9], 5) == [[4], [9]]


def test_a_step_in_parts_is_the_step_at_once(world_base: Path, data, tmp_path: Path) -> None:
    chains, pairs = data
    for parts in (1, 3):
        common = Common(name=str(parts), runs=tmp_path)
        train_sl.main(train_sl.Options(world_base, chains, epochs=1, batch_tokens=200,
                                       accumulate=parts, common=common))
        train_pm.main(train_pm.Options(world_base, pairs, epochs=1, batch_pairs=8,
                                       accumulate=parts, common=common))
    for stage in ("train_sl", "train_pm"):
        once, apart = (metrics(tmp_path / name / stage) for name in "13")
        assert len(once) == len(apart) > 2
        for one, other in zip(once, apart, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
            assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-2)


def test_recomputed_layers_give_the_same_gradients(tiny) -> None:
    plain, again = fused(tiny(), Common()), fused(tiny(), Common(recompute=True))
    calls = []
    again.model.layers[0].register_forward_pre_hook(lambda *given: calls.append(1))
    expected, found = gradients(plain, Common()), gradients(again, Common())
    assert len(calls) == 2
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_bf16_is_in_the_products_and_not_in_attention(tiny, monkeypatch) -> None:
    model, common, types = tiny(), Common(dtype="bf16"), set()
    plain = gradients(model, Common())
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(q: torch.Tensor, *rest: object, **settings: object) -> torch.Tensor:
        types.add(q.dtype)
        return attend(q, *rest, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    products = []
    model.model.layers[0].mlp.down_proj.register_forward_hook(
        lambda module, given, output: products.append(output.dtype))
    found = gradients(model, common)
    assert types == {torch.float32} and products == [torch.bfloat16]
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        error = (gradient - plain[name]).norm() / plain[name].norm()
        assert 0 < error < 0.05, name


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_rounds_what_is_learnt_from_as_what_is_read(tiny, family: str) -> None:
    """Else a policy that has not moved has other log-probs than when it was scored, or than the
    frozen reference that it started as.
    """
    model = tiny(context=160, **FAMILIES[family])
    # Attention of more than 128 tokens goes another way on a CPU.
    groups = [torch.tensor([row]) for row in (*ROWS, [n % 40 for n in range(150)])]
    with precision(Common(dtype="bf16")):
        learnt = model.forward_groups(groups)
        with torch.no_grad():
            read = model.forward_groups(groups)
            reference = model.requires_grad_(False).forward_groups(groups)
    assert learnt.requires_grad
    assert torch.equal(learnt, read) and torch.equal(learnt, reference)


def test_the_fused_parts_of_a_step_have_no_graph_break(tiny, monkeypatch) -> None:
    """A break would raise. Traced forth and back, but not turned into C++, which takes minutes.

    Layers share graphs; the last, not all of whose columns are read, has its own.
    """
    traced = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=traced))
    for name in ("before_attention", "after_attention", "final_norm"):
        plain = getattr(transformer, name).__wrapped__
        monkeypatch.setattr(transformer, name, fusable(plain))
    expected = gradients(tiny(layers=9), Common())
    assert traced.frame_count == 0, "only what is fused is compiled"
    model = fused(tiny(layers=9), Common(compile=True))
    found = gradients(model, Common())
    assert 3 <= traced.frame_count < 9, "layers share graphs"
    read = [torch.tensor([row[:3] for row in ROWS[:rows]]) for rows in (1, 2, 3)]
    with torch.no_grad(), torch._dynamo.config.patch(recompile_limit=1):
        for tokens in read:
            torch.testing.assert_close(model.forward(tokens), tiny(layers=9)(tokens))
    graphs = traced.frame_count
    found = gradients(model, Common())
    assert traced.frame_count == graphs, "shapes that are only read displace none of training"
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_every_model_of_ppo_is_a_branch_of_one_trunk(world_base: Path, data,
                                                     tmp_path: Path) -> None:
    """SL-CAI and preference models trained as adapters, then PPO on the trunk that all share."""
    (chains, pairs), lora = data, LoRA(lora_rank=2)
    common = Common(name="run", runs=tmp_path / "runs")
    train_sl.main(train_sl.Options(world_base, chains, optimizer="adamw", rate=0.01, lora=lora,
                                   epochs=1, batch_tokens=200, common=common))
    train_pm.main(train_pm.Options(world_base, pairs, optimizer="adamw", rate=0.01, lora=lora,
                                   epochs=1, batch_pairs=8, common=common))
    made = tmp_path / "runs" / "run"
    options = train_ppo.Options(
        model=made / "train_sl" / "model", preference_model=made / "train_pm" / "model",
        held_out=made / "train_pm" / "held_out", trunk=world_base, lora=lora, steps=2, rollouts=8,
        max_new=8, policy_rate=0.01, warmup=1, ppo=PPOOptions(minibatches=2), common=common)
    actors = train_ppo.Actors(options, torch.device("cpu"), None)
    whole = {p.data_ptr() for p in actors.reference.parameters()}
    trunk = {p.data_ptr() for name, p in actors.reference.named_parameters()
             if ".lora_" not in name}
    tokens = torch.tensor([[3, 4, 5, 6]])
    for model in (actors.policy, actors.value.transformer):
        own = {p.data_ptr() for p in model.parameters()}
        assert trunk < own and not (own & whole) - trunk
    with torch.no_grad():
        merged = load_model(options.model)
        torch.testing.assert_close(actors.policy(tokens), merged(tokens), rtol=0, atol=2e-5)
    train_ppo.main(options)
    assert metrics(made / "train_ppo")[0]["first_ratio"] < 1e-4
    assert (made / "train_ppo" / "model" / FILE).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told to keep what is freed")
def test_memory_that_is_freed_is_not_handed_back() -> None:
    """As many tensors again take hardly a page of the system's, where they hold 30,000 a step."""
    script = """
import resource, torch
from training.options import Common, device_of
device_of(Common(device="cpu"))
def step():
    tensors = [torch.ones(5_000_000) for _ in range(6)]
faults = []
for n in range(8):
    step()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print((faults[-1] - faults[2]) // 5)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert int(done.stdout) < 3000

"""Each check is fine on what is whole, and names what was broken on purpose."""

import json
import math
from pathlib import Path

import pytest
import torch
from fakes import LogitModel
from torch import Tensor, nn

import evaluate
from cai.diagnose import CHECKS, letter_bias, neighbour_change, preference_numbers, sick, told
from cai.records import Comparison, InputError, Label, write_jsonl
from model.sampling import Sampling
from model.text import Sampler
from rl.diagnose import kl_upper, padding_change, policy_numbers, scorer_parity
from rl.rollout import pack, response_logprobs
from training.options import Common
from world.requests import prompts

WORDS = 12
PREFERENCE = {"preference_shuffled", "preference_empty", "preference_echoed", "length_bias"}


class Causal(LogitModel):
    """A policy whose logits depend on the last two tokens."""

    def __init__(self, seed: int):
        super().__init__(WORDS)
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(2, WORDS, WORDS, generator=generator))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        before = torch.roll(tokens, 1, dims=1)
        before[:, 0] = 0
        return self.table[0][tokens] + self.table[1][before]


class Leaking(Causal):
    """The same, with a little of the mean over the whole row, padding and all, in every state."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(tokens) + self.table[0][tokens].mean(1, keepdim=True)


def sampled(policy: nn.Module, rows: int = 60) -> tuple[tuple[Tensor, ...], list[list[float]]]:
    """Packed replies drawn from a policy token by token, with the log-probs they were drawn at."""
    generator = torch.Generator().manual_seed(5)
    prompts, replies, logprobs = [], [], []
    for row in range(rows):
        tokens, drawn = [row % WORDS, (3 * row) % WORDS], []
        for _ in range(1 + row % 5):
            every = policy(torch.tensor([tokens]))[0, -1].detach().log_softmax(-1)
            token = int(torch.multinomial(every.exp(), 1, generator=generator))
            drawn.append(float(every[token]))
            tokens.append(token)
        prompts.append(tokens[:2])
        replies.append(tokens[2:])
        logprobs.append(drawn)
    return pack(prompts, replies), logprobs


def fine(**numbers: float) -> bool:
    return sick(numbers) == []


def test_parity_finds_a_scorer_at_another_temperature() -> None:
    policy = Causal(0)
    packed, logprobs = sampled(policy)
    assert fine(scorer_parity=scorer_parity(logprobs, response_logprobs(policy, *packed)))
    cooler = response_logprobs(policy, *packed, temperature=0.9)
    assert sick({"scorer_parity": scorer_parity(logprobs, cooler)}) == ["scorer_parity"]


def test_padding_finds_a_model_that_reads_it() -> None:
    for policy, expected in ((Causal(0), []), (Leaking(0), ["padding_invariance"])):
        packed, _ = sampled(Causal(0))
        assert sick({"padding_invariance": padding_change(policy, *packed, filler=3)}) == expected


def test_the_kl_finds_policy_and_reference_swapped() -> None:
    policy, reference = Causal(0), Causal(1)
    packed, _ = sampled(policy)
    own, other = (response_logprobs(each, *packed) for each in (policy, reference))
    assert fine(kl_sign=kl_upper(own, other)) and fine(kl_sign=kl_upper(own, own))
    assert sick({"kl_sign": kl_upper(other, own)}) == ["kl_sign"]


class Numbers:
    """A tokenizer whose texts are token ids."""

    end = 39

    def encode(self, text: str) -> list[int]:
        return list(map(int, text.split()))


def test_a_policy_is_checked_on_its_own_replies(tiny) -> None:
    policy, reference = tiny(0), tiny(1)
    asked = [f"{n % 38} {n // 38}" for n in range(200)]
    sample = Sampler(policy, Numbers(), Sampling(5))
    numbers = policy_numbers(sample, reference, asked, asked)
    assert numbers.keys() == {"scorer_parity", "padding_invariance", "kl_sign"}
    assert fine(**numbers) and numbers["kl_sign"] > 0.1
    same = policy_numbers(sample, policy, asked, asked)
    assert same == {**numbers, "kl_sign": 0.0}


def pairs(count: int = 40) -> list[Comparison]:
    """Requests for a number, each with the number said well and said at length."""
    return [Comparison(f"{n}", f"p{n}", (f"Say {n} please",), "helpful", 0, 0, (
        f"Here is {n} ." + " Well ." * (n % 3), f"{n} ." + " Well ." * (n % 4)), ())
        for n in range(count)]


def good(turns: list, replies: list[str]) -> list[float]:
    """Likes the number that was asked for, and "Here", and dislikes the request said back."""
    return [3.0 * (each[-1].split()[1] in reply.split()) + ("Here" in reply)
            - 5.0 * ("Say" in reply) for each, reply in zip(turns, replies, strict=True)]


@pytest.mark.parametrize(("broken", "names"), [
    (good, set()),
    # Never reads the prompt.
    (lambda turns, replies: [float("." in reply) - ("Say" in reply) for reply in replies],
     {"preference_shuffled"}),
    (lambda turns, replies: [score + 9.0 * (not reply) for score, reply in
                             zip(good(turns, replies), replies, strict=True)],
     {"preference_empty"}),
    (lambda turns, replies: [score + 19.0 * ("Say" in reply) for score, reply in
                             zip(good(turns, replies), replies, strict=True)],
     {"preference_echoed"}),
    (lambda turns, replies: [score + 2.0 * len(reply.split()) for score, reply in
                             zip(good(turns, replies), replies, strict=True)],
     {"length_bias"}),
    # Trained on turned labels.
    (lambda turns, replies: [-score for score in good(turns, replies)],
     {"preference_shuffled", "preference_empty", "preference_echoed"}),
])
def test_a_broken_preference_model_is_named(broken, names: set[str]) -> None:
    numbers = preference_numbers(broken, pairs())
    assert numbers.keys() == PREFERENCE
    found = {*sick(numbers)}
    assert names <= found and ("length_bias" in names) == ("length_bias" in found)
    assert names or not found


def test_a_score_that_hears_its_neighbours_is_named() -> None:
    def disturbed(turns: list, replies: list[str]) -> list[float]:
        return [score + 0.1 * len(replies) for score in good(turns, replies)]

    assert neighbour_change(good, pairs(8)) == 0.0
    assert neighbour_change(disturbed, pairs(8)) == pytest.approx(0.7)


def label(first: float, second: float) -> Label:
    """A label of both orders: P((A)) is `first` and then `second`."""
    rows = tuple((math.log(a), math.log(1 - a)) for a in (first, 1 - second))
    return Label("model", 0.5, "p", rows, (False, True))


def test_a_liking_for_a_letter_is_named() -> None:
    assert letter_bias([label(0.8, 0.3), label(0.1, 0.9)]) == pytest.approx(0.025)
    assert fine(label_bias=letter_bias([label(0.8, 0.3), label(0.1, 0.9)]))
    for bias in ([label(0.9, 0.8)], [label(0.1, 0.3)], []):
        assert sick({"label_bias": letter_bias(bias)}) == ["label_bias"]


@pytest.fixture
def run(world_base: Path, world_preference: Path, tmp_path: Path) -> Path:
    """The folder of a run put together from a little model: policy and reference are the same."""
    for stage, model in (("train_ppo", world_base), ("train_sl", world_base),
                         ("train_pm", world_preference)):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "model").symlink_to(model)
    (tmp_path / "train_ppo" / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": n, "first_ratio": 1e-6 * n}) + "\n" for n in range(3)))
    write_jsonl(tmp_path / "make_comparisons" / "comparisons.jsonl", [
        Comparison(f"{n}", each.id, each.turns, each.kind, 0, 0, ("Sure.", "No, I will not."),
                   (label(0.7, 0.4),)) for n, each in enumerate(prompts("cai", 9, 0, "red_team"))])
    return tmp_path


def verdicts(run: Path, capsys: pytest.CaptureFixture) -> dict[str, str]:
    numbers = evaluate.main(evaluate.Options(diagnose=run, max_new=8, common=Common(device="cpu")))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]]
             for line in capsys.readouterr().out.splitlines()[2:]]
    assert {name: number for name, _, number, *_ in lines if number != "-"} == {
        name: f"{number:.4g}" for name, number in numbers.items()}
    return {name: verdict for name, verdict, *_ in lines}


def test_a_run_is_told_check_by_check(run: Path, capsys: pytest.CaptureFixture,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, load = [], evaluate.load_frozen_scalar
    monkeypatch.setattr(evaluate, "load_frozen_scalar",
                        lambda *place: loaded.append(place) or load(*place))
    found = verdicts(run, capsys)
    assert len(loaded) == 1
    assert found.keys() == CHECKS.keys()
    # The preference model is random; of the others nothing is broken.
    assert {found[name] for name in CHECKS.keys() - PREFERENCE} == {"fine"}
    with (run / "train_ppo" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "first_ratio": 0.2}\n')
    (run / "train_pm" / "model").unlink()
    found = verdicts(run, capsys)
    assert found["first_ratio"] == "sick" and found["scorer_parity"] == "fine"
    assert {found[name] for name in PREFERENCE} == {"not checked"}
    with pytest.raises(InputError, match="found no stage to check"):
        evaluate.main(evaluate.Options(diagnose=run / "train_sl"))


def test_a_run_is_checked_in_float32_whatever_it_was_made_in(run: Path) -> None:
    plain, half = (evaluate.main(evaluate.Options(
        diagnose=run, max_new=8, common=Common(device="cpu", dtype=dtype)))
        for dtype in ("float32", "bf16"))
    assert half == plain


def test_a_number_that_is_none_is_sick() -> None:
    for name in CHECKS:
        assert sick({name: math.nan}) == [name]
        assert f"| {name}" in told({}) and "sick" not in told({})

"""The benchmarks: what a line says, how ratios come about, and when a run is thrown away."""

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
import tyro

from benchmarks import costs, generation, measure, peers, results, training
from benchmarks.__main__ import Options, main
from benchmarks.aside import aside
from benchmarks.cases import CASES, CPU, GPU, written
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Floor
from benchmarks.measure import Clock, Result, compare, in_turns, own_seconds
from benchmarks.ppo import shares
from benchmarks.setting import Setting
from benchmarks.shapes import EIGHT_B, ONE_B, SMALL, TINY, counted, random_model, toy
from benchmarks.suite import run_each, run_one
from benchmarks.training import LENGTH, dialogues
from model.errors import OptionError
from model.generate import generate
from model.sampling import Sampling
from model.transformer import Transformer
from training.stage import ROOT

CPU_DEVICE = torch.device("cpu")
TOY = Setting(scale=0.05, repeats=1, toy=True)
ASKED = {
    "generate-tiny": 2.5, "generate-stops": 7, "feedback-prefix": 5, "score-tiny": 1.15,
    "score-small": 1.15, "train-tiny-fp32": 1.05, "train-tiny-bf16": 1.4,
    "train-dialogues-1k": 1.3, "train-dialogues-32k": 1.6, "pm-fp32": 1.05, "pm-bf16": 1.2,
    "ppo-tiny-fp32": 1.2, "ppo-tiny-bf16": 1.5, "ppo-tiny-shared": 2, "ppo-small-fp32": 1.8,
    "ppo-small-bf16": 3, "decode-slope": 0.8, "vocabulary-memory": 1, "demo": 2}


class Machine:
    """A machine whose sides take a second each, while others use what the script says a round."""

    def __init__(self, *others: float):
        self.script, self.time, self.others, self.began = list(others), 0.0, 0.0, []

    def sides(self, **seconds: float) -> dict:
        return {name: lambda name=name, s=s: self.work(name, s) for name, s in seconds.items()}

    def work(self, name: str, seconds: float) -> float:
        self.began.append(name)
        self.time += 1.0
        self.others += self.script.pop(0) if self.script else 0.0
        return seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, lambda: self.time + self.others, lambda: self.time)


def test_every_name_of_the_issue_is_known_with_what_it_must_reach() -> None:
    assert {name: cases[0].asked for name, cases in CPU.items()} == ASKED
    assert CASES.keys() == CPU.keys() | GPU.keys()
    assert {case.against for name in GPU for case in GPU[name]} >= {"transformers", "matrix rate"}


def test_a_quiet_round_is_kept() -> None:
    machine = Machine(0.2, 0.24)
    timing = in_turns(machine.sides(ours=2.0), 2, 3, warm=False, clock=machine.clock)
    assert timing.seconds == {"ours": [2.0, 2.0]}
    assert timing.others == pytest.approx(0.24) and timing.quiet and timing.discarded == 0
    assert "note" not in timing.facts


def test_a_noisy_round_is_thrown_away_and_repeated() -> None:
    machine = Machine(0.0, 0.26, 0.1)
    timing = in_turns(machine.sides(ours=2.0), 2, 3, warm=False, clock=machine.clock)
    assert timing.discarded == 1 and len(timing.seconds["ours"]) == 2
    assert timing.others == pytest.approx(0.1) and timing.quiet


def test_where_it_never_gets_quiet_the_least_noisy_rounds_are_kept_and_it_is_said() -> None:
    machine = Machine(1.0, 0.9, 0.3, 0.5)
    timing = in_turns(machine.sides(ours=2.0), 2, 2, warm=False, clock=machine.clock)
    assert timing.others == pytest.approx(0.5) and timing.quiet is False
    assert timing.discarded == 2 and timing.facts["quiet"] is False
    assert timing.facts["note"].startswith("never quiet: others used up to 0.50 processors")


def test_others_are_a_share_of_the_whole_round() -> None:
    machine = Machine(0.4, 0.0)
    timing = in_turns(machine.sides(ours=1.0, theirs=1.0), 1, 1, warm=False, clock=machine.clock)
    assert timing.others == pytest.approx(0.2) and timing.quiet


def test_a_system_that_does_not_tell_of_others_is_not_called_quiet() -> None:
    timing = in_turns({"ours": lambda: 1.0}, 1, 1, clock=Clock(machine=lambda: None))
    assert timing.others is None and timing.quiet is None and timing.discarded == 0


def test_sides_take_turns_and_are_warmed_up_first() -> None:
    machine = Machine()
    in_turns(machine.sides(ours=1.0, theirs=1.0), 2, 1, clock=machine.clock)
    assert machine.began == ["ours", "theirs", "ours", "theirs", "theirs", "ours"]


@pytest.mark.parametrize(("unit", "theirs"), [("tokens/s", 5.0), ("s", 0.2)])
def test_the_best_of_theirs_counts_and_a_ratio_above_one_means_ours_is_faster(
        unit: str, theirs: float) -> None:
    x = torch.ones(4, 4)
    sides = partial(dict, slow=partial(float, 30.0), fast=partial(float, 20.0))
    found = compare(TOY, lambda: x @ x, sides, amount=100, unit=unit, facts={})
    assert found.theirs == pytest.approx(theirs) and found.ratio > 1
    faster = found.ours / found.theirs if unit.endswith("/s") else found.theirs / found.ours
    assert found.ratio == pytest.approx(faster)
    assert found.facts["floor_calls"] == 1 and found.floor > 0
    assert found.facts["theirs_all"].keys() == {"slow", "fast"}


def test_a_peer_has_a_process_of_its_own_whose_use_of_processors_is_not_others() -> None:
    with aside(partial(dict, place=os.getpid, work=partial(sum, range(10_000_000)))) as sides:
        before, here = own_seconds(), time.process_time()
        assert sides["work"]() == 49_999_995_000_000
        assert own_seconds() - before > time.process_time() - here + 0.05
        place = sides["place"]()
        assert place != os.getpid() and place in {
            child.pid for child in multiprocessing.active_children()}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("make", "said"), [
    (partial(dialogues, Path("none.jsonl"), 300, 8), "--dialogues: "),
    (partial(int, "x"), "ValueError: invalid literal"),
    (partial(dict, work=partial(float, "y")), "ValueError: could not convert"),
    (partial(dict, work=partial(os._exit, 3)), "the peer's process ended before its time")])
def test_what_fails_in_a_peers_process_is_told_in_one_line(make: Callable, said: str) -> None:
    with pytest.raises(BenchmarkError, match=said) as raised, aside(make) as sides:
        sides["work"]()
    assert len(str(raised.value).splitlines()) == 1


def test_a_line_states_everything_and_is_one_json_object() -> None:
    found = Result(12345.678, 5000.0, "tokens/s", 2.469, 20000.0, {"dtype": "float32"})
    line = json.loads(json.dumps(written("generate-tiny", "transformers", 2.5, found, Setting())))
    assert list(line)[:9] == ["bench", "against", "ours", "theirs", "unit", "ratio", "asked",
                              "reached", "floor"]
    assert line["ours"] == 12350 and line["ratio"] == 2.469 and line["reached"] is False
    assert line.keys() >= {"dtype", "threads", "machine", "versions", "commit", "date", "scale"}
    assert line["versions"].keys() == {"python", "torch", "transformers"}


@pytest.mark.parametrize(("found", "setting", "reached"), [
    (Result(2.0, 1.0, "tokens/s", 2.5, 3.0, {}), Setting(), True),
    (Result(2.0, 1.0, "tokens/s", 2.5, 3.0, {"quiet": False}), Setting(), None),
    (Result(2.0, 1.0, "tokens/s", 2.5, 3.0, {}), Setting(scale=0.5), None),
    (Result(400.0, 965.0, "s", 2.6, None, {"within_limit": False}), Setting(), False),
    (Result(None, None, "", None, None, {}), Setting(), None),
])
def test_only_a_whole_and_quiet_run_reaches_what_was_asked(
        found: Result, setting: Setting, reached: bool | None) -> None:
    assert written("generate-tiny", "transformers", 2.5, found, setting)["reached"] is reached


def test_the_floor_holds_products_and_attention_of_forward_and_backward() -> None:
    x, w = torch.ones(2, 8), torch.ones(8, 3, requires_grad=True)
    q = torch.ones(1, 2, 4, 8)

    def work() -> None:
        (x @ w).softmax(-1).sum().backward()
        torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
        with torch.inference_mode():
            torch.nn.functional.linear(x, torch.ones(5, 8))

    floor = Floor.of(work, CPU_DEVICE)
    names = sorted(call.operator.overloadpacket.__name__ for call, _ in floor.recorded)
    assert floor.calls == 4 and names[1:] == ["linear", "mm", "mm"]
    assert names[0].startswith("_scaled_dot_product")
    assert 0 < floor() < 1


def test_the_floor_repeats_a_layout_that_is_a_view() -> None:
    cache = torch.zeros(2, 3, 16, 8)[:, :, :5]
    floor = Floor.of(lambda: torch.ones(2, 3, 1, 8) @ cache.transpose(-1, -2), CPU_DEVICE)
    (call, times), = floor.recorded
    assert times == 1
    assert [each.make().stride() for each in call.arguments] == [each.stride
                                                                 for each in call.arguments]
    assert floor() > 0


@pytest.mark.parametrize("config", [TINY, EIGHT_B])
def test_the_peer_has_the_same_weights_and_says_the_same(config) -> None:  # noqa: ANN001
    pytest.importorskip("transformers")
    model = random_model(toy(config), CPU_DEVICE)
    tokens = torch.randint(2, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = peers.twin(model)(tokens).logits, model.logits(model(tokens))
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(
        peers.logprobs(peers.twin(model), tokens, 1)[0, 0],
        found[0, 0].log_softmax(-1)[tokens[0, 1]], atol=1e-4)


def test_the_models_have_the_sizes_that_they_are_called_by() -> None:
    with torch.device("meta"):
        counts = [counted(Transformer(each)) for each in (TINY, SMALL, ONE_B, EIGHT_B)]
    assert [round(each.parameters / 1e6, 1) for each in counts] == [2.9, 42.1, 1235.8, 8030.3]
    assert counts[3].parameters - counts[3].read == EIGHT_B.vocab_size * EIGHT_B.width


def test_stop_lengths_are_geometric_and_sequences_end_there() -> None:
    lengths = generation.stop_lengths(4000)
    mean = generation.MEAN * (1 - (1 - 1 / generation.MEAN) ** generation.CAP)
    assert sum(lengths) / 4000 == pytest.approx(mean, rel=0.05)
    assert min(lengths) == 1 and max(lengths) == generation.CAP
    model = random_model(toy(TINY), CPU_DEVICE)
    done = generate(model, [[5, 6]] * 12, Sampling(generation.CAP),
                    generation.stopping_noise(lengths[:12]), (255,), rows=4)
    assert [len(each.tokens) for each in done] == lengths[:12]


def test_the_peer_stops_with_its_longest_row() -> None:
    pytest.importorskip("transformers")
    peer = peers.twin(random_model(toy(TINY), CPU_DEVICE))
    found = peers.sampled(peer, torch.full((3, 4), 7), 32, torch.tensor([2, 5, 3]))
    assert found.shape == (3, 5)


def test_a_linear_cost_continues_its_line_and_a_quadratic_one_passes_it() -> None:
    lengths = [256, 512, 1024, 2048, 4096]
    assert costs.extrapolated(lengths, [3 + 2 * n for n in lengths]) == pytest.approx(8195)
    quadratic = [n * n for n in lengths]
    assert costs.extrapolated(lengths, quadratic) / quadratic[-1] < 0.8


def test_the_cost_of_a_token_is_told_beside_those_of_reading_alone_and_of_one_row() -> None:
    facts = costs.decode_slope(TOY).facts
    for name in ("floor", "reading", "one_row"):
        assert len(facts[f"{name}_costs"]) == len(facts["costs"]) == len(costs.CACHED)
        assert isinstance(facts[f"{name}_ratio"], float)
    assert min(facts["reading_costs"]) > 0
    cache = costs.filled(toy(TINY), 5, CPU_DEVICE)
    assert len(cache) == 2 * toy(TINY).layers
    assert {tuple(each.shape) for each in cache} == {(costs.ROWS, 4, 5, 8)}
    assert all(each.abs().min() > 0 for each in cache)


def test_both_sides_of_the_preference_model_train_on_as_many_pairs(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer of a second a step gets the pairs of one step a second."""
    monkeypatch.setattr(measure, "aside", lambda make: contextlib.nullcontext(make()))
    monkeypatch.setattr(peers, "reward_training", lambda trunk, better, worse, steps: (
        lambda: float(steps)))
    found = training.preference(TOY, "float32")
    assert found.theirs == TOY.scaled(training.PAIRS)


def test_the_demo_is_held_to_a_time_and_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_cai(command: list[str], **_: object) -> subprocess.CompletedProcess:
        folder = Path(command[command.index("--runs") + 1]) / "demo"
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps({
            "seconds": {"total": 400.0}, "labels": {}, "pm": {},
            "models": {"base": {"harmful": 0.8, "helpful": 0.9, "garbled": 0.1}}}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(costs.subprocess, "run", run_cai)
    found = costs.demo(TOY, 1000.0, 300.0)
    assert (found.ours, found.theirs, found.ratio) == (400.0, 1000.0, 2.5)
    assert found.facts["within_limit"] is False
    assert found.facts["models"] == {"base": {"harmful": 0.8, "helpful": 0.9}}
    monkeypatch.setattr(costs.subprocess, "run",
                        lambda command, **_: subprocess.CompletedProcess(command, 2))
    with pytest.raises(BenchmarkError, match="ended with status 2"):
        costs.demo(TOY, 1000.0, 300.0)


@pytest.mark.parametrize("name", ["feedback-prefix", "score-tiny", "train-tiny-bf16"])
def test_a_toy_measurement_runs(name: str) -> None:
    pytest.importorskip("transformers")
    for case in CPU[name]:
        line = case.line(name, TOY)
        assert line["bench"] == name and line["toy"] and line["reached"] is None
        assert min(line["ours"], line["theirs"], line["ratio"], line["floor"]) > 0
        assert line.keys() >= {"model", "batch", "lengths", "dtype", "others", "quiet"}


def test_dialogues_are_cut_and_a_missing_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = "\n\nHuman: what is {}?\n\nAssistant: it is " + "very " * 40
    path.write_text("".join(json.dumps({"chosen": text.format(n) + "good", "rejected":
                                        text.format(n) + "bad"}) + "\n" for n in range(40)))
    rows = dialogues(path, 300, 8)
    assert len(rows) == 8 and all(2 < len(row) <= LENGTH for row in rows)
    done = run("train-dialogues-1k", "--dry-run", "--dialogues", str(tmp_path / "none.jsonl"))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: --dialogues: ") and len(done.stderr.splitlines()) == 1


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT,
                          capture_output=True, text=True, check=False)


@pytest.mark.parametrize("found", [None, "1.16.0"])
def test_a_peer_that_is_missing_or_another_is_refused(
        monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(peers, "version", version)
    with pytest.raises(Exception, match=rf"trl: found {found or 'none'}, expected 1.12.0"):
        peers.require_peer("trl")


@pytest.mark.parametrize("given", [
    {"name": "generate-huge"}, {"name": "pm-fp32", "against": "transformers"},
    {"name": "demo", "against": "trl"}, {"name": "cpu", "scale": 0.0},
    {"name": "cpu", "repeats": 0}])
def test_impossible_options_are_refused(given: dict) -> None:
    with pytest.raises(OptionError):
        Options(**given)


@pytest.mark.parametrize("compiled", [None, True, False])
def test_a_measurement_of_a_set_is_told_all_that_the_set_was(compiled: bool | None) -> None:
    given = Options("cpu", repeats=2, scale=0.5, dry_run=True, threads=1, compile=compiled,
                    dialogues=Path("/rows.jsonl"))
    assert tyro.cli(Options, args=["cpu", *given.flags]) == given


def test_a_failure_leaves_the_others_and_a_line_of_its_own() -> None:
    good = json.dumps({"bench": "pm-fp32", "ratio": 2.0})
    scripts = {"generate-tiny": "import os; os.kill(os.getpid(), 9)",
               "pm-fp32": f"print('noise'); print({good!r})",
               "demo": "raise SystemExit('no memory left')"}
    lines = list(run_each(list(scripts), lambda name: [sys.executable, "-c", scripts[name]], TOY))
    assert [line["bench"] for line in lines] == list(scripts)
    assert lines[0]["note"] == "failed: ended with status -9" and lines[0]["asked"] == 2.5
    assert lines[1] == {"bench": "pm-fp32", "ratio": 2.0}
    assert lines[2]["note"] == "failed: no memory left" and lines[2]["ours"] is None
    assert run_one([sys.executable, "-c", "import time; time.sleep(60)"], 0.2) == (
        [], "no end after 0 seconds")


def test_results_keep_a_line_until_it_is_measured_again(tmp_path: Path) -> None:
    def line(name: str, dtype: str | None, ours: float | None) -> dict:
        facts = {} if dtype is None else {"dtype": dtype}
        return written(name, "transformers", 2.5, Result(
            ours, 1.0, "tokens/s", ours, 3.0, facts), Setting())

    path, = results.publish([line("score-tiny", "float32", 1.0), line("score-tiny", "bf16", 2.0),
                             line("generate-tiny", "float32", 3.0)], tmp_path)
    results.publish([line("score-tiny", "float32", 1.5)], tmp_path)
    found = [(each["bench"], each["dtype"], each["ours"]) for each in results.read(path)]
    assert found == [("generate-tiny", "float32", 3.0), ("score-tiny", "bf16", 2.0),
                     ("score-tiny", "float32", 1.5)]
    results.publish([line("score-tiny", None, None)], tmp_path)
    assert [each["ours"] for each in results.read(path)] == [3.0, None]
    assert "| generate-tiny" in path.read_text() and list(tmp_path.iterdir()) == [path]


def test_each_machine_has_a_file_of_its_own(tmp_path: Path) -> None:
    """What is measured on one does not stand for another, of the same day and number of cores."""
    line = written("score-tiny", "transformers", 1.15, Result(
        2.0, 1.0, "tokens/s", 2.0, 3.0, {"dtype": "float32"}), Setting()) | {"date": "2026-01-02"}
    cpus = [line | {"machine": name} for name in ("AMD EPYC, 2 threads",
                                                  "Intel(R) Xeon(R) Processor, 2 threads")]
    gpu = line | {"machine": "AMD EPYC, 2 threads", "device": "NVIDIA H200"}
    written_to = [path.name for path in results.publish([*cpus, gpu], tmp_path)]
    assert written_to == ["2026-01-02-amd-epyc-2-threads.md",
                          "2026-01-02-intel-xeon-processor-2-threads.md",
                          "2026-01-02-nvidia-h200.md"]


def test_every_gpu_figure_runs_dry_on_a_cpu(tmp_path: Path) -> None:
    lines = main(Options("gpu", dry_run=True, results=tmp_path))
    assert [line["bench"] for line in lines] == list(GPU)
    told = {line["bench"]: line.get("note", "") for line in lines}
    assert not [name for name, note in told.items() if note.startswith("failed")], told
    assert all(line["ours"] and line["ratio"] for line in lines)
    asked = {line["bench"]: (line["asked"], line["theirs"]) for line in lines}
    assert [asked[f"gpu-{name}"][0] for name in (
        "decode-1", "decode-64", "generate-64", "train-1b")] == [0.75, 0.6, 5, 0.55]
    assert [asked[f"gpu-{name}"] for name in ("ppo-8b-lora", "ppo-1b", "ppo-1b-shared", "demo")
            ] == [(1, 40), (1, 60), (1, 40), (1, 90)]
    for ppo in (line for line in lines if "ppo" in line["bench"]):
        shares = [ppo[f"{part}_share"] for part in ("rollout", "scoring", "update")]
        assert min(shares) > 0 and sum(shares) == pytest.approx(1, abs=0.01)
    path, = tmp_path.iterdir()
    assert [line["bench"] for line in results.read(path)] == list(GPU)


def test_without_a_gpu_its_figures_are_refused_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run("gpu")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: gpu: found no GPU here")


def test_shares_of_a_step_leave_out_the_rounds_that_warmed_up() -> None:
    warming, timed = {"rollout": 90.0, "update": 1.0}, {"rollout": 1.0, "update": 3.0}
    found = shares([warming, warming, timed, timed], {"repeats": 1, "discarded": 1})
    assert found == {"rollout_share": 0.25, "update_share": 0.75}

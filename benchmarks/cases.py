"""Every measurement by its name: how it is taken, against whom, and what it must reach."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks import costs, generation, gpu, ppo, scoring, training
from benchmarks.measure import Result, rounded
from benchmarks.setting import Setting
from benchmarks.shapes import EIGHT_B, ONE_B, SMALL, TINY
from experiments.results import commit, machine


@dataclass(frozen=True)
class Case:
    """A measurement, whom it is against, and the ratio it must reach (None: only told)."""

    measure: Callable[[Setting], Result]
    against: str
    asked: float | None

    def line(self, name: str, setting: Setting) -> dict[str, object]:
        """The measurement as a JSON line's content."""
        return written(name, self.against, self.asked, self.measure(setting), setting)


def written(name: str, against: str, asked: float | None, found: Result,
            setting: Setting) -> dict[str, object]:
    """What was found, with what it must reach and the circumstances."""
    whole = not setting.toy and setting.scale == 1 and found.facts.get("quiet") is not False
    reached = found.ratio is not None and asked is not None and whole
    within = found.facts.get("within_limit", True)
    return {
        "bench": name, "against": against, "ours": rounded(found.ours),
        "theirs": rounded(found.theirs), "unit": found.unit, "ratio": rounded(found.ratio),
        "asked": asked, "reached": found.ratio >= asked and within if reached else None,
        "floor": rounded(found.floor), "compiled": setting.compiled,
        **{key: rounded(value) if isinstance(value, float) else value
           for key, value in found.facts.items()},
        "scale": setting.scale, "toy": setting.toy, "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if setting.on_cuda else "cpu",
        "machine": machine(), "versions": versions(against), "commit": commit(),
        "date": date.today().isoformat()}


def versions(against: str) -> dict[str, str]:
    """Versions of what was measured; TRL stands on transformers."""
    names = ["torch", *(["transformers"] if against in ("transformers", "trl") else []),
             *(["trl"] if against == "trl" else [])]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _of(function: Callable[..., Result], *arguments: object,
        **named: object) -> Callable[[Setting], Result]:
    return lambda setting: function(setting, *arguments, **named)


CPU: dict[str, tuple[Case, ...]] = {
    "generate-tiny": (Case(generation.plain, "transformers", 2.5),),
    "generate-stops": (Case(generation.stopping, "transformers", 7.0),),
    "feedback-prefix": (Case(scoring.feedback, "transformers", 5.0),),
    "score-tiny": (
        Case(_of(scoring.continuations, TINY), "transformers", 1.15),
        Case(_of(scoring.continuations, TINY, torch.bfloat16), "transformers", None)),
    "score-small": (
        Case(_of(scoring.continuations, SMALL), "transformers", 1.15),
        Case(_of(scoring.continuations, SMALL, torch.bfloat16), "transformers", None)),
    "train-tiny-fp32": (Case(_of(training.full, "float32"), "transformers", 1.05),),
    "train-tiny-bf16": (Case(_of(training.full, "bf16"), "transformers", 1.4),),
    "train-dialogues-1k": (Case(_of(training.unequal, 1024), "transformers", 1.3),),
    "train-dialogues-32k": (Case(_of(training.unequal, 32_000), "transformers", 1.6),),
    "pm-fp32": (Case(_of(training.preference, "float32"), "trl", 1.05),),
    "pm-bf16": (Case(_of(training.preference, "bf16"), "trl", 1.2),),
    "ppo-tiny-fp32": (Case(_of(ppo.step, TINY, "float32", 4), "trl", 1.2),),
    "ppo-tiny-bf16": (Case(_of(ppo.step, TINY, "bf16", 4), "trl", 1.5),),
    "ppo-tiny-shared": (
        Case(_of(ppo.step, TINY, "bf16", 4, shared=True), "trl", 2.0),
        Case(_of(ppo.step, TINY, "float32", 4, shared=True), "trl", 2.0)),
    "ppo-small-fp32": (Case(_of(ppo.step, SMALL, "float32", 1), "trl", 1.8),),
    "ppo-small-bf16": (Case(_of(ppo.step, SMALL, "bf16", 1), "trl", 3.0),),
    "decode-slope": (Case(costs.decode_slope, "own slope", 0.8),),
    "vocabulary-memory": (Case(costs.vocabulary_memory, "own weights", 1.0),),
    "demo": (Case(_of(costs.demo, costs.FIRST_DEMO, 300.0), "first piece", 2.0),),
}

GPU: dict[str, tuple[Case, ...]] = {
    "gpu-decode-1": (Case(_of(gpu.decode, 1), "read bandwidth", 0.75),),
    "gpu-decode-64": (Case(_of(gpu.decode, 64), "read bandwidth", 0.6),),
    "gpu-generate-64": (Case(_of(generation.plain, EIGHT_B, 64, 128, 128, torch.bfloat16),
                             "transformers", 5.0),),
    "gpu-train-1b": (Case(gpu.train, "matrix rate", 0.55),),
    "gpu-ppo-8b-lora": (Case(_of(gpu.ppo, EIGHT_B, 40.0, rank=gpu.RANK), "memory", 1.0),),
    "gpu-ppo-1b": (Case(_of(gpu.ppo, ONE_B, 60.0), "memory", 1.0),),
    "gpu-ppo-1b-shared": (Case(_of(gpu.ppo, ONE_B, 40.0, shared=True), "memory", 1.0),),
    "gpu-demo": (Case(_of(costs.demo, 90.0, 90.0), "limit", 1.0),),
}

CASES = CPU | GPU

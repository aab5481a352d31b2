"""Costs measured against the project's own: of a cached token, of vocabulary, of the whole demo."""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.errors import BenchmarkError
from benchmarks.floor import Floor
from benchmarks.generation import noise
from benchmarks.measure import Result, in_turns, rounded, timed
from benchmarks.setting import Setting
from benchmarks.shapes import TINY, described, random_model, random_tokens
from benchmarks.steps import learn
from model.cache import KVCache
from model.generate import generate
from model.sampling import Sampling
from model.transformer import ModelConfig
from training.models import frozen, fused
from training.optimizer import adamw
from training.stage import ROOT

CACHED, ROWS = (256, 512, 1024, 2048, 4096), 4
SPAN = 128  # tokens over which the cost of one is measured
VOCABULARIES, ALLOWED = (8192, 131_072), 1.1
FIRST_DEMO = 965.0  # seconds of the first piece's demo on two threads: docs/log.md


def decode_slope(setting: Setting) -> Result:
    """Cost of a token at the longest cache, against a line through the costs at shorter ones.

    The cost at a length is what SPAN more tokens take than one, after the same prompt. Where the
    cost is linear in the cache the ratio is 1. A long cache lies in slower memory than a short one;
    two ratios beside tell that from work that grows faster than it should: that of reading as often
    what a step reads, the weights and as many keys and values; and that of steps of one row, whose
    longest cache has the bytes of ROWS rows' at a quarter of its length. The floor of the products
    shows neither, for it repeats each on the same tensors.
    """
    device, span = setting.device, setting.scaled(SPAN, 4)
    lengths = [setting.scaled(length, 4 + n) for n, length in enumerate(CACHED)]
    config = replace(setting.shape(TINY), context=lengths[-1] + span + 1)
    model = frozen(random_model(config, device), setting.common())

    def works(rows: int) -> dict[str, Callable[[], object]]:
        """One and SPAN more tokens a row after each length."""
        return {f"{rows} x {length}+{new}": partial(
            generate, model, random_tokens(rows, length, config.vocab_size), Sampling(new),
            noise(rows, new), (), rows=rows) for length in lengths for new in (1, 1 + span)}

    sides = {name: timed(work, device) for name, work in (works(ROWS) | works(1)).items()}
    sides |= {f"floor of {name}": Floor.of(work, device) for name, work in works(ROWS).items()}
    sides |= {f"reading {length}": timed(partial(
        read_all, [*model.parameters(), *filled(config, length + span // 2, device)], span), device)
        for length in lengths}
    for side in sides.values():
        side()
    compiled = frames()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        timing = in_turns(sides, setting.rounds(3), setting.patience, warm=False)

    def costs(prefix: str, rows: int) -> list[float]:
        """Microseconds a token at each length, the median over rounds."""
        return [1e6 / (span * rows) * statistics.median(
            more - one for one, more in zip(timing.seconds[f"{prefix}{rows} x {length}+1"],
                                            timing.seconds[f"{prefix}{rows} x {length}+{1 + span}"],
                                            strict=True)) for length in lengths]

    def told(name: str, found: list[float]) -> dict[str, object]:
        """Costs at each length, and the ratio of the last."""
        return {f"{name}_costs": list(map(rounded, found)),
                f"{name}_ratio": rounded(extrapolated(lengths, found) / found[-1])}

    ours, floor = costs("", ROWS), costs("floor of ", ROWS)
    reading = [1e6 / (span * ROWS) * timing.median(f"reading {length}") for length in lengths]
    return Result(
        ours[-1], extrapolated(lengths, ours), "us/token", extrapolated(lengths, ours) / ours[-1],
        floor[-1], {"model": described(config), "batch": ROWS, "dtype": "float32",
                    "lengths": lengths, "costs": list(map(rounded, ours)),
                    **told("floor", floor), **told("reading", reading),
                    **told("one_row", costs("", 1)),
                    "frames_compiled_after_warm_up": frames() - compiled, **timing.facts})


def filled(config: ModelConfig, length: int, device: torch.device) -> list[Tensor]:
    """Keys and values of ROWS rows of `length` tokens, of every layer."""
    cache = KVCache(config.layers, ROWS, config.kv_heads, length, config.head_dim, device=device)
    return [held.normal_() for held in (*cache.keys, *cache.values)]


def read_all(tensors: Sequence[Tensor], times: int) -> None:
    """Read every number so many times, one tensor after another."""
    for _ in range(times):
        for each in tensors:
            each.sum()


def extrapolated(lengths: list[int], costs: list[float]) -> float:
    """The cost at the last length by the line that fits all lengths before it best."""
    slope, start = np.polyfit(lengths[:-1], costs[:-1], 1)
    return float(start + slope * lengths[-1])


def frames() -> int:
    """How many frames were compiled so far."""
    return torch._dynamo.utils.counters["frames"]["total"]


def vocabulary_memory(setting: Setting) -> Result:
    """How much more memory a training step takes with 128 K pieces than with 8 K, in MB.

    Against what the embedding, its gradient and two moments of the optimizer grow by, and 10 %.
    Each step runs in a process of its own, whose peak is read; the median of several, for where the
    C library puts things moves a peak by some 50 MB.
    """
    sizes = [setting.scaled(size, 256) for size in VOCABULARIES]
    rows, config = setting.scaled(32), setting.shape(TINY)
    repeats = setting.rounds(3)
    peaks = [statistics.median(
        in_process(peak_of_training, replace(config, vocab_size=size), rows)
        for _ in range(repeats)) for size in sizes]
    more = 4 * 4 * config.width * (sizes[1] - sizes[0]) / 2**20
    grown = peaks[1] - peaks[0]
    return Result(grown, ALLOWED * more, "MB", ALLOWED * more / grown if grown > 0 else None, more,
                  {"model": described(config), "vocabularies": sizes, "batch": rows,
                   "lengths": "256", "dtype": "float32", "compiled": False, "repeats": repeats,
                   "peaks": list(map(rounded, peaks))})


def in_process(work: Callable[..., float], *arguments: object) -> float:
    """The value of `work` in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_of_training(config: ModelConfig, rows: int) -> float:
    """Peak resident memory, in MB, of this process after two training steps."""
    setting = Setting()
    model = fused(random_model(config, setting.device), setting.common())
    optimizers = [(adamw(model, 1e-4), 1e-4)]
    for step in range(2):
        learn(model, optimizers, random_tokens(rows, 256, config.vocab_size, step),
              setting.common())
    return peak_resident()


def peak_resident() -> float:
    """The most memory, in MB, that this process ever held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def demo(setting: Setting, against: float, limit: float) -> Result:
    """Seconds of the whole demo, every stage made anew, `against` seconds and within `limit`."""
    device, reports = setting.device.type, []
    scale = 0.01 if setting.toy else setting.scale

    def run() -> float:
        with tempfile.TemporaryDirectory() as runs:
            command = [sys.executable, "run_cai.py", "--name", "demo", "--runs", runs,
                       "--device", device, "--scale", str(scale)]
            done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
            if done.returncode:
                raise BenchmarkError(f"demo: run_cai.py ended with status {done.returncode}")
            path = Path(runs) / "demo" / "report.json"
            reports.append(json.loads(path.read_text(encoding="utf-8")))
        return reports[-1]["seconds"]["total"]

    timing = in_turns({"ours": run}, setting.rounds(1), setting.patience, warm=False)
    seconds, report = timing.median("ours"), reports[-1]
    merit = {name: {figure: figures[figure] for figure in ("harmful", "helpful")}
             for name, figures in report["models"].items()}
    return Result(seconds, against, "s", against / seconds, None, {
        "compiled": setting.on_cuda,  # as users run it
        "limit": limit, "within_limit": seconds <= limit, "stages": report["seconds"],
        "models": merit, "labels": report["labels"], "pm": report["pm"], **timing.facts})

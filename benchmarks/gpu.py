"""What one GPU must reach: decode, training and PPO of real shapes, by its own measured limits.

Bandwidth and matrix rate are measured beside each figure, in turns with it. On a CPU the same code
runs at toy sizes.
"""

from collections.abc import Callable

import torch

from benchmarks import costs
from benchmarks.aside import Side
from benchmarks.errors import BenchmarkError
from benchmarks.generation import noise
from benchmarks.measure import Result, in_turns, timed
from benchmarks.ppo import shares
from benchmarks.setting import Setting
from benchmarks.shapes import EIGHT_B, ONE_B, counted, described, random_model, random_tokens
from benchmarks.steps import actors, learn, ppo_step
from model.adapters import LoRA
from model.generate import Steps, start
from model.sampling import Sampling
from model.slots import Slots
from model.transformer import ModelConfig, Transformer
from rl.options import PPOOptions
from training.models import frozen, fused, trunk_dtype
from training.optimizer import adamw

PROMPT, SPAN = 128, 128
BATCH, LENGTH = 16, 2048  # of a training step: 32,768 tokens
PPO_BATCH, PPO_PROMPT, PPO_NEW, CHUNK = 64, 256, 256, 2
RANK = 16


def require_gpu() -> None:
    """Raise BenchmarkError where there is no GPU."""
    if not torch.cuda.is_available():
        raise BenchmarkError("gpu: found no GPU here, expected one (--dry-run tries every figure "
                             "on a CPU at toy sizes)")


def reading(setting: Setting) -> tuple[Side, float]:
    """A side that reads a large tensor once, and its bytes."""
    size = 2**20 if setting.toy else 2**31
    held = torch.ones(size, device=setting.device)
    return timed(held.sum, setting.device), 4.0 * size


def multiplying(setting: Setting) -> tuple[Side, float]:
    """A side that multiplies two bf16 matrices ten times, and its floating-point operations."""
    n, times = (256 if setting.toy else 8192), 10
    a, b = (torch.randn(n, n, device=setting.device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(times):
            a @ b

    return timed(products, setting.device), times * 2.0 * n**3


def cache_bytes(config: ModelConfig, rows: int, tokens: float) -> float:
    """Bytes of the keys and values of `tokens` tokens of `rows` rows in bf16."""
    return 2 * 2 * config.layers * config.kv_heads * config.head_dim * rows * tokens


def decoding(model: Transformer, batch: int, prompt: int, span: int) -> Callable[[], None]:
    """What draws `span` tokens a row after prompts that are read here, again at each call.

    The steps of `generate`; on CUDA the first call captures their graphs.
    """
    sampling, rows = Sampling(span + 1), list(range(batch))
    state = Slots(model, batch, prompt + span, batch, sampling.max_new, None)
    uniforms = noise(batch + 1, sampling.max_new).to(model.table.device)
    steps = Steps(model, state, uniforms, sampling)
    start(model, state, random_tokens(batch, prompt, model.config.vocab_size), rows, rows,
          uniforms, sampling)

    def decoded() -> None:
        state.slot.fill_(prompt)
        state.step.zero_()
        for length in range(prompt + 1, prompt + span + 1):
            steps([(batch, length)])

    return decoded


def decode(setting: Setting, batch: int) -> Result:
    """Bytes that a decode step must read, a second, against the measured read bandwidth."""
    config, device = setting.shape(EIGHT_B), setting.device
    prompt, span = (16, 8) if setting.toy else (PROMPT, SPAN)
    model = frozen(random_model(config, device, torch.bfloat16), setting.common())
    read, size = reading(setting)
    with torch.inference_mode():
        timing = in_turns({"ours": timed(decoding(model, batch, prompt, span), device),
                           "read": read}, setting.rounds(5), setting.patience)
    step = timing.median("ours") / span
    must = 2 * counted(model).read + cache_bytes(config, batch, prompt + span / 2)
    limit = size / timing.median("read")
    return Result(must / step / 1e9, limit / 1e9, "GB/s", must / step / limit, limit / 1e9, {
        "model": described(config), "batch": batch, "dtype": "bfloat16",
        "lengths": f"{prompt} prompt + {span} new", "tokens_per_second": batch / step,
        "bytes_a_step": must, **timing.facts})


def train(setting: Setting) -> Result:
    """A training step of 2,048-token sequences, by its model's operations, against the matrix rate.

    Operations: 6 a parameter and token, and those of causal attention.
    """
    config, device = setting.shape(ONE_B), setting.device
    rows, length = (2, 32) if setting.toy else (BATCH, LENGTH)
    common = setting.common("bf16")
    model = fused(random_model(config, device), common)
    optimizers = [(adamw(model, 1e-5), 1e-5)]
    tokens = random_tokens(rows, length, config.vocab_size)
    products, operations = multiplying(setting)
    timing = in_turns({"ours": timed(lambda: learn(model, optimizers, tokens, common), device),
                       "products": products}, setting.rounds(5), setting.patience)
    attention = 6 * config.layers * config.heads * config.head_dim * length
    done = rows * length * (6 * counted(model).read + attention)
    rate, limit = done / timing.median("ours"), operations / timing.median("products")
    return Result(rate / 1e12, limit / 1e12, "TFLOP/s", rate / limit, limit / 1e12, {
        "model": described(config), "batch": rows, "lengths": str(length), "dtype": "bf16",
        "tokens_per_second": rows * length / timing.median("ours"), **timing.facts})


def ppo(setting: Setting, config: ModelConfig, limit: float, shared: bool = False,
        rank: int = 0) -> Result:
    """Peak memory of PPO steps against its limit, both in GB; and where the time goes.

    `shared`: policy and value on one trunk; with a `rank`, four branches of one frozen trunk.
    """
    config, device = setting.shape(config), setting.device
    rows, new = (4, 8) if setting.toy else (PPO_BATCH, PPO_NEW)
    common = setting.common("bf16")
    lora = LoRA(rank)
    each = actors(random_model(config, device, trunk_dtype(lora, common)), common, shared, lora)
    prompts = random_tokens(rows, PPO_PROMPT, config.vocab_size)
    options = PPOOptions(epochs=1, minibatches=1, chunk_rows=min(CHUNK, rows))
    parts: list[dict[str, float]] = []

    def step() -> None:
        parts.append(ppo_step(each, prompts, noise(rows, new), options, common, rows))

    timing = in_turns({"ours": timed(step, device)}, setting.rounds(3), setting.patience)
    peak = peak_memory(device)
    return Result(peak, limit, "GB", limit / peak, None, {
        "model": described(config), "batch": rows, "lengths": f"{PPO_PROMPT} prompt + {new} new",
        "dtype": "bf16", "trunks": 1 if shared or rank else 2, "lora_rank": rank,
        "chunk_rows": options.chunk_rows, "seconds": timing.median("ours"),
        **shares(parts, timing.facts), **timing.facts})


def peak_memory(device: torch.device) -> float:
    """The most memory, in GB, that tensors held on a GPU; on a CPU, that the process held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return costs.peak_resident() / 1e3

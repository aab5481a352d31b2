"""What users would pick instead, set up as their documentation says, with the same weights."""

import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor, nn

from benchmarks.aside import Side
from benchmarks.errors import BenchmarkError
from model.transformer import ModelConfig, Transformer

WANTED = {"transformers": None, "trl": "1.12.0"}  # a peer that must have just this version
INSTALL = "pip install -r benchmarks/requirements.txt"


def require_peer(name: str) -> None:
    """Raise BenchmarkError, in one line, where a peer is missing or of another version."""
    wanted = WANTED[name]
    try:
        found = version(name)
    except PackageNotFoundError:
        raise BenchmarkError(f"{name}: found none, expected {wanted or 'any'} ({INSTALL})"
                             ) from None
    if wanted is not None and found != wanted:
        raise BenchmarkError(f"{name}: found {found}, expected {wanted} ({INSTALL})")


def llama_config(config: ModelConfig, **more: object):  # noqa: ANN201 - transformers' own
    """`config` in the words of transformers."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=config.width, intermediate_size=config.mlp,
        num_hidden_layers=config.layers, num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads, head_dim=config.head_dim,
        max_position_embeddings=config.context, rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=config.tied, bos_token_id=None, eos_token_id=None, pad_token_id=0,
        attn_implementation="sdpa", **more)


def twin(model: Transformer) -> nn.Module:
    """The causal language model of transformers with the weights of `model`, beside it."""
    require_peer("transformers")
    from transformers import LlamaForCausalLM

    weights = model.lm_head.weight
    with weights.device:
        peer = LlamaForCausalLM(llama_config(model.config)).to(weights.dtype)
    peer.load_state_dict(model.state_dict(), strict=True)
    return peer


def scalar_twin(model: Transformer) -> nn.Module:
    """The reward model of transformers with the trunk of `model` and a head of its own."""
    from transformers import LlamaForSequenceClassification

    with model.lm_head.weight.device:
        peer = LlamaForSequenceClassification(llama_config(model.config, num_labels=1))
    peer.model.load_state_dict({name.removeprefix("model."): tensor
                                for name, tensor in model.state_dict().items()
                                if name.startswith("model.")})
    return peer


def sampled(peer: nn.Module, prompts: Tensor, max_new: int, stops: Tensor | None = None) -> Tensor:
    """`generate` of transformers with its dynamic cache, plain sampling; the new tokens.

    stops: (B,) lengths at which each row counts as ended; without them none ends.
    """
    from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

    class AtLength(StoppingCriteria):
        def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
            return input_ids.shape[1] - prompts.shape[1] >= stops

    settings = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                                max_new_tokens=max_new, pad_token_id=0)
    criteria = StoppingCriteriaList([] if stops is None else [AtLength()])
    tokens = peer.generate(prompts, attention_mask=torch.ones_like(prompts),
                           generation_config=settings, stopping_criteria=criteria)
    return tokens[:, prompts.shape[1]:]


@torch.no_grad()
def logprobs(peer: nn.Module, tokens: Tensor, chunk: int) -> Tensor:
    """Log-prob (B, T - 1) float32 of every token of (B, T) after the first, `chunk` rows a time."""
    found = []
    for part in tokens.split(chunk):
        logits = peer(input_ids=part, use_cache=False).logits[:, :-1].float()
        found.append(logits.log_softmax(-1).gather(-1, part[:, 1:, None])[..., 0])
    return torch.cat(found)


@torch.no_grad()
def choice_logprobs(peer: nn.Module, prompts: Tensor, answers: Tensor, batch: int) -> Tensor:
    """Log-prob (N, answers) of each answer token after each prompt (N, T), one forward a prompt."""
    return torch.cat([
        peer(input_ids=part, use_cache=False, logits_to_keep=1).logits[:, -1].float()
        .log_softmax(-1)[:, answers] for part in prompts.split(batch)])


def training_step(peer: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor,
                  mask: Tensor | None = None) -> None:
    """One step of next-token prediction on (B, T) tokens; `mask` marks those that count."""
    labels = tokens if mask is None else tokens.masked_fill(~mask, -100)
    attention = None if mask is None else mask.long()
    peer(input_ids=tokens, attention_mask=attention, labels=labels, use_cache=False).loss.backward()
    nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def training_steps(peer: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Tensor],
                   masks: Sequence[Tensor | None]) -> None:
    """A step on each of the batches."""
    for tokens, mask in zip(batches, masks, strict=True):
        training_step(peer, optimizer, tokens, mask)


def word_tokenizer(vocab_size: int):  # noqa: ANN201 - transformers' own
    """A tokenizer of that many words, which TRL's trainers ask for; 0 pads, 1 ends."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {f"w{n}": n for n in range(vocab_size)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")),
                                   pad_token="w0", eos_token="w1", unk_token="w0")


def _stopwatch(begin: str, end: str):  # noqa: ANN202 - a callback of transformers
    """A callback that keeps the seconds from one event to the other, the last time they came."""
    import time

    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        seconds = float("nan")

    def started(self, *_: object, **__: object) -> None:  # noqa: ANN001
        self.at = time.perf_counter()

    def ended(self, *_: object, **__: object) -> None:  # noqa: ANN001
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.at

    setattr(Stopwatch, begin, started)
    setattr(Stopwatch, end, ended)
    return Stopwatch()


def _quiet(rows: int, device: torch.device, **more: object) -> dict[str, object]:
    """Options that keep a trainer from logging, saving, and recomputing activations."""
    return {"output_dir": tempfile.gettempdir(), "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": 1, "use_cpu": device.type == "cpu", "bf16": False,
            "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
            "logging_strategy": "no", "disable_tqdm": True, "lr_scheduler_type": "constant",
            **more}


def reward_training(model: Transformer, chosen: Sequence[list[int]],
                    rejected: Sequence[list[int]], steps: int) -> Side:
    """As many steps of TRL's RewardTrainer on all these pairs, each as long as the last of two."""
    require_peer("trl")
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    device = model.lm_head.weight.device
    watch = _stopwatch("on_step_begin", "on_step_end")
    pairs = Dataset.from_dict({"chosen_ids": list(chosen), "rejected_ids": list(rejected)})
    trainer = RewardTrainer(
        scalar_twin(model), args=RewardConfig(
            **_quiet(len(chosen), device, max_steps=2, max_length=None)),
        train_dataset=pairs, processing_class=word_tokenizer(model.config.vocab_size),
        callbacks=[watch])

    def side() -> float:
        trainer.train()
        return steps * watch.seconds

    return side


def ppo_training(model: Transformer, prompts: Sequence[list[int]], max_new: int,
                 epochs: int) -> Side:
    """One update of TRL's PPOTrainer on all these prompts: rollout, scores, epochs of one step."""
    require_peer("trl")
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    device, rows = model.lm_head.weight.device, len(prompts)
    watch = _stopwatch("on_train_begin", "on_step_end")
    trainer = PPOTrainer(
        args=PPOConfig(**_quiet(
            rows, device, num_ppo_epochs=epochs, num_mini_batches=1, total_episodes=rows,
            local_rollout_forward_batch_size=rows, response_length=max_new, temperature=1.0,
            num_sample_generations=0)),
        processing_class=word_tokenizer(model.config.vocab_size), model=twin(model),
        ref_model=twin(model), reward_model=scalar_twin(model), value_model=scalar_twin(model),
        train_dataset=Dataset.from_dict({"input_ids": list(prompts)}), callbacks=[watch])

    def side() -> float:
        trainer.train()
        return watch.seconds

    return side

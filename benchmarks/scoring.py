"""Scoring: log-probs of whole continuations, and answers to feedback questions."""

from functools import partial

import torch

from benchmarks import peers
from benchmarks.aside import Side
from benchmarks.measure import Result, compare, timed
from benchmarks.setting import Setting
from benchmarks.shapes import TINY, described, random_model, random_tokens
from model.scoring import score_choices, score_continuations
from model.transformer import ModelConfig
from training.models import frozen

LENGTH, CHUNK = 256, 8  # tokens a row; rows of a forward of the peer, which is its best
SHARED, OWN, SAME = 640, 128, 64  # examples; a question; what both its orders begin with
BATCH_TOKENS = 16_384
CHOICES = ([5], [6])


def continuations(setting: Setting, config: ModelConfig,
                  dtype: torch.dtype = torch.float32) -> Result:
    """Log-probs of 64 x 256 tokens, the first one given."""
    config, device, rows = setting.shape(config), setting.device, setting.scaled(64)
    model = frozen(random_model(config, device, dtype), setting.common())
    texts = random_tokens(rows, LENGTH, config.vocab_size)
    return compare(
        setting, lambda: score_continuations(model, [text[:1] for text in texts],
                                             [text[1:] for text in texts]),
        partial(their_continuations, config, device, dtype, texts),
        amount=rows * LENGTH, unit="tokens/s",
        facts={"model": described(config), "batch": rows, "lengths": str(LENGTH),
               "dtype": str(dtype).split(".")[1]})


def their_continuations(config: ModelConfig, device: torch.device, dtype: torch.dtype,
                        texts: list[list[int]]) -> dict[str, Side]:
    """A forward of transformers over a few rows at a time, then log-softmax and the tokens'."""
    peer = peers.twin(random_model(config, device, dtype))
    given = torch.tensor(texts, device=device)
    return {"forward": timed(lambda: peers.logprobs(peer, given, CHUNK), device)}


def questions(count: int, vocab_size: int) -> list[list[int]]:
    """Two prompts a question, one an order: the same examples, half of its own, then the rest."""
    shared = random_tokens(1, SHARED, vocab_size, seed=1)[0]
    own = random_tokens(count, SAME, vocab_size, seed=2)
    order = random_tokens(2 * count, OWN - SAME, vocab_size, seed=3)
    return [[*shared, *own[n // 2], *order[n]] for n in range(2 * count)]


def feedback(setting: Setting) -> Result:
    """Scores of two answers to each question in both orders; a full forward a prompt there."""
    config, device, count = setting.shape(TINY), setting.device, setting.scaled(256)
    model = frozen(random_model(config, device), setting.common())
    prompts = questions(count, config.vocab_size)
    batch = BATCH_TOKENS // (SHARED + OWN)
    return compare(
        setting, lambda: score_choices(model, prompts, CHOICES, batch_tokens=BATCH_TOKENS),
        partial(their_choices, config, device, prompts, batch),
        amount=2 * count, unit="prompts/s", rounds=3,
        facts={"model": described(config), "batch": batch, "questions": count, "orders": 2,
               "dtype": "float32",
               "lengths": f"{SHARED} shared + {OWN} own, of which both orders share {SAME}"})


def their_choices(config: ModelConfig, device: torch.device, prompts: list[list[int]],
                  batch: int) -> dict[str, Side]:
    """A full forward of transformers a prompt, and the answers' log-probs after it."""
    peer = peers.twin(random_model(config, device))
    given = torch.tensor(prompts, device=device)
    answers = torch.tensor([choice[0] for choice in CHOICES], device=device)
    return {"forward": timed(lambda: peers.choice_logprobs(peer, given, answers, batch), device)}

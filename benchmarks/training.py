"""Training: full batches, dialogues of unequal length, and pairs of a preference model."""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import sentencepiece
import torch

import train_pm
from benchmarks import peers
from benchmarks.aside import Side
from benchmarks.errors import BenchmarkError
from benchmarks.measure import Result, compare, tell, timed
from benchmarks.setting import Setting
from benchmarks.shapes import SMALL, TINY, described, random_model, random_tokens
from benchmarks.steps import learn, prefer
from cai import formats
from cai.readers import read_comparisons
from cai.records import InputError
from model.batches import pad_right, random_steps
from model.heads import ScalarModel
from model.tokenizer import Tokenizer
from model.transformer import ModelConfig
from training.models import fused
from training.optimizer import adamw

BATCH, LENGTH = 32, 256
PAIRS, PAIR_LENGTH = 32, 112
STEPS = 3  # of the preference model in one call, which makes its optimizer anew
RATE = 1e-4


def full(setting: Setting, dtype: str) -> Result:
    """A step on 32 x 256 tokens; against transformers in float32, eager or compiled."""
    config, device, rows = setting.shape(TINY), setting.device, setting.scaled(BATCH)
    model = random_model(config, device)
    tokens = random_tokens(rows, LENGTH, config.vocab_size)
    theirs = partial(learners, config, device, [tokens],
                     ("eager",) if setting.toy else ("eager", "compiled"))
    model = fused(model, setting.common(dtype))
    optimizers = [(adamw(model, RATE), RATE)]
    return compare(
        setting, lambda: learn(model, optimizers, tokens, setting.common(dtype)), theirs,
        amount=rows * LENGTH, unit="tokens/s",
        facts={"model": described(config), "batch": rows, "lengths": str(LENGTH), "dtype": dtype,
               "their_dtype": "float32"})


def learners(config: ModelConfig, device: torch.device, batches: Sequence[list[list[int]]],
             ways: Sequence[str] = ("eager",)) -> dict[str, Side]:
    """Steps of a peer over batches in each of `ways`, eager or compiled, on weights of its own.

    A batch is padded to its longest row, and masked where it has to be.
    """
    padded = [pad_right(rows, device=device) for rows in batches]
    masks = [pad_right([[1] * len(row) for row in rows], device=device).bool() for rows in batches]
    masks = [None if mask.all() else mask for mask in masks]
    sides = {}
    for name in ways:
        peer = peers.twin(random_model(config, device))
        if name == "compiled":
            peer.compile()
        sides[name] = timed(partial(peers.training_steps, peer, adamw(peer, RATE), padded, masks),
                            device)
    return sides


def dialogues(path: Path, size: int, count: int) -> list[list[int]]:
    """The first `count` dialogues of a file of comparisons, the reply that was chosen last, as
    ids of a sentencepiece tokenizer of `size` pieces made from the file, cut to LENGTH.

    Raises BenchmarkError where there is no such file.
    """
    try:
        read = read_comparisons(path)
    except InputError as error:
        raise BenchmarkError(f"--dialogues: {error}") from None
    texts, others = ([f"{formats.reply_prompt(each.turns)} {each.responses[side]}"
                      for each in read] for side in (0, 1))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts + others), model_writer=model, model_type="bpe",
        vocab_size=size, hard_vocab_limit=False, max_sentence_length=20_000, minloglevel=2)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(model.getvalue())
        tokenizer = Tokenizer(Path(folder) / "tokenizer.model")
        if len(tokenizer) < size:
            tell(f"a tokenizer of {len(tokenizer)} pieces, the text gave no more")
        return [tokenizer.encode(text)[:LENGTH] for text in texts[:count]]


def unequal(setting: Setting, size: int) -> Result:
    """Steps over dialogues, all tokens learnt; shuffled in 32s and padded to the longest there.

    With 1,024 pieces the model is tiny, with more small. Theirs is eager: compiled it would be
    compiled anew for every length.
    """
    device, batches = setting.device, 8 if size <= TINY.vocab_size else 4
    config = replace(setting.shape(TINY if size <= TINY.vocab_size else SMALL), vocab_size=size)
    rows = dialogues(setting.dialogues, size, batches * setting.scaled(BATCH))
    tokens = sum(map(len, rows))
    generator = torch.Generator().manual_seed(0)
    steps = random_steps([len(row) for row in rows], tokens // batches, generator)
    shuffled = torch.randperm(len(rows), generator=generator).tensor_split(batches)
    shuffled = [[rows[n] for n in part] for part in shuffled]
    padded = sum(len(part) * max(map(len, part)) for part in shuffled)
    theirs = partial(learners, config, device, shuffled)
    model = fused(random_model(config, device), setting.common())
    optimizers = [(adamw(model, RATE), RATE)]

    def ours() -> None:
        for step in steps:
            learn(model, optimizers, [rows[n] for n in step], setting.common())

    return compare(
        setting, ours, theirs, amount=tokens, unit="tokens/s", rounds=3,
        facts={"model": described(config), "batch": len(rows) // batches, "dtype": "float32",
               "dialogues": len(rows), "lengths": f"unequal, cut to {LENGTH}, mean "
               f"{tokens / len(rows):.0f}",
               "their_padding": round(1 - tokens / padded, 3)})


def preference(setting: Setting, dtype: str) -> Result:
    """A preference-model step on 32 pairs x 112 tokens, AdamW, with what train_pm.py logs."""
    config, device, count = setting.shape(TINY), setting.device, setting.scaled(PAIRS)
    better, worse = (random_tokens(count, PAIR_LENGTH, config.vocab_size, seed) for seed in (1, 2))
    trunk = random_model(config, device)
    model = fused(ScalarModel(trunk).to(device), setting.common(dtype))
    pairs = [train_pm.Pair(*both, 1.0, 1.0) for both in zip(better, worse, strict=True)] * STEPS
    options = train_pm.Options(model=Path(), comparisons=Path(), optimizer="adamw", rate=RATE,
                               epochs=1, batch_pairs=count, common=setting.common(dtype))
    return compare(
        setting, lambda: prefer(model, pairs, options, device),
        partial(rewarded, config, device, better, worse), amount=len(pairs), unit="pairs/s",
        facts={"model": described(config), "batch": count, "lengths": str(PAIR_LENGTH),
               "dtype": dtype, "their_dtype": "float32"})


def rewarded(config: ModelConfig, device: torch.device, better: list[list[int]],
             worse: list[list[int]]) -> dict[str, Side]:
    """Steps of TRL's RewardTrainer on all these pairs, as many as ours takes in a call."""
    trunk = random_model(config, device)
    return {"RewardTrainer": peers.reward_training(trunk, better, worse, STEPS)}

"""Training: full batches, dialogues of unequal length, and pairs of a preference model."""

import copy
import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import sentencepiece
import torch
from torch import nn

import train_pm
from benchmarks import peers
from benchmarks.measure import BenchmarkError, Result, Side, compare, tell, timed
from benchmarks.setting import Setting
from benchmarks.shapes import SMALL, TINY, described, random_model, random_tokens
from benchmarks.steps import learn, prefer
from cai import formats
from cai.readers import read_comparisons
from cai.records import InputError
from model.batches import pad_right, random_steps
from model.heads import ScalarModel
from model.tokenizer import Tokenizer
from training.optimizer import adamw
from training.options import fused

BATCH, LENGTH = 32, 256
PAIRS, PAIR_LENGTH = 32, 112
STEPS = 3  # of the preference model in one call, which makes its optimizer anew
RATE = 1e-4


def full(setting: Setting, dtype: str) -> Result:
    """A step on 32 x 256 tokens; against transformers in float32, eager or compiled."""
    config, device, rows = setting.shape(TINY), setting.device, setting.scaled(BATCH)
    model = random_model(config, device)
    tokens = random_tokens(rows, LENGTH, config.vocab_size)
    theirs = learners(peers.twin(model), [torch.tensor(tokens, device=device)], [None],
                      ("eager",) if setting.toy else ("eager", "compiled"))
    model = fused(model, setting.common(dtype))
    optimizers = [(adamw(model, RATE), RATE)]
    return compare(
        setting, lambda: learn(model, optimizers, tokens, setting.common(dtype)), theirs,
        amount=rows * LENGTH, unit="tokens/s",
        facts={"model": described(config), "batch": rows, "lengths": str(LENGTH), "dtype": dtype,
               "their_dtype": "float32"})


def learners(peer: nn.Module, batches: list[torch.Tensor], masks: list,
             ways: Sequence[str] = ("eager",)) -> dict[str, Side]:
    """Steps of a peer over batches in each of `ways`, eager or compiled, on weights of its own."""
    sides = {}
    for name in ways:
        model = copy.deepcopy(peer)
        optimizer = adamw(model, RATE)
        if name == "compiled":
            model.compile()

        def steps(model: nn.Module = model, optimizer: torch.optim.Optimizer = optimizer) -> None:
            for tokens, mask in zip(batches, masks, strict=True):
                peers.training_step(model, optimizer, tokens, mask)

        sides[name] = timed(steps, batches[0].device)
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
    padded = [pad_right([rows[n] for n in part], device=device) for part in shuffled]
    masks = [pad_right([[1] * len(rows[n]) for n in part], device=device).bool()
             for part in shuffled]
    model = random_model(config, device)
    theirs = learners(peers.twin(model), padded, masks)
    model = fused(model, setting.common())
    optimizers = [(adamw(model, RATE), RATE)]

    def ours() -> None:
        for step in steps:
            learn(model, optimizers, [rows[n] for n in step], setting.common())

    return compare(
        setting, ours, theirs, amount=tokens, unit="tokens/s", rounds=3,
        facts={"model": described(config), "batch": len(rows) // batches, "dtype": "float32",
               "dialogues": len(rows), "lengths": f"unequal, cut to {LENGTH}, mean "
               f"{tokens / len(rows):.0f}", "their_padding": round(
                   1 - tokens / sum(each.numel() for each in padded), 3)})


def preference(setting: Setting, dtype: str) -> Result:
    """A preference-model step on 32 pairs x 112 tokens, AdamW, with what train_pm.py logs."""
    config, device, count = setting.shape(TINY), setting.device, setting.scaled(PAIRS)
    trunk = random_model(config, device)
    better, worse = (random_tokens(count, PAIR_LENGTH, config.vocab_size, seed) for seed in (1, 2))
    theirs = {"RewardTrainer": peers.reward_training(trunk, better, worse, STEPS)}
    model = fused(ScalarModel(trunk).to(device), setting.common(dtype))
    pairs = [train_pm.Pair(*both, 1.0, 1.0) for both in zip(better, worse, strict=True)] * STEPS
    options = train_pm.Options(model=Path(), comparisons=Path(), optimizer="adamw", rate=RATE,
                               epochs=1, batch_pairs=count, common=setting.common(dtype))
    return compare(
        setting, lambda: prefer(model, pairs, options, device), theirs, amount=len(pairs),
        unit="pairs/s",
        facts={"model": described(config), "batch": count, "lengths": str(PAIR_LENGTH),
               "dtype": dtype, "their_dtype": "float32"})

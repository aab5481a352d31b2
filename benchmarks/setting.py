"""What a measurement is told: where it runs, how large, how often."""

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import shapes
from model.transformer import ModelConfig
from training.options import Common, device_of

DIALOGUES = Path("../shared/data/hh-rlhf/harmless-base/train.jsonl.gz")


@dataclass(frozen=True)
class Setting:
    """The circumstances of a measurement; `toy` has every model replaced by one for tests."""

    scale: float = 1.0
    repeats: int | None = None
    toy: bool = False
    compile: bool | None = None
    on_cuda: bool = False
    dialogues: Path = DIALOGUES

    @property
    def device(self) -> torch.device:
        return device_of(self.common())

    def common(self, dtype: str = "float32") -> Common:
        """The options that a script would be given for the same circumstances."""
        return Common(device="cuda" if self.on_cuda else "cpu", dtype=dtype, compile=self.compile)

    @property
    def compiled(self) -> bool:
        """Whether our models are fused: on a GPU where nothing else was asked for."""
        return self.on_cuda if self.compile is None else self.compile

    def shape(self, config: ModelConfig) -> ModelConfig:
        return shapes.toy(config) if self.toy else config

    def scaled(self, count: int, least: int = 2) -> int:
        """A count of sequences, cut to the scale."""
        return max(least, round(count * self.scale))

    def rounds(self, usual: int) -> int:
        """How many quiet rounds are timed: as many as usual where nothing else was asked for."""
        return self.repeats or usual

    @property
    def patience(self) -> int:
        """Noisy rounds, as a multiple of the quiet ones wanted, after which no more are tried."""
        return 1 if self.toy else 3

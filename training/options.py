"""Options that every script has, and how a script is started from the command line."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

import torch
import tyro

from model.errors import CheckpointError, OptionError, PromptError

Options = TypeVar("Options")


@dataclass(frozen=True)
class Common:
    """Where a stage runs and where its outputs go."""

    name: str = "default"
    """Name of the run: runs/NAME/STAGE points to what this stage made."""
    seed: int = 0
    """The one seed of the stage; every generator is named and derived from it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live; auto takes a GPU where there is one."""
    dtype: Literal["float32", "bf16"] = "float32"
    """Type of the matrix products, and of weights that are only read, among them the copy of the
    policy from which PPO draws replies; weights that are learnt, and reductions, stay float32."""
    recompute: bool = False
    """Keep of each layer its input alone and compute the rest again for the gradient: less memory
    in training, a third more time."""
    compile: bool | None = None
    """Fuse the model with torch.compile; by default on a GPU and not on a CPU."""
    log: Literal["none", "wandb"] = "none"
    """Where metrics go beside the stage's own metrics.jsonl."""
    runs: Path = Path("runs")
    """Folder of all runs."""


Flat = tyro.conf.OmitArgPrefixes
"""Marks a nested group whose options stand on the command line under their own names."""


def require(holds: bool, option: str, found: object, expected: str) -> None:
    """Raise OptionError naming the option unless `holds`."""
    if not holds:
        raise OptionError(f"--{option.replace('_', '-')}: found {found}, expected {expected}")


def start(main: Callable[[Options], object], options: type[Options],
          expected: tuple[type[Exception], ...] = ()) -> None:
    """Read the command line into `options` and run `main`; an expected error is one line."""
    try:
        main(tyro.cli(options, description=main.__doc__))
    except (OptionError, CheckpointError, PromptError, *expected) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def device_of(common: Common) -> torch.device:
    """The device that `common` asks for. On a CPU, numbers too small for float32's range are zero
    from here on: arithmetic on them is many times slower. Memory that is freed is kept.
    """
    torch.set_flush_denormal(True)
    keep_memory()
    if common.device == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device: found cuda, expected cpu: no GPU is to be seen here")
    if common.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(common.device)


@cache
def keep_memory() -> None:
    """Let the C library keep what is freed for the tensors that come next, all of one step's.

    It hands large pieces back to the system, and to get one anew, page by page, can take as long as
    to compute what it holds. Only glibc can be told; thresholds are its `mallopt`'s, in bytes.
    """
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    if sys.platform == "linux" and (tell := getattr(ctypes.CDLL(None), "mallopt", None)):
        tell(trim, 2**31 - 1)
        tell(mmap, 2**25)  # the most that it takes

"""The floor of a piece of work: its matrix products and attention calls, alone.

No norm, rotary position, sampling, optimizer or Python is in it. Every call is repeated on the
same random tensors, which may stand in a cache, so this is a guide to what is left to gain.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.generate import Steps, step

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear", "matmul"}
ATTENTION = ("scaled_dot_product", "_scaled_dot_product")
ENOUGH = 0.02  # seconds after which a call's time is known well enough


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Like:
    """A tensor's layout without its numbers."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def make(self) -> Tensor:
        """A tensor so laid out: normal numbers, or ones where the type is no float."""
        extent = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        filled = torch.randn if self.dtype.is_floating_point else torch.ones
        storage = filled(max(1, extent), dtype=self.dtype, device=self.device)
        return storage.as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Call:
    """An operator with its arguments, tensors by their layout."""

    operator: object
    arguments: tuple
    named: tuple

    def __call__(self, made: tuple, named: dict) -> object:
        return self.operator(*made, **named)


def layout(value: object) -> object:
    """`value` with every tensor in it replaced by its layout, hashable."""
    if isinstance(value, Tensor):
        return Like(tuple(value.shape), value.stride(), value.dtype, value.device)
    return tuple(map(layout, value)) if isinstance(value, list | tuple) else value


def made(value: object) -> object:
    """The reverse of `layout`, with numbers of its own."""
    if isinstance(value, Like):
        return value.make()
    return [made(each) for each in value] if isinstance(value, tuple) else value


class Recorder(TorchDispatchMode):
    """Counts the matrix products and attention calls of what runs inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Call] = Counter()

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):  # noqa: ANN001, ANN204
        named = named or {}
        name = operator.overloadpacket.__name__
        if name in PRODUCTS or name.startswith(ATTENTION):
            self.calls[Call(operator, layout(arguments),
                            tuple((key, layout(named[key])) for key in sorted(named)))] += 1
        return operator(*arguments, **named)


class Floor:
    """The recorded calls of a piece of work; calling it gives the seconds that they take alone."""

    def __init__(self, recorded: Sequence[tuple[Call, int]], device: torch.device):
        self.recorded, self.device = recorded, device
        self.calls = sum(count for _, count in recorded)

    @classmethod
    def of(cls, work: Callable[[], object], device: torch.device) -> "Floor":
        """The floor of `work`, which is run once, uncompiled, to see what it calls.

        A graph that is replayed would show nothing of its calls: no step of generation is one here.
        """
        plain = patch.object(Steps, "__call__", lambda each, parts: step(*each.arguments, parts))
        with torch.compiler.set_stance("force_eager"), plain, Recorder() as recorder:
            work()
        return cls(list(recorder.calls.items()), device)

    @torch.inference_mode()
    def __call__(self) -> float:
        return sum(count * self.seconds_of(call, count) for call, count in self.recorded)

    def seconds_of(self, call: Call, count: int) -> float:
        """Mean seconds of one call among at most `count`, after one to warm up."""
        arguments = tuple(made(each) for each in call.arguments)
        named = {key: made(value) for key, value in call.named}
        call(arguments, named)
        synchronise(self.device)
        start, done = time.perf_counter(), 0
        while done < min(count, 3) or (done < count and time.perf_counter() - start < ENOUGH):
            call(arguments, named)
            done += 1
        synchronise(self.device)
        return (time.perf_counter() - start) / done

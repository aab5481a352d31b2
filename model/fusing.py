"""Functions of a module that are compiled where it asks for it."""

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


def fusable(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function` of a module and tensors, compiled where the module is `fused`, unless what calls
    it is being compiled.

    Twice: what is read without gradients comes in more shapes than a compiler keeps, and those too
    many run as they are, without displacing what training needs.
    """
    learning = torch.compile(function, fullgraph=True, dynamic=True)
    # A compiler keeps what it made by the code that it was made of.
    reading = torch.compile(FunctionType(function.__code__.replace(), function.__globals__),
                            dynamic=True)

    @wraps(function)
    def either(module: nn.Module, *inputs: Tensor | None) -> Result:
        if not module.fused or torch.compiler.is_compiling():
            return function(module, *inputs)
        return (learning if torch.is_grad_enabled() else reading)(module, *inputs)
    return either

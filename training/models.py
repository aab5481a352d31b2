"""Models as a stage holds them: in which type, learnt or only read, fused or not."""

import copy
from pathlib import Path

import torch

from model.adapters import LoRA
from model.checkpoint import load_model, load_scalar_model
from model.heads import ScalarModel
from model.transformer import Block, Transformer, Trunk
from training.options import Common, device_of


def precision(common: Common) -> torch.autocast:
    """The context in which forward passes run: autocast to bfloat16, or nothing."""
    return torch.autocast(device_of(common).type, torch.bfloat16, enabled=common.dtype == "bf16")


def reading_dtype(common: Common) -> torch.dtype:
    """The type that weights are held in which nothing learns: bfloat16 where bf16 is asked for."""
    return torch.bfloat16 if common.dtype == "bf16" else torch.float32


def trunk_dtype(lora: LoRA, common: Common) -> torch.dtype:
    """The type that a trunk is held in: frozen beside its adapters, or learnt."""
    return reading_dtype(common) if lora.lora_rank else torch.float32


def fused(model: torch.nn.Module, common: Common) -> torch.nn.Module:
    """`model`, compiled in place where asked; its keys do not change.

    A step in groups has as many shapes as lengths: there all but attention is fused.
    """
    for module in model.modules():
        if isinstance(module, Transformer):
            module.recompute = common.recompute
    on_cpu = device_of(common).type == "cpu"
    wanted = not on_cpu if common.compile is None else common.compile
    if wanted:
        # Calls that C++ makes are shorter than Python's, which counts where each computes little.
        model.compile(dynamic=True, options={"cpp_wrapper": on_cpu})
        for module in model.modules():
            if isinstance(module, Trunk | Block):
                module.fused = True
    return model


def frozen(model: torch.nn.Module, common: Common) -> torch.nn.Module:
    """`model` to be read alone, compiled in place where asked.

    On a CPU the matrices of its layers then lie in memory by columns: products of few rows are
    faster so. What is learnt stays by rows, for torch's fused AdamW goes by memory, not by place.
    """
    model.requires_grad_(False)
    if common.compile and device_of(common).type == "cpu":
        for block in (each for each in model.modules() if isinstance(each, Block)):
            for matrix in (each for each in block.parameters() if each.dim() == 2):
                matrix.data = matrix.data.mT.contiguous().mT
    return fused(model, common)


def load_frozen(folder: Path, common: Common) -> Transformer:
    """The language model in `folder`, to be read alone. CheckpointError: as of `load_model`."""
    return frozen(load_model(folder, reading_dtype(common), device_of(common)), common)


def load_frozen_scalar(folder: Path, common: Common) -> ScalarModel:
    """The preference model in `folder`, to be read alone. CheckpointError: as of `load_model`."""
    return frozen(load_scalar_model(folder, device_of(common), reading_dtype(common)), common)


def behaviour_of(policy: Transformer, common: Common) -> Transformer:
    """The model that draws the replies of a `policy` that learns: itself, or under bf16, where it
    is learnt in float32, a frozen copy in bfloat16, to be brought `up_to_date`.

    Products round the weights to bfloat16 all the same; a step of decoding, which waits for
    weights, then reads half of the bytes and converts none. To be called before `policy` is fused.
    """
    dtype = reading_dtype(common)
    if policy.lm_head.weight.dtype == dtype:
        return policy
    behaviour = copy.deepcopy(policy).to(dtype)
    behaviour.table = policy.table
    return frozen(behaviour, common)


@torch.no_grad()
def up_to_date(behaviour: Transformer, policy: Transformer) -> Transformer:
    """`behaviour` with the weights that `policy` has now."""
    if behaviour is not policy:
        for old, new in zip(behaviour.parameters(), policy.parameters(), strict=True):
            old.copy_(new)
    return behaviour

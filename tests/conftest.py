"""Small models for the tests, with weights large enough that a slip in any part shows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import train_base
from model.checkpoint import load_model, load_tokenizer, save_model
from model.heads import ScalarModel
from model.transformer import ModelConfig, Transformer
from training.options import Common

FAMILIES = {
    "llama": {},
    "llama untied": {"tied": False},
    "qwen2": {"family": "qwen2", "qkv_bias": True},
    "qwen3": {"family": "qwen3", "qk_norm": True, "head_dim": 6},
    "mistral": {"family": "mistral", "sliding_window": 7, "tied": False},
}


def tiny_transformer(seed: int = 0, **changes) -> Transformer:
    """Two layers of width 32, four query heads on two key/value heads, 40 words, context 64.

    Every parameter is drawn from a normal distribution, norms around 1, in evaluation mode.
    """
    config = {"vocab_size": 40, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "mlp": 48,
              "head_dim": 8, "context": 64} | changes
    model = Transformer(ModelConfig(**config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if name.endswith("norm.weight") else 0.0
            parameter.normal_(centre, 0.25, generator=generator)
    return model


@pytest.fixture(scope="session")
def world_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a model of one narrow layer that has read a little of the small world."""
    runs = tmp_path_factory.mktemp("world") / "runs"
    train_base.main(train_base.Options(tokens=40_000, recitals=200, retellings=200, layers=1,
                                       width=32, heads=2, mlp=64,
                                       common=Common(name="base", runs=runs)))
    return runs / "base" / "train_base" / "model"


@pytest.fixture(scope="session")
def world_preference(world_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a preference model: a random head on that base model."""
    model = ScalarModel(load_model(world_base))
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("preference") / "model"
    save_model(model, folder, load_tokenizer(world_base))
    return folder


@pytest.fixture
def tiny() -> Callable[..., Transformer]:
    """The builder `tiny_transformer(seed, **config)`."""
    return tiny_transformer


@pytest.fixture(params=FAMILIES)
def any_family(request: pytest.FixtureRequest) -> Transformer:
    """One small model of each family."""
    return tiny_transformer(**FAMILIES[request.param])

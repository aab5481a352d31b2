"""The models that are measured, with random weights, and what they are given to read."""

from dataclasses import asdict, dataclass, replace

import torch

from model.transformer import ModelConfig, Transformer, initialise, rotary_table

TINY = ModelConfig(vocab_size=1024, width=192, layers=6, heads=6, kv_heads=6, mlp=512,
                   head_dim=32, context=1024)
SMALL = ModelConfig(vocab_size=32_000, width=512, layers=8, heads=8, kv_heads=8, mlp=1408,
                    head_dim=64, context=1024)
# The shapes of Llama 3.2 1B and Llama 3 8B.
ONE_B = ModelConfig(vocab_size=128_256, width=2048, layers=16, heads=32, kv_heads=8, mlp=8192,
                    head_dim=64, context=4096, rope_theta=500_000.0)
EIGHT_B = ModelConfig(vocab_size=128_256, width=4096, layers=32, heads=32, kv_heads=8, mlp=14_336,
                      head_dim=128, context=4096, rope_theta=500_000.0, tied=False)


def toy(config: ModelConfig) -> ModelConfig:
    """A model of the same kind that a test can run."""
    return replace(config, vocab_size=min(config.vocab_size, 256), width=32, layers=2, heads=4,
                   kv_heads=4 if config.heads == config.kv_heads else 2, mlp=48, head_dim=8)


def random_model(config: ModelConfig, device: torch.device, dtype: torch.dtype = torch.float32,
                 seed: int = 0) -> Transformer:
    """A model of that shape with random weights, made where it is to stand."""
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    model = model.to_empty(device=device)
    model.table = rotary_table(config).to(device)
    if config.tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    initialise(model, torch.Generator(device).manual_seed(seed))
    return model


def random_tokens(rows: int, length: int, vocab_size: int, seed: int = 0) -> list[list[int]]:
    """Rows of token ids. The first two ids are left out: peers take them for padding and ends."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, vocab_size, (rows, length), generator=generator).tolist()


def described(config: ModelConfig) -> dict[str, object]:
    """The shape of a model as a line states it."""
    names = ("vocab_size", "width", "layers", "heads", "kv_heads", "mlp", "head_dim", "tied")
    return {name: asdict(config)[name] for name in names}


@dataclass(frozen=True)
class Count:
    """Numbers of a model that arithmetic needs."""

    parameters: int
    read: int
    """Parameters that a forward pass multiplies by: all but an embedding that is no head."""


def counted(model: Transformer) -> Count:
    parameters = sum(each.numel() for each in model.parameters())
    embedding = 0 if model.config.tied else model.model.embed_tokens.weight.numel()
    return Count(parameters, parameters - embedding)

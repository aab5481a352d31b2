"""LoRA: models that share one frozen trunk and differ by adapters of low rank (arXiv 2106.09685).

A branch of a model holds the model's own tensors, frozen and not copied, and small matrices of its
own beside some of its projections. Nothing is merged while branches are in use; merging is an
export. So reference, policy, value and preference model take the memory of one model.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.errors import CheckpointError, OptionError
from model.heads import ScalarModel
from model.transformer import Transformer

FILE = "adapter.safetensors"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Model = TypeVar("Model", Transformer, ScalarModel)


@dataclass(frozen=True)
class LoRA:
    """Which adapters are trained, if any. OptionError: out of range."""

    lora_rank: int = 0
    """Rank of adapters that are trained in place of the model itself; 0: none."""
    lora_alpha: float = 16.0
    """Adapters' output is multiplied by this over their rank."""
    lora_targets: tuple[str, ...] = PROJECTIONS
    """Projections that have adapters."""

    def __post_init__(self) -> None:
        if self.lora_rank < 0 or not self.lora_alpha > 0:
            raise OptionError(f"--lora-rank, --lora-alpha: found {self.lora_rank} and "
                              f"{self.lora_alpha}, expected 0 or more and a positive number")
        if not self.lora_targets or set(self.lora_targets) - set(PROJECTIONS):
            raise OptionError(f"--lora-targets: found {' '.join(self.lora_targets) or 'none'}, "
                              f"expected some of {' '.join(PROJECTIONS)}")


class LoRALinear(nn.Module):
    """A frozen projection W and an adapter: W x + scale B A x, with B zero at the start."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator):
        super().__init__()
        outputs, inputs = linear.weight.shape
        a = torch.randn(rank, inputs, generator=generator) * inputs**-0.5
        self.weight, self.bias, self.scale = linear.weight, linear.bias, scale
        self.lora_a = nn.Parameter(a.to(linear.weight.device))
        self.lora_b = nn.Parameter(torch.zeros(outputs, rank, device=linear.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        inside = F.linear(F.linear(x, self.lora_a.to(x.dtype)), self.lora_b.to(x.dtype))
        return F.linear(x, self.weight, self.bias) + self.scale * inside

    def merged(self) -> Tensor:
        """The one matrix that does the same, in the type of the frozen one."""
        with torch.no_grad():
            return (self.weight + self.scale * (self.lora_b @ self.lora_a)).to(self.weight.dtype)


def branch(model: Model, lora: LoRA, generator: torch.Generator | None = None) -> Model:
    """A trainable model that starts as `model`: a copy, or at a rank above 0 one with adapters.

    Then all of `model` but its adapters and its head is frozen and shared. Where it has adapters
    the branch has copies of these, whatever `lora` asks for; else new ones, drawn from `generator`.
    """
    if not lora.lora_rank:
        return copy.deepcopy(model).requires_grad_(True)
    own = {id(p) for name, p in model.named_parameters() if is_own(name)}
    shared = [t for t in (*model.parameters(), *model.buffers()) if id(t) not in own]
    result = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    if not adapters(result):
        _adapt(result, lora, generator or torch.Generator().manual_seed(0))
    for name, parameter in result.named_parameters():
        parameter.requires_grad_(is_own(name))
    return result


def _adapt(model: nn.Module, lora: LoRA, generator: torch.Generator) -> None:
    """Put an adapter beside each target, in place."""
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if name in lora.lora_targets and isinstance(part, nn.Linear):
                scale = lora.lora_alpha / lora.lora_rank
                setattr(module, name, LoRALinear(part, lora.lora_rank, scale, generator))


def is_own(name: str) -> bool:
    """Whether a parameter of this name is a branch's own: an adapter's, or the scalar head's."""
    return ".lora_" in name or name.startswith("head.")


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """The projections that have adapters, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, LoRALinear)}


def learnt_state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name: all that has to be kept of a branch."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def merged_state(model: Transformer) -> dict[str, Tensor]:
    """The state dict of the ordinary model that does the same."""
    state = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    return state | {f"{name}.weight": part.merged() for name, part in adapters(model).items()}


def save_adapters(model: Transformer, folder: Path) -> None:
    """Write the adapters of `model` into `folder`, with the trunk's fingerprint."""
    parts = adapters(model)
    tensors = {f"{name}.{kind}": getattr(part, kind).detach().cpu().contiguous()
               for name, part in parts.items() for kind in ("lora_a", "lora_b")}
    scale = next(iter(parts.values())).scale
    save_file(tensors, folder / FILE, {"scale": repr(scale), "trunk": fingerprint(model)})


def with_adapters(trunk: Transformer, folder: Path) -> Transformer:
    """The frozen branch of `trunk` with the adapters saved in `folder`.

    Raises CheckpointError where there are none, or they belong to another trunk.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise CheckpointError(f"{path}: found no such file, expected adapters of the trunk")
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if about["trunk"] != fingerprint(trunk):
        raise CheckpointError(f"{path}: found adapters of another model than the trunk, expected "
                              "those trained on it")
    rank = next(len(tensor) for name, tensor in tensors.items() if name.endswith("lora_a"))
    targets = {name.split(".")[-2] for name in tensors}
    model = branch(trunk, LoRA(rank, float(about["scale"]) * rank, tuple(sorted(targets))))
    model.load_state_dict(tensors, strict=False)
    return model.requires_grad_(False)


def fingerprint(model: Transformer) -> str:
    """A few of the frozen weights as text: other weights, another text; another type, the same."""
    rows = [block.self_attn.q_proj.weight[0, :8] for block in model.model.layers]
    return " ".join(f"{x:.2e}" for x in torch.cat(rows).to(torch.bfloat16).tolist())

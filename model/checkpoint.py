"""Checkpoints in the Hugging Face layout: config.json, model.safetensors, tokenizer.model."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from model.adapters import FILE, adapters, merged_state, save_adapters, with_adapters
from model.chat import ChatTemplate, ChatTokenizer
from model.errors import CheckpointError
from model.heads import ScalarModel
from model.json_tokenizer import JsonTokenizer
from model.tokenizer import Tokenizer
from model.transformer import ModelConfig, RopeScaling, Transformer, rotary_table

ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
                 "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

AnyTokenizer = Tokenizer | JsonTokenizer | ChatTokenizer


def read_config(folder: Path) -> ModelConfig:
    """The shape of the model in `folder`. Raises CheckpointError, naming file and field."""
    path = Path(folder) / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        family = raw.get("model_type")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: found no such file, expected a checkpoint folder in the "
                              "Hugging Face layout") from None
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: found no JSON object ({error}), expected a config"
                              ) from None
    if not isinstance(family, str) or family not in ARCHITECTURES:
        raise CheckpointError(f"{path}: found model_type {family!r}, expected one of "
                              f"{', '.join(ARCHITECTURES)}")
    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"{path}: found hidden_act {raw['hidden_act']!r}, expected silu")
    try:
        heads, width = raw["num_attention_heads"], raw["hidden_size"]
        rope = raw.get("rope_parameters") or {}
        scaling = raw.get("rope_scaling") or rope
        theta = raw.get("rope_theta", rope.get("rope_theta", 10_000.0))
        config = ModelConfig(
            vocab_size=raw["vocab_size"], width=width, layers=raw["num_hidden_layers"],
            heads=heads, kv_heads=raw.get("num_key_value_heads") or heads,
            mlp=raw["intermediate_size"], head_dim=raw.get("head_dim") or width // heads,
            context=raw["max_position_embeddings"], family=family,
            norm_eps=raw.get("rms_norm_eps", 1e-6), rope_theta=theta,
            rope_scaling=_read_scaling(path, scaling),
            qkv_bias=family == "qwen2" or raw.get("attention_bias", False),
            qk_norm=family == "qwen3", sliding_window=_window(raw),
            tied=raw.get("tie_word_embeddings", False))
        _check_numbers(config)
        return config
    except KeyError as field:
        raise CheckpointError(f"{path}: found no field {field}, expected it") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: found a value that does not fit: {error}") from None


def _check_numbers(config: ModelConfig) -> None:
    """Raise ValueError for a size that is no positive integer, or another number that is none."""
    for name in ("vocab_size", "width", "layers", "heads", "kv_heads", "mlp", "head_dim",
                 "context"):
        if type(size := getattr(config, name)) is not int or not 0 < size < 2**31:
            raise ValueError(f"{name} {size!r}, expected a positive integer")
    for name in ("norm_eps", "rope_theta"):
        if not 0 < getattr(config, name) < float("inf"):
            raise ValueError(f"{name} {getattr(config, name)!r}, expected a positive number")
    if config.head_dim % 2:
        raise ValueError(f"head_dim {config.head_dim}, expected an even number")


def _window(raw: dict) -> int | None:
    """The sliding window of every layer; ValueError where only some layers have one."""
    if not raw.get("use_sliding_window", raw["model_type"] == "mistral"):
        return None
    if raw["model_type"] != "mistral" and raw.get("max_window_layers", 0):
        raise ValueError(f"max_window_layers {raw['max_window_layers']}, expected 0")
    return raw.get("sliding_window", 4096)


def _read_scaling(path: Path, raw: dict) -> RopeScaling | None:
    kind = raw.get("rope_type", raw.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointError(f"{path}: found rope_scaling of type {kind!r}, expected llama3")
    return RopeScaling(raw["factor"], raw["low_freq_factor"], raw["high_freq_factor"],
                       raw["original_max_position_embeddings"])


def hugging_face_config(config: ModelConfig, tokenizer: AnyTokenizer) -> dict:
    """`config` in the field names of the Hugging Face layout."""
    raw = {
        "architectures": [ARCHITECTURES[config.family]], "model_type": config.family,
        "vocab_size": config.vocab_size, "hidden_size": config.width,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads, "intermediate_size": config.mlp,
        "head_dim": config.head_dim, "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps, "rope_theta": config.rope_theta,
        "hidden_act": "silu", "tie_word_embeddings": config.tied,
        "attention_bias": config.qkv_bias, "sliding_window": config.sliding_window,
        "bos_token_id": tokenizer.begin if tokenizer.begin >= 0 else None,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.pad, "torch_dtype": "float32",
    }
    if (scaling := config.rope_scaling) is not None:
        raw["rope_scaling"] = {
            "rope_type": "llama3", "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_context}
    return raw


def load_model(folder: Path, dtype: torch.dtype = torch.float32,
               device: torch.device | str = "cpu", trunk: Transformer | None = None) -> Transformer:
    """The language model in `folder`. Raises CheckpointError for a tensor that does not fit.

    With `trunk` it is a frozen branch of that, with the adapters in `folder`, and no other weights
    are read. Else tensors go straight onto the device, one at a time, each from a file opened for
    it alone, or all that was read of a file would stay in memory beside what it was converted to.
    """
    folder = Path(folder)
    if trunk is not None:
        return with_adapters(trunk, folder)
    config = read_config(folder)
    with torch.device("meta"):
        model = Transformer(config)
    files = _files(folder)
    _check_tensors(model, files, folder)
    for path, names in files.items():
        for name in names:
            if not _is_ignored(name, config):
                with _opened(path, device) as file:
                    tensor = file.get_tensor(name).to(dtype)
                model.load_state_dict({name: tensor}, strict=False, assign=True)
    model.table = rotary_table(config).to(device)
    if config.tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


def load_scalar_model(folder: Path, device: torch.device | str = "cpu",
                      dtype: torch.dtype = torch.float32,
                      trunk: Transformer | None = None) -> ScalarModel:
    """The preference or value model in `folder`: a model with the two tensors of its head."""
    model = ScalarModel(load_model(folder, dtype, device, trunk))
    path = Path(folder) / "head.safetensors"
    if not path.exists():
        raise CheckpointError(f"{path}: found no such file, expected the head of a preference "
                              "model")
    try:
        model.head.load_state_dict(load_file(path, device=str(device)))
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path}: found no head of width {model.config.width} "
                              f"({' '.join(str(error).split())})") from None
    return model.to(device)


def load_tokenizer(folder: Path) -> AnyTokenizer:
    """The tokenizer in a checkpoint folder: tokenizer.model, or else tokenizer.json.

    Where the folder has a chat template, dialogues are rendered by it.
    """
    folder = Path(folder)
    has_json = (folder / "tokenizer.json").exists()
    if has_json and not (folder / "tokenizer.model").exists():
        tokenizer = JsonTokenizer(folder / "tokenizer.json")
    else:
        tokenizer = Tokenizer(folder / "tokenizer.model")
    if tokenizer.end < 0:
        raise CheckpointError(f"{folder}: found a tokenizer without an end token, expected "
                              "eos_token in tokenizer_config.json")
    if (template := tokenizer.marks.template) is None:
        return tokenizer
    try:
        return ChatTokenizer(tokenizer, ChatTemplate(template, tokenizer.marks.names))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def same_tokenizer(one: AnyTokenizer, other: AnyTokenizer) -> bool:
    """Whether two tokenizers are made of the same file, so that one model's ids mean the other's.
    """
    return one.path.read_bytes() == other.path.read_bytes()


def save_model(model: Transformer | ScalarModel, folder: Path, tokenizer: AnyTokenizer) -> None:
    """Write `model` with its tokenizer into `folder`; what stood there under these names goes.

    Adapters are merged into what is written, and written once more by themselves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trunk = model.transformer if isinstance(model, ScalarModel) else model
    tensors = {name: tensor.detach().cpu().contiguous()
               for name, tensor in merged_state(trunk).items()
               if not (trunk.config.tied and name == "lm_head.weight")}
    _save(tensors, folder / "model.safetensors")
    (folder / FILE).unlink(missing_ok=True)
    if adapters(trunk):
        save_adapters(trunk, folder)
    if isinstance(model, ScalarModel):
        _save(model.head.state_dict(), folder / "head.safetensors")
    raw = hugging_face_config(trunk.config, tokenizer)
    raw["torch_dtype"] = str(trunk.lm_head.weight.dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    tokenizer.save(folder)


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    beside = path.with_suffix(".partial")
    save_file(tensors, beside, metadata={"format": "pt"})
    beside.replace(path)


def _files(folder: Path) -> dict[Path, list[str]]:
    """The names of the tensors in each weight file of `folder`."""
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        try:
            named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            names = sorted({str(name) for name in named})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index}: found no weight_map ({error!r}), expected the names "
                                  "of the weight files") from None
    files = {}
    for name in names:
        with _opened(folder / name) as file:
            files[folder / name] = list(file.keys())
    return files


def _opened(path: Path, device: torch.device | str = "cpu") -> safe_open:
    try:
        return safe_open(path, framework="pt", device=str(device))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: found no such file, expected the weights") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: found no readable weights ({error}), expected "
                              "safetensors") from None


def _is_ignored(name: str, config: ModelConfig) -> bool:
    """Whether a tensor may stand in a checkpoint without being read: it follows from the others."""
    return name.endswith("rotary_emb.inv_freq") or config.tied and name == "lm_head.weight"


def _check_tensors(model: Transformer, files: dict[Path, list[str]], folder: Path) -> None:
    """Raise CheckpointError for the first tensor that is missing, not wanted, or of another shape.

    Nothing but the heads of the files is read.
    """
    wanted = {name: list(parameter.shape)
              for name, parameter in model.named_parameters(remove_duplicate=False)
              if not _is_ignored(name, model.config)}
    found = {}
    for path, names in files.items():
        with _opened(path) as file:
            found |= {name: list(file.get_slice(name).get_shape()) for name in names
                      if not _is_ignored(name, model.config)}
    for name in sorted(wanted | found):
        if name not in wanted:
            raise CheckpointError(f"{folder}: found tensor {name}, expected none of that name")
        if name not in found:
            raise CheckpointError(f"{folder}: found no tensor {name}, expected one of shape "
                                  f"{wanted[name]}")
        if found[name] != wanted[name]:
            raise CheckpointError(f"{folder}: found tensor {name} of shape {found[name]}, "
                                  f"expected {wanted[name]}")

"""How far resident memory grows while a model is loaded: python tests/measure_loading.py

Makes a random checkpoint of about `--billions` parameters in bfloat16, loads it in a process of its
own, and prints one JSON object: bytes of the weights, growth after the imports at its highest, and
their ratio. It is no test: it writes gigabytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
CONFIG = {"model_type": "llama", "vocab_size": 32_000, "hidden_size": 2048,
          "intermediate_size": 5632, "num_attention_heads": 32, "num_key_value_heads": 8,
          "max_position_embeddings": 4096, "tie_word_embeddings": False}
LOAD = """
import re, sys
sys.path.insert(0, sys.argv[1])
import torch
from model.checkpoint import load_model
def peak():  # not getrusage, whose peak begins with that of the process which started this one
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
before = peak()
model = load_model(sys.argv[2], getattr(torch, sys.argv[3]))
touched = [parameter.detach().view(-1)[::1024].float().sum() for parameter in model.parameters()]
size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
print(size, peak() - before)
"""


def write(folder: Path, billions: float) -> None:
    """A checkpoint with as many layers as it takes, its tensors drawn one at a time."""
    width, mlp = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (width // 4, width),
              "self_attn.v_proj": (width // 4, width), "self_attn.o_proj": (width, width),
              "mlp.gate_proj": (mlp, width), "mlp.up_proj": (mlp, width),
              "mlp.down_proj": (width, mlp), "input_layernorm": (width,),
              "post_attention_layernorm": (width,)}
    layer = sum(torch.Size(shape).numel() for shape in shapes.values())
    ends = 2 * CONFIG["vocab_size"] * width
    layers = max(1, round((billions * 1e9 - ends) / layer))
    tensors = {f"model.layers.{n}.{name}.weight": shape for n in range(layers)
               for name, shape in shapes.items()}
    tensors |= {"model.embed_tokens.weight": (CONFIG["vocab_size"], width),
                "lm_head.weight": (CONFIG["vocab_size"], width), "model.norm.weight": (width,)}
    save_file({name: torch.empty(shape, dtype=torch.bfloat16).normal_()
               for name, shape in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))


def main() -> None:
    """Write, load, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--billions", type=float, default=1.0)
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.billions)
        done = subprocess.run([sys.executable, "-c", LOAD, str(ROOT), folder, options.dtype],
                              capture_output=True, text=True, check=True)
    size, growth = map(int, done.stdout.split())
    print(json.dumps({"dtype": options.dtype, "weights": size, "growth": growth,
                      "ratio": round(growth / size, 3)}))


if __name__ == "__main__":
    main()

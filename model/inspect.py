"""Does a checkpoint load right?  python -m model.inspect DIR [--prompt TEXT --greedy N]

Prints one JSON object; a checkpoint or prompt that will not do gets one line and exit status 2.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from model.checkpoint import load_model, load_tokenizer
from model.errors import CheckpointError
from model.generate import generate
from model.sampling import Sampling
from model.scoring import score_continuations


def inspect(folder: Path, prompt: str = "", greedy: int = 0,
            dtype: torch.dtype = torch.float32) -> dict[str, object]:
    """What the checkpoint in `folder` is and what it makes of `prompt`.

    family, parameters (tied ones once) and the dtype it was loaded in; the prompt's ids, begin
    token first; `nll`, the mean negative log-likelihood in nats of the ids after the first, None
    where there is none; `greedy` likeliest tokens that follow, fewer where the end token comes.
    Raises CheckpointError for a bad checkpoint, ValueError for a prompt that does not fit.
    """
    model, tokenizer = load_model(folder, dtype).eval(), load_tokenizer(folder)
    if len(tokenizer) > model.config.vocab_size:
        raise CheckpointError(f"{folder}: found a tokenizer of {len(tokenizer)} pieces, expected "
                              f"at most the model's {model.config.vocab_size}")
    ids, nll, continuation = tokenizer.encode(prompt), None, []
    if len(ids) > 1:
        nll = -score_continuations(model, [ids[:1]], [ids[1:]])[0].mean().item()
    if greedy:
        sampling = Sampling(greedy, temperature=0)
        continuation = generate(model, [ids], sampling, torch.zeros(1, greedy).double(),
                                [tokenizer.end])[0].tokens
    return {"family": model.config.family,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "dtype": str(dtype).removeprefix("torch."), "ids": ids, "nll": nll,
            "greedy_ids": continuation, "greedy_text": tokenizer.decode_more(continuation)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.inspect", description=(
        "Load a checkpoint in the Hugging Face layout and print what it is as one JSON object."))
    parser.add_argument("folder", type=Path, metavar="DIR", help="config, weights and tokenizer")
    parser.add_argument("--prompt", default="", help="text to score and to continue")
    parser.add_argument("--greedy", type=int, default=0, metavar="N",
                        help="how many of the likeliest tokens to add to it (default none)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32",
                        help="what the weights are loaded in (default float32)")
    options = parser.parse_args(arguments)
    try:
        figures = inspect(options.folder, options.prompt, options.greedy,
                          getattr(torch, options.dtype))
    except (CheckpointError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(json.dumps(figures, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

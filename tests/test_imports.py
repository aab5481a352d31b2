"""The walls between the rooms: who may import whom, read from the source itself."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each room may import besides the standard library.
ROOMS = {
    "model": {"model", "torch", "einops", "sentencepiece", "safetensors", "jinja2"},
    "cai": {"cai", "numpy"},
    "rl": {"rl", "model", "torch"},
    "training": {"training", "model", "torch", "tyro", "tqdm", "wandb"},
    "world": {"world", "numpy"},
}
# (file, module) pairs that a room's row does not grant: `model` joins `cai` only where a command
# asks for one.
GRANTED = {("cai/plotting.py", "matplotlib"), ("cai/collective/look.py", "matplotlib"),
           ("cai/collective/__main__.py", "model"), ("model/json_tokenizer.py", "tokenizers")}
# Imported only where they are asked for.
DEFERRED = {"wandb", "tokenizers", "transformers", "trl", "datasets"}
SCRIPTS = {"train_base", "make_prompts", "make_revisions", "train_sl", "make_comparisons",
           "train_pm", "train_ppo", "evaluate", "run_cai", "chat"}
ASK_SCRIPTS = ("benchmarks", "experiments", "tests")
# Who may know the truth, and who may ask those that see it through noise.
KEEPERS = {
    "world.truth": ("world/people.py", "evaluate.py", "experiments/measure.py", "tests/"),
    "world.people": ("make_comparisons.py", "evaluate.py", "experiments/absolute_harm.py",
                     "tests/"),
}
WORLD_MAY_USE = "cai.records"


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file below `root` as (its path in the repository, its syntax tree)."""
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith((".", "runs/")):
            yield name, ast.parse(path.read_text())


def modules_of(node: ast.AST) -> list[str]:
    """The modules an import names; `from a import b` may mean a or a.b: both are named."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["(a relative import)"]
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call):
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        if called in ("__import__", "import_module"):
            return [f"(an import by {called})"]
    return []


def room_faults(name: str, module: str) -> Iterator[str]:
    """What is wrong with file `name` importing `module`, by the walls of its room."""
    room, top = name.split("/")[0], module.split(".")[0]
    if module.startswith("("):
        yield "the rules cannot be read from it"
    elif room in ROOMS and top not in ROOMS[room] | sys.stdlib_module_names:
        allowed_here = (name, top) in GRANTED
        if not allowed_here and not (room == "world" and module.startswith(WORLD_MAY_USE)):
            yield f"not for {room}/"
    if top in SCRIPTS and name != "run_cai.py" and room not in ASK_SCRIPTS:
        yield f"a script is imported by run_cai.py and {', '.join(ASK_SCRIPTS)} alone"
    for kept, keepers in KEEPERS.items():
        if module == kept and not name.startswith(keepers):
            yield f"{kept} is for {', '.join(keepers)}"


def faults(root: Path) -> list[str]:
    """Every import below `root` that crosses a wall."""
    found = []
    for name, tree in sources(root):
        deferred = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                    for inner in ast.walk(node)}
        for node in ast.walk(tree):
            # `from cai.records import X` names cai.records and cai.records.X; both must pass, but
            # `from cai import records` names the bare cai, which is then no more than a package.
            modules = modules_of(node)
            if isinstance(node, ast.ImportFrom) and "." not in modules[0] and not node.level:
                modules = modules[1:]
            for module in modules:
                found += [f"{name}:{node.lineno}: {module}: {why}"
                          for why in room_faults(name, module)]
                asked_for = id(node) in deferred or name.startswith("tests/")
                if module.split(".")[0] in DEFERRED and not asked_for:
                    found.append(f"{name}:{node.lineno}: {module} is imported only when asked for")
    return found


def test_no_import_crosses_a_wall() -> None:
    read = [name for name, _ in sources(ROOT)]
    assert {"model/transformer.py", "cai/records.py", "rl/update.py", "world/truth.py"} <= {*read}
    assert faults(ROOT) == []


def test_top_level_holds_the_scripts_alone() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} <= SCRIPTS


@pytest.mark.parametrize(("name", "line"), [
    ("model/new.py", "from cai.records import Prompt"),
    ("model/new.py", "import rl.update"),
    ("model/new.py", "import numpy as np"),
    ("cai/new.py", "import rl"),
    ("cai/new.py", "from model import scoring"),
    ("cai/elo.py", "import matplotlib.pyplot as plt"),
    ("cai/collective/group.py", "from model.text import Sampler"),
    ("rl/new.py", "from cai import records"),
    ("rl/new.py", "def f():\n    import training.options"),
    ("training/new.py", "from world.corpus import documents"),
    ("training/new.py", "try:\n    import wandb\nexcept ImportError:\n    pass"),
    ("training/new.py", "import numpy"),
    ("model/json_tokenizer.py", "import tokenizers"),
    ("model/new.py", "def f():\n    import tokenizers"),
    ("world/new.py", "from cai.formats import conversation"),
    ("world/new.py", "from cai import formats"),
    ("world/corpus.py", "from world import truth"),
    ("world/corpus.py", "from world.truth import grade"),
    ("train_ppo.py", "import world.truth"),
    ("train_pm.py", "from world.people import vote"),
    ("experiments/dpo.py", "from world import truth"),
    ("train_pm.py", "from train_sl import main"),
    ("training/new.py", "import train_sl"),
    ("training/new.py", "from benchmarks import measure"),
    ("benchmarks/new.py", "import transformers"),
    ("benchmarks/new.py", "from trl import RewardTrainer"),
    ("benchmarks/new.py", "from world.truth import grade"),
    ("rl/new.py", "import importlib\nx = importlib.import_module('cai')"),
    ("rl/new.py", "from . import reward"),
])
def test_a_crossing_is_seen(tmp_path: Path, name: str, line: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n")
    assert len(faults(tmp_path)) >= 1
    assert faults(tmp_path)[0].startswith(name)


@pytest.mark.parametrize(("name", "line"), [
    ("model/new.py", "import json\nfrom safetensors.torch import load_file"),
    ("cai/plotting.py", "import matplotlib.pyplot as plt"),
    ("rl/new.py", "from model import scoring"),
    ("training/new.py", "def f():\n    import wandb"),
    ("world/new.py", "from cai.records import Prompt"),
    ("world/new.py", "from cai import records"),
    ("world/people.py", "from world import truth"),
    ("evaluate.py", "from world.truth import grade\nfrom world import people"),
    ("make_comparisons.py", "from world.people import vote"),
    ("run_cai.py", "import train_sl\nfrom rl import update\nfrom world import corpus"),
    ("tests/test_new.py", "import train_sl\nimport world.truth"),
    ("benchmarks/new.py", "import train_pm\ndef f():\n    import transformers"),
])
def test_a_door_is_open(tmp_path: Path, name: str, line: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n")
    assert faults(tmp_path) == []

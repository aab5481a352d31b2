"""Checkpoints: a real one gives its known numbers; what is written is read; defects are told."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from model.checkpoint import (
    load_model,
    load_scalar_model,
    load_tokenizer,
    save_model,
)
from model.errors import CheckpointError
from model.heads import ScalarModel
from model.inspect import inspect, main
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import RopeScaling, Transformer

STORIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "stories260K"
stories = pytest.mark.skipif(not STORIES.is_dir(), reason=f"no real checkpoint at {STORIES}")
WORDS = "the cat sat on a mat and looked at the bird"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return train_tokenizer([WORDS] * 30, path, ["\n\nHuman:", "\n\nAssistant:"])


@pytest.fixture
def saved(tiny, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A whole untied checkpoint that a test may damage."""
    save_model(tiny(vocab_size=len(tokenizer), tied=False), tmp_path / "saved", tokenizer)
    return tmp_path / "saved"


def logits_of(model: Transformer) -> torch.Tensor:
    tokens = torch.arange(36).view(2, 18) % model.config.vocab_size
    with torch.no_grad():
        return model.logits(model(tokens))


def reference() -> dict:
    return json.loads((STORIES / "reference.json").read_text())


@stories
@pytest.mark.parametrize("case", range(3))
def test_a_real_checkpoint_gives_its_known_numbers(case: int) -> None:
    wanted = reference()["nll"][case]
    found = inspect(STORIES / "hf", wanted["text"])
    assert found["ids"] == wanted["ids"]
    assert found["nll"] == pytest.approx(wanted["mean_nll"], abs=1e-4)
    model = load_model(STORIES / "hf")
    with torch.no_grad():
        last = model.logits(model(torch.tensor([wanted["ids"]]))[0, -1])[:8]
    known = torch.tensor(wanted["last_position_logits_first8"])
    torch.testing.assert_close(last, known, rtol=0, atol=1e-3)


@stories
@pytest.mark.parametrize("case", range(3))
def test_a_real_checkpoint_continues_as_known(case: int) -> None:
    wanted = reference()["greedy"][case]
    found = inspect(STORIES / "hf", wanted["prompt"], len(wanted["generated_ids"]))
    assert (found["family"], found["parameters"], found["dtype"]) == ("llama", 260_032, "float32")
    assert found["ids"] == wanted["prompt_ids"]
    assert found["greedy_ids"] == wanted["generated_ids"]
    assert wanted["prompt"] + found["greedy_text"] == wanted["text"]


@stories
def test_a_real_checkpoint_survives_a_round_trip(tmp_path: Path) -> None:
    model = load_model(STORIES / "hf")
    save_model(model, tmp_path, load_tokenizer(STORIES / "hf"))
    known, written = (load_file(folder / "model.safetensors") for folder in
                      (STORIES / "hf", tmp_path))
    assert {**known}.keys() == {**written}.keys()
    assert all(torch.equal(known[name], written[name]) for name in known)
    assert torch.equal(logits_of(load_model(tmp_path)), logits_of(model))


def test_transformers_reads_what_is_written(any_family, tokenizer, tmp_path: Path) -> None:
    save_model(any_family, tmp_path, tokenizer)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = model(torch.arange(36).view(2, 18)).logits
    assert (theirs - logits_of(any_family)).abs().max() <= 1e-4
    assert load_model(tmp_path).config == any_family.config
    assert torch.equal(logits_of(load_model(tmp_path)), logits_of(any_family))


def test_what_transformers_writes_is_read(any_family, tokenizer, tmp_path: Path) -> None:
    save_model(any_family, tmp_path / "ours", tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    loaded = load_model(tmp_path / "theirs")
    assert loaded.config == any_family.config
    assert torch.equal(logits_of(loaded), logits_of(any_family))


def test_rope_scaling_and_base_survive_both_ways(tiny, tokenizer, tmp_path: Path) -> None:
    model = tiny(rope_theta=5e5, rope_scaling=RopeScaling(4.0, 1.0, 4.0, 16))
    save_model(model, tmp_path, tokenizer)
    assert load_model(tmp_path).config == model.config
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = theirs(torch.arange(36).view(2, 18)).logits
    assert (logits - logits_of(model)).abs().max() <= 1e-4
    theirs.save_pretrained(tmp_path / "theirs")
    assert load_model(tmp_path / "theirs").config == model.config


def test_a_half_precision_checkpoint_keeps_its_dtype(saved: Path, tokenizer, tmp_path) -> None:
    half = load_model(saved, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    save_model(half, tmp_path / "half", tokenizer)
    assert {t.dtype for t in load_file(tmp_path / "half/model.safetensors").values()} == {
        torch.bfloat16}
    assert json.loads((tmp_path / "half/config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {p.dtype for p in load_model(tmp_path / "half").parameters()} == {torch.float32}


def test_tied_weights_are_stored_once_and_stay_tied(tiny, tokenizer, tmp_path: Path) -> None:
    save_model(tiny(), tmp_path, tokenizer)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model = load_model(tmp_path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_scalar_model_survives_a_round_trip(tiny, tokenizer, tmp_path: Path) -> None:
    model = ScalarModel(tiny())
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.head.bias)
    save_model(model, tmp_path, tokenizer)
    tokens = torch.arange(36).view(2, 18)
    with torch.no_grad():
        assert torch.equal(load_scalar_model(tmp_path)(tokens), model(tokens))
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match="head.safetensors: found no such file"):
        load_scalar_model(tmp_path)
    for content in ({"weight": torch.zeros(1, 31), "bias": torch.zeros(1)}, {}):
        save_file(content, tmp_path / "head.safetensors")
        with pytest.raises(CheckpointError, match="head.safetensors: found no head of width 32"):
            load_scalar_model(tmp_path)


def edit_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder: Path, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


DEFECTS = {
    "no folder": (shutil.rmtree, "config.json: found no such file"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: found no such file"),
    "config no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: found no JSON"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "config.json: found "),
    "config without a field": (lambda f: edit_config(f, lambda c: c.pop("hidden_size")),
                               "config.json: found no field 'hidden_size'"),
    "config of another family": (lambda f: edit_config(f, lambda c: c.update(model_type="gpt2")),
                                 "config.json: found model_type 'gpt2', expected one of llama"),
    "config with a word for a number": (
        lambda f: edit_config(f, lambda c: c.update(num_attention_heads="four")),
        "config.json: found a value that does not fit"),
    "config with another stretching": (
        lambda f: edit_config(f, lambda c: c.update(rope_scaling={"rope_type": "yarn"})),
        "config.json: found rope_scaling of type 'yarn', expected llama3"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(),
                   "model.safetensors: found no such file"),
    "weights no safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"pickle" * 9),
                               "model.safetensors: found no readable weights"),
    "index no JSON": (lambda f: (f / "model.safetensors.index.json").write_text("{"),
                      "model.safetensors.index.json: found "),
    "index without a map": (lambda f: (f / "model.safetensors.index.json").write_text("{}"),
                            "model.safetensors.index.json: found "),
    "tensor missing": (lambda f: edit_tensors(f, lambda t: t.pop("model.norm.weight")),
                       r"found no tensor model.norm.weight, expected one of shape \[32\]"),
    "tensor extra": (lambda f: edit_tensors(f, lambda t: t.update(more=torch.zeros(1))),
                     "found tensor more, expected none of that name"),
    "tensor misshapen": (
        lambda f: edit_tensors(f, lambda t: t.update({"model.norm.weight": torch.ones(31)})),
        r"found tensor model.norm.weight of shape \[31\], expected \[32\]"),
    "no tokenizer": (lambda f: (f / "tokenizer.model").unlink(),
                     "tokenizer.model: found no readable sentencepiece model"),
    "tokenizer no sentencepiece": (lambda f: (f / "tokenizer.model").write_bytes(b"words"),
                                   "tokenizer.model: found no readable sentencepiece model"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_gets_one_clear_line(saved: Path, defect: str,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    damage, message = DEFECTS[defect]
    assert main([str(saved)]) == 0
    capsys.readouterr()
    damage(saved)
    with pytest.raises(CheckpointError, match=message):
        if "tokenizer" in defect:
            load_tokenizer(saved)
        load_model(saved)
    assert main([str(saved)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and str(saved) in err


def test_inspect_prints_one_json_object(saved: Path, tokenizer, capsys) -> None:
    assert main([str(saved), "--prompt", "the cat", "--greedy", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [*found] == ["family", "parameters", "dtype", "ids", "nll", "greedy_ids", "greedy_text"]
    assert found["ids"] == tokenizer.encode("the cat") and found["ids"][0] == tokenizer.begin
    model, ids = load_model(saved), torch.tensor([found["ids"]])
    with torch.no_grad():
        logits = model.logits(model(ids))[0]
    wanted = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:]).item()
    assert found["nll"] == pytest.approx(wanted, abs=1e-5)
    assert found["greedy_ids"][0] == logits[-1].argmax().item()
    assert main([str(saved)]) == 0
    bare = json.loads(capsys.readouterr().out)
    assert (bare["ids"], bare["nll"], bare["greedy_ids"]) == ([tokenizer.begin], None, [])


@pytest.mark.parametrize("asked", [["--greedy", "64"], ["--greedy", "-1"],
                                   ["--prompt", "cat " * 70]], ids=str)
def test_inspect_refuses_what_does_not_fit(saved: Path, asked: list[str], capsys) -> None:
    assert main([str(saved), *asked]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


def test_inspect_refuses_a_tokenizer_with_more_pieces_than_the_model(tiny, tokenizer, tmp_path,
                                                                     capsys) -> None:
    save_model(tiny(vocab_size=len(tokenizer) - 1), tmp_path, tokenizer)
    assert main([str(tmp_path)]) == 2
    assert f"a tokenizer of {len(tokenizer)} pieces" in capsys.readouterr().err

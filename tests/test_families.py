"""Every family as transformers makes it: read by us, continued alike, written back, read by it."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from model.checkpoint import load_model, load_tokenizer, save_model
from model.errors import CheckpointError
from model.generate import generate
from model.inspect import inspect
from model.sampling import Sampling
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import RopeScaling

STORIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "stories260K"
TOLERANCE = 1e-4
SHAPE = {"vocab_size": 260, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 56, "max_position_embeddings": 128, "pad_token_id": None,
         "bos_token_id": 1, "eos_token_id": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
FAMILIES = {
    "Llama 2": {"model_type": "llama", "num_key_value_heads": 4, "rms_norm_eps": 1e-5},
    "Llama 3": {"model_type": "llama", "num_key_value_heads": 2, "rope_parameters": {
        "rope_type": "default", "rope_theta": 500_000.0}},
    "Llama 3.1": {"model_type": "llama", "num_key_value_heads": 2, "rope_parameters": LLAMA3},
    "Llama 3.2": {"model_type": "llama", "num_key_value_heads": 1, "rope_parameters": LLAMA3,
                  "tie_word_embeddings": True, "head_dim": 16},
    "TinyLlama": {"model_type": "llama", "num_key_value_heads": 1, "rms_norm_eps": 1e-5},
    "SmolLM2": {"model_type": "llama", "num_key_value_heads": 2, "tie_word_embeddings": True,
                "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}},
    "Mistral 0.1": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 16},
    "Mistral 0.2": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": None,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "Qwen2": {"model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True},
    "Qwen2.5": {"model_type": "qwen2", "num_key_value_heads": 1, "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e6}},
    "Qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 12},
    "Qwen3 tied": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8,
                   "tie_word_embeddings": True},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return train_tokenizer(["the cat sat on a mat"] * 30, path, ["\n\nHuman:"])


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> tuple[Path, transformers.PreTrainedModel]:
    """The folder that transformers wrote of a random model, and that model."""
    config = {**SHAPE, **FAMILIES[request.param]}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config), attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Large enough that a slip anywhere shows; norms and biases too.
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.25)
    folder = tmp_path_factory.mktemp("family") / "model"
    model.save_pretrained(folder, max_shard_size="40KB")
    assert (folder / "model.safetensors.index.json").exists()
    return folder, model


def random_tokens(B: int, T: int) -> torch.Tensor:
    return torch.randint(3, 260, (B, T), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_logits_equal_with_padding_on_either_side(family) -> None:
    folder, theirs = family
    ours, tokens = load_model(folder), random_tokens(3, 40)
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1, :9], mask[2, 31:] = False, False
    positions = (mask.long().cumsum(-1) - 1).clamp_min(0)
    wanted = theirs(tokens, attention_mask=mask.long(), position_ids=positions).logits
    found = ours.logits(ours(tokens, mask))
    assert wanted[mask].std() > 0.5
    assert (found - wanted)[mask].abs().max() <= TOLERANCE


@torch.no_grad()
def test_greedy_continuations_are_identical_over_64_tokens(family) -> None:
    folder, theirs = family
    ours, prompts = load_model(folder), [random_tokens(1, T)[0].tolist() for T in (1, 7, 30, 50)]
    done = generate(ours, prompts, Sampling(64, temperature=0), torch.zeros(4, 64).double(), [])
    for prompt, each in zip(prompts, done, strict=True):
        wanted = theirs.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=64, eos_token_id=None,
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long))
        assert [*prompt, *each.tokens] == wanted[0].tolist()
        cached = theirs(wanted).logits.log_softmax(-1)[0, len(prompt) - 1:-1]
        wanted_logprobs = cached.gather(-1, wanted[0, len(prompt):, None])[:, 0]
        assert (torch.tensor(each.logprobs) - wanted_logprobs).abs().max() <= TOLERANCE


@torch.no_grad()
def test_what_we_write_transformers_reads(family, tokenizer, tmp_path: Path) -> None:
    folder, theirs = family
    ours, tokens = load_model(folder), random_tokens(2, 30)
    save_model(ours, tmp_path, tokenizer)
    again = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager").eval()
    assert type(again) is type(theirs)
    assert (again(tokens).logits - theirs(tokens).logits).abs().max() <= 1e-6
    assert load_model(tmp_path).config == ours.config


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_read_in_any_precision(family, tokenizer, tmp_path, dtype) -> None:
    folder, theirs = family
    theirs.to(dtype).save_pretrained(tmp_path)
    weights = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(load_model(folder).state_dict())
    theirs.float()
    for loaded in (dtype, torch.float32):
        found = load_model(tmp_path, loaded).state_dict()
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name].to(loaded)) for name in weights)


@pytest.mark.parametrize(("change", "found"), [
    ({"hidden_act": "gelu"}, "hidden_act 'gelu', expected silu"),
    ({"model_type": "gemma2"}, "model_type 'gemma2', expected one of llama"),
    ({"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2,
      "model_type": "qwen2"}, "max_window_layers 2, expected 0"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling of type 'linear'"),
])
def test_what_is_not_known_is_named(tmp_path: Path, change: dict, found: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(
        {**SHAPE, "model_type": "llama", "rope_parameters": None, **change}))
    with pytest.raises(CheckpointError, match=found) as caught:
        load_model(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value) and "\n" not in str(caught.value)


def test_no_config_ends_in_a_traceback(tiny, tokenizer, tmp_path: Path) -> None:
    """Each field taken out, or made another thing: the model loads, or one line says why not."""
    save_model(tiny(vocab_size=len(tokenizer), rope_scaling=RopeScaling(4.0, 1.0, 4.0, 16)),
               tmp_path, tokenizer)
    path, told = tmp_path / "config.json", 0
    known = json.loads(path.read_text())
    for field in known:
        for value in (..., None, 0, -1, 3, 2.5, "x", [], {}, True, 1e400, 10**12):
            path.write_text(json.dumps({name: value if name == field else each
                                        for name, each in known.items()
                                        if name != field or value is not ...}))
            try:
                load_model(tmp_path)
            except CheckpointError as error:
                told += 1
                assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert told > 60


def test_rotary_tables_that_older_files_hold_are_passed_over(tiny, tokenizer, tmp_path) -> None:
    save_model(tiny(vocab_size=len(tokenizer)), tmp_path, tokenizer)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    assert load_model(tmp_path).config.tied


@pytest.mark.skipif(not STORIES.is_dir(), reason=f"no real checkpoint at {STORIES}")
def test_a_sharded_bfloat16_copy_of_a_real_checkpoint(tmp_path: Path) -> None:
    """The known ids exactly; the known numbers as closely as eight bits of mantissa allow."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(STORIES / "hf")
    theirs.to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="200KB")
    load_tokenizer(STORIES / "hf").save(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    rounded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ours = load_model(tmp_path)
    for wanted in json.loads((STORIES / "reference.json").read_text())["nll"]:
        found = inspect(tmp_path, wanted["text"])
        assert found["ids"] == wanted["ids"]
        ids = torch.tensor([wanted["ids"]])
        with torch.no_grad():
            logits = ours.logits(ours(ids))
            same = rounded(ids).logits
        assert (logits - same).abs().max() <= TOLERANCE
        nll = torch.nn.functional.cross_entropy(same[0, :-1], ids[0, 1:]).item()
        assert found["nll"] == pytest.approx(nll, abs=1e-4)
        assert found["nll"] == pytest.approx(wanted["mean_nll"], abs=0.02)
        known = torch.tensor(wanted["last_position_logits_first8"])
        torch.testing.assert_close(logits[0, -1, :8], known, rtol=0, atol=0.3)

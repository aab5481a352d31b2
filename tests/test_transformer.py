"""The decoder against an independent one, under padding, and under the compiler."""

from collections.abc import Callable

import pytest
import torch
import transformers
from torch import nn

from model.adapters import LoRALinear
from model.cache import KVCache
from model.norm import RMSNorm, weighed
from model.sharing import pack, pack_alike
from model.transformer import RopeScaling, Transformer, initialise, rotary_table

TOLERANCE = 1e-4
LLAMA3 = RopeScaling(factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=16)


def random_tokens(B: int, T: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 40, (B, T), generator=torch.Generator().manual_seed(seed))


def reference_logits(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of transformers' model of the same family, shape and weights."""
    config = model.config
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_scaling is not None:
        rope = {"rope_type": "llama3", "rope_theta": config.rope_theta,
                "factor": config.rope_scaling.factor,
                "low_freq_factor": config.rope_scaling.low_freq_factor,
                "high_freq_factor": config.rope_scaling.high_freq_factor,
                "original_max_position_embeddings": config.rope_scaling.original_context}
    settings = transformers.AutoConfig.for_model(
        config.family, vocab_size=config.vocab_size, hidden_size=config.width,
        num_hidden_layers=config.layers, num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads, intermediate_size=config.mlp,
        head_dim=config.head_dim, max_position_embeddings=config.context,
        rms_norm_eps=config.norm_eps, tie_word_embeddings=config.tied, rope_parameters=rope,
        sliding_window=config.sliding_window, attn_implementation="eager",
        bos_token_id=1, eos_token_id=2, pad_token_id=0)
    reference = transformers.AutoModelForCausalLM.from_config(settings).float().eval()
    reference.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        return reference(tokens).logits


def assert_equal_logits(model: Transformer) -> None:
    tokens = random_tokens(3, 48)
    with torch.no_grad():
        logits = model.logits(model(tokens))
    assert logits.std() > 0.5
    assert (logits - reference_logits(model, tokens)).abs().max() <= TOLERANCE


def test_logits_equal_transformers_in_each_family(any_family: Transformer) -> None:
    assert_equal_logits(any_family)


@pytest.mark.parametrize("change", [
    {"kv_heads": 4}, {"kv_heads": 1}, {"rope_theta": 500.0}, {"norm_eps": 0.1},
    {"rope_scaling": LLAMA3}, {"rope_scaling": LLAMA3, "rope_theta": 500_000.0, "tied": False},
], ids=str)
def test_logits_equal_transformers_for_each_option(tiny, change: dict) -> None:
    assert_equal_logits(tiny(**change))


def test_rope_scaling_keeps_fast_frequencies_and_divides_slow_ones(tiny) -> None:
    plain = rotary_table(tiny(head_dim=16).config)
    scaled = rotary_table(tiny(head_dim=16, rope_scaling=LLAMA3).config)
    angle, stretched = (t[1, 1, 8:].asin().double() for t in (plain, scaled))
    turns = 16 * 10_000.0 ** (-torch.arange(0, 16, 2) / 16) / (2 * torch.pi)
    kept, slow = turns > 4, turns < 1
    assert slow.any() and (~slow & ~kept).any()
    torch.testing.assert_close(stretched[slow], angle[slow] / 4, rtol=1e-5, atol=0)
    assert (stretched[~slow] > angle[~slow] / 4).all()


@pytest.mark.parametrize("shape", [(3, 16), (2, 3, 5, 16)])
def test_the_norm_and_its_gradient_equal_the_composed_operator(shape: tuple) -> None:
    generator = torch.Generator().manual_seed(0)
    x, slope = (torch.randn(shape, generator=generator) for _ in range(2))
    x.requires_grad_(True)
    norm = RMSNorm(16, eps=0.1)
    norm.weight.data.normal_(generator=generator)
    ours = norm(x)
    reference = torch.nn.functional.rms_norm(x, (16,), norm.weight, 0.1)
    torch.testing.assert_close(ours, reference)
    for got, expected in zip(*(torch.autograd.grad(y, (x, norm.weight), slope)
                               for y in (ours, reference)), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", [nn.Linear, LoRALinear])
def test_a_weight_left_to_multiply_by_is_learnt_as_the_norms_own(kind: type) -> None:
    """Also before a projection with an adapter, and only where it is learnt."""
    generator = torch.Generator().manual_seed(0)
    x, slope = (torch.randn(2, 3, 16, generator=generator) for _ in range(2))
    x.requires_grad_(True)
    norm, project = RMSNorm(16, eps=0.1), nn.Linear(16, 16)
    norm.weight.data.normal_(generator=generator)
    if kind is LoRALinear:
        project = LoRALinear(project, 2, 1.0, generator)
        project.lora_b.data.normal_(generator=generator)
    unit, weight = norm.apart(x)
    assert weight is norm.weight
    found, expected = weighed(project, unit, weight), project(norm(x))
    torch.testing.assert_close(found, expected)
    learnt = (x, norm.weight, *project.parameters())
    for got, wanted in zip(*(torch.autograd.grad(y, learnt, slope) for y in (found, expected)),
                           strict=True):
        torch.testing.assert_close(got, wanted)
    with torch.no_grad():
        read = norm.apart(x)
    for part, left in (read, norm.requires_grad_(False).apart(x)):
        assert left is None
        torch.testing.assert_close(part, norm(x))


def test_padding_changes_nothing(any_family: Transformer) -> None:
    """Whatever stands in the padding, on the left, on the right, or on both sides."""
    tokens = random_tokens(2, 20)
    with torch.no_grad():
        alone = any_family(tokens)
        for left, right in ((9, 0), (0, 9), (4, 11)):
            padded = random_tokens(2, left + 20 + right, seed=2)
            padded[:, left: left + 20] = tokens
            mask = torch.zeros_like(padded, dtype=torch.bool)
            mask[:, left: left + 20] = True
            hidden = any_family(padded, mask)
            assert hidden.isfinite().all()
            torch.testing.assert_close(hidden[:, left: left + 20], alone, rtol=0, atol=2e-5)


def test_padding_on_the_right_needs_no_mask(any_family: Transformer) -> None:
    tokens = random_tokens(2, 20)
    with torch.no_grad():
        padded = any_family(torch.cat((tokens, random_tokens(2, 9, seed=3)), dim=1))
        torch.testing.assert_close(padded[:, :20], any_family(tokens), rtol=0, atol=2e-5)


def assert_same_gradients(model: Transformer, found: torch.Tensor, wanted: torch.Tensor,
                          atol: float) -> None:
    """Of a weighted sum of hidden states, by every parameter that they depend on."""
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    for parameter in model.parameters():
        one, other = (torch.autograd.grad((hidden * weights).sum(), parameter, retain_graph=True,
                                          allow_unused=True)[0] for hidden in (wanted, found))
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-4, atol=atol)


def test_groups_of_unequal_length_equal_each_alone(any_family: Transformer) -> None:
    """In value and in gradient, also beyond a sliding window."""
    groups = [random_tokens(B, T, seed=T) for B, T in ((2, 3), (1, 20), (3, 11))]
    alone = torch.cat([any_family(group).flatten(0, 1) for group in groups])
    together = any_family.forward_groups(groups)
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)
    assert_same_gradients(any_family, together, alone, atol=1e-4)


def test_states_asked_for_in_groups_are_those_of_all(any_family: Transformer) -> None:
    """In value and in gradient, in the order asked."""
    groups = [random_tokens(B, T, seed=T) for B, T in ((2, 3), (1, 20), (3, 11))]
    at = torch.tensor([57, 0, 5, 6, 25, 24, 30])
    among, alone = any_family.forward_groups(groups)[at], any_family.forward_groups(groups, at)
    torch.testing.assert_close(alone, among, rtol=0, atol=1e-5)
    assert_same_gradients(any_family, alone, among, atol=1e-5)


def test_packed_groups_equal_each_sequence_alone(any_family: Transformer) -> None:
    """In value and in gradient, whatever they share; a sequence may begin as another ends."""
    tokens = random_tokens(1, 30, seed=8)[0].tolist()
    sequences = [tokens[:9], [*tokens[:6], *tokens[20:24]], tokens[3:15], tokens[14:17],
                 [*tokens[14:16], *tokens[:20]]]
    groups, places = pack_alike(sequences, [[0, 1], [3], [2], [4]])
    ends = torch.tensor([places[n][-1] for n in range(len(sequences))])
    assert len(groups) > 1
    alone = torch.stack([any_family(torch.tensor([each]))[0, -1] for each in sequences])
    together = any_family.forward_groups(groups, ends)
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)
    torch.testing.assert_close(any_family.forward_groups(groups)[ends], alone, rtol=0, atol=2e-5)
    assert_same_gradients(any_family, together, alone, atol=1e-4)


def test_a_mask_of_all_is_no_mask_up_to_the_last_position(any_family: Transformer) -> None:
    tokens = random_tokens(2, any_family.config.context)
    with torch.no_grad():
        masked = any_family(tokens, torch.ones_like(tokens, dtype=torch.bool))
        torch.testing.assert_close(masked, any_family(tokens), rtol=0, atol=2e-5)


def test_rows_padded_differently_do_not_mix(tiny) -> None:
    model, long, short = tiny(), random_tokens(1, 12), random_tokens(1, 5, seed=4)
    tokens = torch.cat((long, torch.cat((random_tokens(1, 7, seed=5), short), dim=1)))
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, :7] = False
    with torch.no_grad():
        hidden = model(tokens, mask)
        torch.testing.assert_close(hidden[0], model(long)[0], rtol=0, atol=2e-5)
        torch.testing.assert_close(hidden[1, 7:], model(short)[0], rtol=0, atol=2e-5)


def test_nothing_looks_ahead_and_everything_looks_back(tiny) -> None:
    model, tokens = tiny(), random_tokens(1, 16)
    changed = tokens.clone()
    changed[0, 8] = (changed[0, 8] + 1) % 40
    with torch.no_grad():
        moved = (model(tokens) - model(changed)).abs().amax(-1)[0]
    assert (moved[:8] == 0).all() and (moved[8:] > 1e-6).all()


def test_compiled_without_a_graph_break(tiny) -> None:
    """The forward, with and without a mask, and the one-token decode: one graph, every shape."""
    model = tiny(layers=1, qkv_bias=True, qk_norm=True, sliding_window=7, rope_scaling=LLAMA3)
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        graphs.append(graph)
        return graph.forward

    def compiled(function: Callable) -> Callable:
        return torch.compile(function, fullgraph=True, backend=counted, dynamic=True)

    def decode(step: torch.Tensor, slots: torch.Tensor, cache: KVCache) -> torch.Tensor:
        return model.logits(model.decode_one(step, slots, cache, slice(2), [(2, 32)]))

    def cache(tokens: torch.Tensor) -> KVCache:
        filled = KVCache(1, 2, model.config.kv_heads, 32, model.config.head_dim)
        rows = tokens.tolist()
        model.prefill(pack(rows, [[0], [1]]), filled, torch.arange(2), torch.zeros(2, 1).long())
        return filled

    forward, masked, step = compiled(model), compiled(model), compiled(decode)
    with torch.no_grad():
        for B, T in ((2, 9), (3, 17)):
            tokens = random_tokens(B, T)
            mask = torch.arange(T) >= torch.arange(B)[:, None]
            torch.testing.assert_close(forward(tokens), model(tokens))
            torch.testing.assert_close(masked(tokens, mask), model(tokens, mask))
            tokens, slots = random_tokens(2, T), torch.tensor([T, T - 2])
            torch.testing.assert_close(step(tokens[:, 0], slots, cache(tokens)),
                                       decode(tokens[:, 0], slots, cache(tokens)))
    assert len(graphs) == 3


def test_initialise_scales_the_writers_to_the_stream(tiny) -> None:
    model = tiny(layers=8, width=64, mlp=128)
    initialise(model, torch.Generator().manual_seed(0))
    layer = model.model.layers[0]
    assert layer.mlp.gate_proj.weight.std().item() == pytest.approx(64 ** -0.5, rel=0.05)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(128 ** -0.5 / 4, rel=0.05)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(0.05, rel=0.05)
    first = layer.self_attn.q_proj.weight.clone()
    initialise(model, torch.Generator().manual_seed(0))
    assert torch.equal(layer.self_attn.q_proj.weight, first)


def test_heads_that_do_not_divide_are_refused(tiny) -> None:
    with pytest.raises(ValueError, match="kv_heads 3"):
        tiny(kv_heads=3)

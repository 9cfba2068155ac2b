"""Language models of transformers: the cache changes nothing, nor does padding."""

import math
import re

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from acceptance import seeded
from reparam import stochastic_beam_search
from reparam.hf import causal_lm

pytest.importorskip("transformers", reason="needs pip install 'reparam[hf]'")
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

VOCABULARY, END = 7, 6
TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": END, "eos_token_id": END}
WIDTHS = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def gpt2():
    """Learned positions."""
    return GPT2LMHeadModel(GPT2Config(**TOKENS, n_positions=32, n_embd=16, n_layer=2, n_head=2))


def llama():
    """Rotary positions, grouped heads."""
    return LlamaForCausalLM(LlamaConfig(**TOKENS, **WIDTHS, **HEADS))


def mistral():
    """A cache that forgets: the last 4 tokens."""
    return MistralForCausalLM(MistralConfig(**TOKENS, **WIDTHS, **HEADS, sliding_window=4))


def bloom():
    """No positions: each head has its slope of attention."""
    return BloomForCausalLM(BloomConfig(**TOKENS, hidden_size=16, n_layer=2, n_head=2))


@pytest.fixture(params=[gpt2, llama, mistral, bloom], ids=lambda make: make.__name__)
def model(request):
    """A model of random weights, large enough that its logits differ."""
    made, generator = request.param().double().eval(), seeded(0)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.5, generator=generator)
    return made


PROMPTS = torch.tensor([[1, 2, 3, 4], [5, 5, 0, 2], [END, 1, 0, 3]])


def without_cache(model, prompts):
    """A step that reads the whole sequence again; its state is what was read."""

    def step(last, read):
        read = torch.cat([read, last.unsqueeze(-1)], -1)
        return model(input_ids=read, use_cache=False).logits[:, -1], read

    return step, prompts[:, -1], prompts[:, :-1]


def search(step, start, state, key=4):
    """Five sequences of at most six tokens."""
    with torch.no_grad():
        return stochastic_beam_search(step, 5, 6, start, state, end=END, key=key)


def same(found, expected):
    """The same tokens, and numbers to rounding in float64."""
    assert torch.equal(found.tokens, expected.tokens)
    for a, b in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_the_cache_follows_the_beams(model):
    """With it, the search finds what it finds without; so again, from the same state."""
    with_cache = causal_lm(model, PROMPTS)
    expected = search(*without_cache(model, PROMPTS))
    assert len({tuple(s) for s in expected.tokens.flatten(0, 1).tolist()}) > 5
    assert (expected.lengths.unique() < 6).any()
    same(search(*with_cache), expected)
    same(search(*with_cache), expected)


def test_a_search_sees_no_tensor_of_the_cache(model):
    """Lest they be gathered twice, where caches are registered as pytrees."""
    step, start, state = causal_lm(model, PROMPTS)
    _, state = step(start, state)
    assert [type(leaf).__name__ for leaf in tree_leaves(state)] == [
        *("SimpleNamespace", "Tensor", "Tensor")
    ]


def test_log_probabilities_are_those_of_the_model(model):
    """As the model itself scores prompt and sequence in one run."""
    found = search(*causal_lm(model, PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        for tokens, length, log_prob in zip(
            found.tokens[row], found.lengths[row], found.log_probs[row], strict=True
        ):
            whole = torch.cat([prompt, tokens[:length]]).unsqueeze(0)
            with torch.no_grad():
                log_p = torch.log_softmax(model(input_ids=whole).logits[0], -1)
            scored = log_p[len(prompt) - 1 : -1].gather(-1, tokens[:length].unsqueeze(-1)).sum()
            torch.testing.assert_close(log_prob, scored, atol=1e-9, rtol=0)


@pytest.mark.parametrize("model", [gpt2, llama, mistral], indirect=True)
def test_padding_changes_nothing(model):
    """Prompts of 1 and 3 tokens, beside one of 4: each as it would be alone.

    Not for Bloom, whose masks of padding overflow in float64.
    """
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 1, 1]])
    keys = torch.arange(3)
    found = search(*causal_lm(model, PROMPTS, mask), key=keys)
    for row in range(3):
        prompt = PROMPTS[row : row + 1, mask[row] == 1]
        alone = search(*without_cache(model, prompt), key=keys[row : row + 1])
        same(type(found)(*(t[row : row + 1] for t in found)), alone)


def test_gradients_reach_the_model_through_the_cache(model):
    """Those of an expectation, as without a cache.

    Some models compute positions and norms in float32; 1e-6 is 1e-4 of the gradients.
    """
    gradients = []
    for way in (causal_lm, without_cache):
        found = stochastic_beam_search(*way_of(way, model), end=END, key=1)
        loss = found.expectation(found.lengths.double()).sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert max(g.abs().max() for g in gradients[0]) > 0.01


def way_of(way, model):
    """The first arguments of a short search."""
    step, start, state = way(model, PROMPTS)
    return step, 3, 3, start, state


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (PROMPTS[0], None, "input_ids: expected prompts (B, L) of at least one token"),
        (PROMPTS[:, :0], None, "input_ids: expected prompts (B, L) of at least one token"),
        (PROMPTS, torch.ones(3, 3), "got (3, 4) and (3, 3)"),
        (PROMPTS, PROMPTS < 4, "padding at the end of 1 of 3; tokenizer.padding_side = 'left'"),
    ],
)
def test_errors_name_what_is_wrong(ids, mask, message):
    """Shapes, and prompts padded where the model would go on."""
    with pytest.raises(ValueError, match=re.escape(message)):
        causal_lm(gpt2(), ids, mask)


def test_a_model_without_a_cache_is_refused():
    """By what it has instead."""

    class Plain(nn.Module):
        def forward(self, input_ids, **_):
            return type("Output", (), {"past_key_values": None, "logits": math.nan})

    step, start, state = causal_lm(Plain(), PROMPTS)
    with pytest.raises(TypeError, match="got Plain with NoneType"):
        step(start, state)

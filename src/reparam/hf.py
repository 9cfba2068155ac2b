"""Causal language models of Hugging Face transformers, for `stochastic_beam_search`."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from reparam.beam import Step

__all__ = ["causal_lm"]


def causal_lm(
    model: Any, input_ids: Tensor, attention_mask: Tensor | None = None
) -> tuple[Step, Tensor, Any]:
    """The step, the start tokens `(B,)` and the state with which a model continues its prompts.

    model: of `transformers`, with a language-modelling head and a cache (`use_cache`); in `eval()`,
        unless its dropout is wanted, which makes another model of every step.
    input_ids: prompts `(B, L)`, L >= 1, padded on the left.
    attention_mask: `(B, L)`, 0 where there is padding.

    The prompts are read once, at the first step; then each step reads a token, beside the cache.
    The state may start as many searches as are wanted.

        step, start, state = causal_lm(model, **tokenizer(prompts, return_tensors="pt"))
        found = stochastic_beam_search(step, 5, 40, start, state, end=tokenizer.eos_token_id)
    """
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    _check(input_ids, attention_mask)

    def step(last: Tensor, state: Any) -> tuple[Tensor, Any]:
        box, rows, mask = state
        cache, tokens = box.cache, input_ids
        if cache is not None:
            # The search gathers the tensors that it sees: `rows` tells which of the cache's go on.
            cache.reorder_cache(rows)
            tokens = last.unsqueeze(-1)
            mask = torch.cat([mask, torch.ones_like(tokens)], -1)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        if not hasattr(cache, "reorder_cache"):
            raise TypeError(
                "model: expected a causal language model whose past_key_values is a cache of "
                f"transformers >= 5, got {type(model).__name__} with {type(cache).__name__}"
            )
        rows = torch.arange(len(tokens), device=mask.device)
        return output.logits[:, -1], (SimpleNamespace(cache=cache), rows, mask)

    unread = SimpleNamespace(cache=None), torch.arange(len(input_ids)), attention_mask
    return step, input_ids[:, -1], unread


def _check(input_ids: Tensor, attention_mask: Tensor) -> None:
    if input_ids.ndim != 2 or input_ids.shape[1] == 0 or attention_mask.shape != input_ids.shape:
        raise ValueError(
            "input_ids: expected prompts (B, L) of at least one token, and attention_mask of the "
            f"same shape, got {tuple(input_ids.shape)} and {tuple(attention_mask.shape)}"
        )
    if bool((attention_mask[:, -1] == 0).any()):
        raise ValueError(
            "attention_mask: expected prompts padded on the left, got padding at the end of "
            f"{int((attention_mask[:, -1] == 0).sum())} of {len(input_ids)}; "
            "tokenizer.padding_side = 'left'"
        )

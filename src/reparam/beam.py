"""Stochastic beam search: k different sequences of a model, an exact sample without replacement."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from reparam.checks import check_count, check_floating, working_dtype
from reparam.noise import Key, Noise

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""Last tokens `(N,)` and a state of N rows -> logits of the next `(N, V)`, and the new state."""


class Sequences(NamedTuple):
    """k different sequences for each batch row, in the order they were drawn, and their weights.

    tokens: `(B, k, max_len)`, int64; behind an end token, more of them.
    lengths: `(B, k)`, int64; the end token counts.
    log_probs: `(B, k)`, log p of the sequences in nats, float64, with the model's gradient.
    perturbed: `(B, k)`, log p + Gumbel(0, 1), float64, decreasing.
    threshold: `(B,)`, the largest perturbed log p of the sequences left out: kappa, float64.

    If there are only m < k sequences, the last k - m have length 0, log_probs and perturbed of
    -inf and a weight of 0; the threshold is then -inf (as for m = k), and expectations are exact.
    """

    tokens: Tensor
    lengths: Tensor
    log_probs: Tensor
    perturbed: Tensor
    threshold: Tensor

    @property
    def valid(self) -> Tensor:
        """Where there is a sequence: `(B, k)`, bool."""
        return self.perturbed > -torch.inf

    @property
    def log_inclusion(self) -> Tensor:
        """log q, q = P(perturbed log p > kappa) = 1 - exp(-exp(log p - kappa)); no gradient."""
        rate = (self.log_probs.detach() - self.threshold.unsqueeze(-1)).exp()
        return torch.where(self.valid, (-torch.expm1(-rate)).log(), -torch.inf)

    @property
    def weights(self) -> Tensor:
        """p / q, `(B, k)`; the expected sum is 1."""
        # `where` comes first: -inf - -inf has no gradient.
        return torch.where(self.valid, self.log_probs - self.log_inclusion, -torch.inf).exp()

    def expectation(self, values: Tensor, normalized: bool = False) -> Tensor:
        """Estimate E_p[f], `(B,)`, from values f(sequence) `(B, k)`: their sum, weighted by p / q.

        Unbiased. So is its gradient, which reaches the model through p: the values need none. The
        sum of the weights varies: for few sequences of many, and f far from 0, a mean over k
        samples with replacement can err less.
        normalized: divide by that sum. Biased, but exact for a constant f, and mostly of less
            error than either; in its gradient, the estimate itself is the baseline.
        """
        check_floating("values", values)
        if values.shape != self.lengths.shape:
            raise ValueError(
                f"values: expected one for each sequence, shape {tuple(self.lengths.shape)} = "
                f"(B, k), got {tuple(values.shape)}"
            )
        weights = self.weights
        total = (weights * torch.where(self.valid, values, 0)).sum(-1)
        return (total / weights.sum(-1) if normalized else total).to(values.dtype)


def stochastic_beam_search(
    step: Step,
    k: int,
    max_len: int,
    start: Tensor,
    state: Any = None,
    *,
    end: int | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    key: Key | None = None,
) -> Sequences:
    """Sample k sequences without replacement from an autoregressive model, in one beam search.

    Kool et al. 2019, "Stochastic beams and where to find them", arXiv:1903.06059.

    What `gumbel_topk` does with classes, with whole sequences, which are too many to list: the
    model is evaluated as often as for k samples with replacement. k = 1 is plain sampling.

    step: last tokens `(N,)`, state -> logits `(N, V)`, new state. -inf forbids a token. It is
        called with N = B rows first and N = B k then; what it says of finished ones is ignored.
    start: what `step` sees first, integers `(B,)`; no part of the sequences.
    state: any pytree (`torch.utils._pytree`) whose tensors have N rows first, which are gathered
        as beams go on; B rows at the start.
    end: the token that ends a sequence. At max_len tokens, a sequence is cut: it has the
        probability of all that begin with it.
    temperature: sample from softmax(logits / temperature), which also makes `log_probs`.
    key: an integer, or int64 keys `(B,)`; a row's sequences then depend on its own key alone.

    Logits are perturbed in float32 (float64 for float64), sequences in float64. Gradients pass
    through every step; where none is wanted, search under `torch.no_grad()`.

    >>> table = torch.zeros(3, 3, requires_grad=True)  # a Markov chain on 0, 1 and its end, 2
    >>> start = torch.zeros(1, dtype=torch.int64)
    >>> found = stochastic_beam_search(lambda last, _: (table[last], None), 4, 2, start, end=2)
    >>> found.tokens.shape, len(found.tokens[0].unique(dim=0))
    (torch.Size([1, 4, 2]), 4)
    >>> reward = found.tokens.eq(1).sum(-1).float()
    >>> found.expectation(reward).mean().backward()  # REINFORCE, without replacement
    """
    check_count("k", k)
    check_count("max_len", max_len)
    _check(start, temperature)
    noise, fill = Noise(generator, key=key), 0 if end is None else end
    beams, last = _root(start, noise), start
    done = torch.zeros_like(beams.log_probs, dtype=torch.bool)
    for _ in range(max_len):
        logits, state = step(last, state)
        _check_logits(logits, done.numel(), end)
        log_p = _log_softmax(logits, done, fill, temperature)
        beams, parent = _grown(beams, log_p, k, noise)
        last = beams.tokens[..., -1].flatten()
        done = beams.perturbed == -torch.inf
        if end is not None:
            done = done | (beams.tokens[..., -1] == end)
        if bool(done.all()):
            break
        state = _gathered(state, parent, log_p.shape[1])
    return _finished(beams, max_len, end)


class _Beams(NamedTuple):
    """W beams for each batch row: tokens `(B, W, t)` and what `Sequences` calls by these names."""

    tokens: Tensor
    log_probs: Tensor
    perturbed: Tensor
    threshold: Tensor


def _root(start: Tensor, noise: Noise) -> _Beams:
    """One beam for each batch row: the empty sequence, which has probability 1."""
    log_probs = torch.zeros(len(start), 1, dtype=torch.float64, device=start.device)
    tokens = torch.empty(len(start), 1, 0, dtype=torch.int64, device=start.device)
    threshold = torch.full_like(log_probs[:, 0], -torch.inf)
    return _Beams(tokens, log_probs, noise.gumbel(1, log_probs)[0], threshold)


def _log_softmax(logits: Tensor, done: Tensor, fill: int, temperature: float) -> Tensor:
    """Log-probabilities of the next token, `(B, W, V)`; a beam that is done repeats `fill`."""
    wide = logits.to(working_dtype(logits.dtype)).view(*done.shape, logits.shape[-1])
    only = wide.new_full(logits.shape[-1:], -torch.inf)
    only[fill] = 0
    log_p = F.log_softmax(torch.where(done.unsqueeze(-1), only, wide) / temperature, -1)
    bad = log_p[..., 0].detach().isnan()  # one bad logit makes its whole row NaN
    if bool(bad.any()):
        raise ValueError(
            "step: expected finite logits or -inf and an allowed token in every row, got "
            f"{int(bad.sum())} of {bad.numel()} rows with NaN, +inf or nothing allowed; where "
            "nothing may follow, allow the end token"
        )
    return log_p


def _grown(beams: _Beams, log_p: Tensor, k: int, noise: Noise) -> tuple[_Beams, Tensor]:
    """The k best beams with one more token, and the beams `(B, k)` that they came from."""
    values, token = _children(beams, log_p.detach(), k + 1, noise)
    best, index = values.flatten(1).topk(k + 1)
    # Whatever is dropped holds the largest of all that would have grown from it. So the largest
    # ever dropped is the (k + 1)-th of all sequences: no beam need carry it to its end.
    threshold = torch.maximum(beams.threshold, best[:, k])
    perturbed, index = best[:, :k], index[:, :k]
    parent, token = index // (k + 1), token.flatten(1).gather(1, index)
    gain = log_p.flatten(1).gather(1, parent * log_p.shape[-1] + token).double()
    gain = torch.where(perturbed > -torch.inf, gain, 0)
    log_probs = beams.log_probs.gather(1, parent) + gain
    tokens = beams.tokens.take_along_dim(parent.unsqueeze(-1), 1)
    tokens = torch.cat([tokens, token.unsqueeze(-1)], -1)
    return _Beams(tokens, log_probs, perturbed, threshold), parent


def _children(beams: _Beams, log_p: Tensor, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
    """Perturbed log-probabilities of the n best continuations of each beam, and their tokens.

    Both `(B, W, n)`, padded with -inf and 0. Given that the largest is the beam's own: exp(-G) are
    exponential waiting times of rates p, and what remains of them after the first is independent
    of it. So the first is moved to the beam's, and the others follow in the times that remain.
    """
    drawn, token = (log_p + noise.gumbel(1, log_p)[0]).topk(min(n, log_p.shape[-1]))
    drawn = drawn.double()
    gap = drawn[..., :1] - drawn
    # expm1 keeps the digits of a small gap; that of the first is 0, and nothing remains.
    remaining = beams.log_probs.detach().unsqueeze(-1) + drawn - (-torch.expm1(-gap)).log()
    values = -torch.logaddexp(-beams.perturbed.unsqueeze(-1), -remaining)
    missing = (0, n - token.shape[-1])
    return F.pad(values, missing, value=-torch.inf), F.pad(token, missing)


def _finished(beams: _Beams, max_len: int, end: int | None) -> Sequences:
    """Tokens filled up to max_len, their lengths, and nothing where there is no sequence."""
    fill, valid = 0 if end is None else end, beams.perturbed > -torch.inf
    tokens = F.pad(beams.tokens, (0, max_len - beams.tokens.shape[-1]), value=fill)
    tokens = torch.where(valid.unsqueeze(-1), tokens, fill)
    lengths = torch.full_like(tokens[..., 0], max_len)
    if end is not None:
        lengths = (1 + (tokens != end).sum(-1)).clamp(max=max_len)
    return Sequences(
        tokens,
        torch.where(valid, lengths, 0),
        torch.where(valid, beams.log_probs, -torch.inf),
        beams.perturbed,
        beams.threshold,
    )


def _gathered(state: Any, parent: Tensor, width: int) -> Any:
    """The rows `(B * W, ...)` of a state that beams `(B, k)` came from: `(B * k, ...)`."""
    first = width * torch.arange(len(parent), device=parent.device).unsqueeze(-1)
    rows = (first + parent).flatten()

    def take(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or len(tensor) != len(parent) * width:
            raise ValueError(
                f"state: expected tensors with {len(parent) * width} rows first, those of step's "
                f"tokens, got shape {tuple(tensor.shape)}; numbers for all rows need no tensor"
            )
        return tensor.index_select(0, rows.to(tensor.device))

    return tree_map_only(Tensor, take, state)


def _check(start: Tensor, temperature: float) -> None:
    if start.ndim != 1 or start.is_floating_point():
        raise ValueError(
            "start: expected the integer tokens that step sees first, shape (B,), got "
            f"{start.dtype} of shape {tuple(start.shape)}"
        )
    if not 0 < temperature < torch.inf:
        raise ValueError(
            f"temperature: expected a positive number, got {temperature}; 1 leaves the model as "
            "it is"
        )


def _check_logits(logits: Tensor, rows: int, end: int | None) -> None:
    check_floating("step's logits", logits)
    if logits.ndim != 2 or len(logits) != rows:
        raise ValueError(
            f"step: expected logits of shape ({rows}, V), one row for each of its tokens, got "
            f"{tuple(logits.shape)}"
        )
    if end is not None and not 0 <= end < logits.shape[-1]:
        raise ValueError(
            f"end: expected a token among step's {logits.shape[-1]} classes, got {end}; None if "
            "every sequence goes on to max_len"
        )

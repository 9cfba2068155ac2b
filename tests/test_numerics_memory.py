"""Peak memory, in tensors of the logits' size beside the logits and the gradient that arrives."""

from collections.abc import Callable

import pytest
import torch
from benchmarks.memory import peak
from torch import Tensor

from acceptance import seeded
from reparam.functional import gumbel_max, gumbel_softmax, gumbel_topk, sample_indices

SHAPE = (4096, 512)
SMALL_THINGS = 0.1  # sums of rows, and chunks that stay in the cache
paths = pytest.mark.parametrize("fast", ["0", None], ids=["torch", "numba if there"])
logits = torch.randn(SHAPE, generator=seeded(0))
arriving = torch.randn(SHAPE, generator=seeded(1))


def tensors(call: Callable[[], object]) -> float:
    """The peak, in tensors of the logits' size."""
    return peak(call) / (logits.numel() * logits.element_size())


def step(sample: Callable[..., Tensor], *temperature: Tensor) -> float:
    """The peak of a sample and its gradients, for the logits and the temperature."""
    leaf = logits.clone().requires_grad_()

    def both() -> None:
        torch.autograd.grad(sample(leaf, *temperature), [leaf, *temperature], arriving)

    return tensors(both)


@pytest.mark.parametrize(("hard", "known"), [(False, 3), (True, 5)])
def test_the_meter_reads_what_is_known_of_torch(hard, known):
    """F.gumbel_softmax holds 3 tensors, and 5 where hard."""
    got = step(lambda x: torch.nn.functional.gumbel_softmax(x, hard=hard))
    assert got == pytest.approx(known, abs=SMALL_THINGS)


def test_the_meter_sees_what_is_held_for_an_instant():
    """A temporary counts though it is gone when the call ends; what was held before does not."""

    def one() -> Tensor:
        return (logits + 1).sum()

    def two() -> Tensor:
        return (logits + 1).add_(logits * 2).sum()

    for known, call in enumerate([logits.sum, one, two]):
        assert tensors(call) == pytest.approx(known, abs=SMALL_THINGS)


@paths
@pytest.mark.parametrize(("hard", "most"), [(False, 2), (True, 3)])
@pytest.mark.parametrize("key", [None, 1])
def test_a_sample_and_its_gradient_take_little(fast, hard, most, key, monkeypatch):
    """The sample, what is saved of it, and the gradient: promised are 3, the floor is 2."""
    if fast is not None:
        monkeypatch.setenv("REPARAM_FAST", fast)
    assert step(lambda x: gumbel_softmax(x, 0.7, hard, key=key)) <= most + SMALL_THINGS


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shape", [(), SHAPE[:1]])
def test_a_learned_temperature_takes_little_more(hard, shape):
    """4 tensors, one temperature for all or one for each row; 5 where hard."""
    tau = torch.full(shape, 0.7, requires_grad=True)
    got = step(lambda x, tau: gumbel_softmax(x, tau, hard), tau)
    assert got <= 4 + hard + SMALL_THINGS


@pytest.mark.parametrize("key", [None, 1])
@pytest.mark.parametrize(
    "sample",
    [gumbel_max, lambda x, **s: sample_indices(x, 3, **s), lambda x, **s: gumbel_topk(x, 5, **s)],
)
def test_indices_are_drawn_beside_the_logits(sample, key):
    """Without a gradient, at most 1.1 tensors; multinomial(softmax) takes 2."""
    assert tensors(lambda: sample(logits, key=key)) <= 1.1
    standard = tensors(lambda: torch.multinomial(torch.softmax(logits, -1), 1))
    assert standard == pytest.approx(2, abs=SMALL_THINGS)

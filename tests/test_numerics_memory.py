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


@paths
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_takes_no_more_bytes_than_float32(fast, dtype, hard, monkeypatch):
    """Work is done in float32: 2 tensors of that, of logits half as large, hard or not."""
    if fast is not None:
        monkeypatch.setenv("REPARAM_FAST", fast)
    half, weight = logits.to(dtype).requires_grad_(), arriving.to(dtype)

    def both() -> None:
        torch.autograd.grad(gumbel_softmax(half, 0.7, hard), half, weight)

    in_cache = 3 * SMALL_THINGS  # with chunks on their way to another dtype
    assert tensors(both) <= 2 + in_cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_mask_takes_no_more_than_three(dtype):
    """The masked logits, the noise and the sample are never held beside a fourth."""
    mask = torch.arange(SHAPE[1]) % 3 > 0
    got = step(lambda x: gumbel_softmax(x, 0.7, mask=mask))
    assert got <= 3 + SMALL_THINGS


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shape", [(), SHAPE[:1]])
def test_a_learned_temperature_takes_little_more(hard, shape):
    """4 tensors, one temperature for all or one for each row; 5 where hard."""
    tau = torch.full(shape, 0.7, requires_grad=True)
    got = step(lambda x, tau: gumbel_softmax(x, tau, hard), tau)
    assert got <= 4 + hard + SMALL_THINGS


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("key", [None, 1])
def test_double_precision_takes_what_torch_does(hard, key):
    """3 tensors of float64, 5 where hard, by the plain formula."""
    wide, weight = logits.double().requires_grad_(), arriving.double()

    def both() -> None:
        torch.autograd.grad(gumbel_softmax(wide, 0.7, hard, key=key), wide, weight)

    assert tensors(both) / 2 <= 3 + 2 * hard + SMALL_THINGS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("key", [None, 1])
@pytest.mark.parametrize("n", [1, 3])
def test_indices_are_drawn_beside_the_logits(n, key, dtype):
    """Without a gradient, at most 1.1 tensors of the logits' own; multinomial(softmax) takes 2."""
    own = logits.to(dtype)
    size = own.element_size() / logits.element_size()
    assert tensors(lambda: sample_indices(own, n, key=key)) <= 1.1 * size
    if n == 1:
        assert tensors(lambda: gumbel_max(own, key=key)) <= 1.1 * size
    if dtype != torch.float64:  # which takes the plain formula there
        assert tensors(lambda: gumbel_topk(own, 5, key=key)) <= 1.1 * size
    standard = tensors(lambda: torch.multinomial(torch.softmax(logits, -1), 1))
    assert standard == pytest.approx(2, abs=SMALL_THINGS)

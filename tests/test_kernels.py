"""The fast path of gumbel_softmax: the plain formula's law and derivatives, edges and ties."""

import pytest
import torch
from scipy import stats

from reparam.functional import gumbel_softmax
from reparam.kernels import exponentials
from reparam.kernels.gumbel_softmax import SMALLEST, chunked
from reparam.noise import Noise


def seeded(seed=0):
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("rows", "classes"), [(3000, 3), (2500, 40), (7, 5000), (2, 70_000)])
def test_derivatives_are_the_formula_of_y(rows, classes):
    """The gradient is J(y) / tau applied to what arrives, for one chunk or many, and for hard."""
    x = torch.randn(rows, classes, generator=seeded(), requires_grad=True)
    w = torch.randn(rows, classes, generator=seeded(1))
    y, hard = (chunked.gumbel_softmax(x, 0.7, h, Noise(seeded(2))) for h in (False, True))
    truth = (y * (w - (y * w).sum(-1, keepdim=True)) / 0.7).detach()
    torch.testing.assert_close(y.sum(-1), torch.ones(rows))
    for points in (y, hard):
        (got,) = torch.autograd.grad(points, x, w, retain_graph=True)
        torch.testing.assert_close(got, truth, rtol=1e-4, atol=1e-6)
    assert torch.equal(hard.argmax(-1), y.argmax(-1))
    assert torch.equal(hard.sum(-1), torch.ones(rows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("classes", [5, 60])
def test_second_derivative(hard, classes, dtype):
    """The derivative of the gradient is the plain formula's, also of the hard sample's gradient."""
    x = torch.randn(6, classes, generator=seeded()).to(dtype).requires_grad_()
    w, direction = (torch.randn(6, classes, generator=seeded(s)).to(dtype) for s in (1, 2))

    def second(points):
        (slope,) = torch.autograd.grad(points, x, w.to(points.dtype), create_graph=True)
        return torch.autograd.grad(slope, x, direction.to(slope.dtype))[0]

    wide = x.float()
    plain = torch.softmax((wide + Noise(key=5).gumbel(1, wide)[0]) / 0.9, -1)
    points = chunked.gumbel_softmax(x, 0.9, hard, Noise(key=5))
    tight = 1e-5 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(second(points), second(plain), rtol=tight, atol=tight)


@pytest.mark.parametrize("classes", [3, 40])
def test_log_ratios_are_logistic(classes):
    """tau (log y_i - log y_j) is logistic about theta_i - theta_j: Kolmogorov-Smirnov, 2e5 rows.

    False-fail 1e-7; a shift or scale of 2% fails with probability above 1 - 1e-6.
    """
    theta = torch.linspace(-1, 1, classes).expand(200_000, classes)
    y = chunked.gumbel_softmax(theta, 2.0, False, Noise(seeded(4)))
    got = 2.0 * (y[:, 0] / y[:, -1]).log() - (theta[0, 0] - theta[0, -1])
    assert stats.kstest(got.numpy(), "logistic").pvalue > 1e-7


def test_noise_reaches_past_float32_uniforms():
    """G exceeds 16.7 about 15 times in 2.68e8 draws, where 24-bit uniforms never do.

    Poisson(15.0): fewer than 1 has probability 3e-7. Integer bits are drawn as the kernel does.
    """
    blank, hits = torch.empty(2**22), 0
    fill = exponentials.exponentials(blank, seeded(5))
    for _ in range(64):
        hits += int((fill(blank).log_() < -16.7).sum())
    assert 1 <= hits <= 45


@pytest.mark.parametrize("bit", [0, 2**31 - 1])
def test_boundary_bits_are_finite(bit, monkeypatch):
    """The first and the last integer give finite noise, at the right ends."""
    words = bit * (2**32 + 1)  # of two numbers each
    monkeypatch.setattr(torch.Tensor, "random_", lambda self, *_, **__: self.fill_(words))
    out = exponentials.exponentials(torch.empty(4), None)(torch.empty(4)).log_()
    assert out.isfinite().all()
    assert (out < -22).all() if bit == 0 else (out > 2.7).all()


def test_ties_go_to_the_first():
    """Equal largest entries make one winner."""
    y = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4]])
    out = torch.empty_like(y)
    chunked._onehot(y, out, out)
    assert out.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("hard", [False, True])
def test_every_dim_and_dtype(dtype, dim, hard):
    """Large samples sum to 1 along their dim, in the dtype of the logits, soft and hard."""
    x = torch.zeros(20, 30, 40, dtype=dtype).transpose(0, 2).requires_grad_()
    assert x.numel() >= SMALLEST
    y = gumbel_softmax(x, 0.5, hard, dim, generator=seeded())
    assert y.dtype == dtype
    assert y.shape == x.shape
    torch.testing.assert_close(
        y.float().sum(dim), torch.ones_like(y.float().sum(dim)), atol=0.03, rtol=0
    )
    (g,) = torch.autograd.grad((y * torch.rand(x.shape, generator=seeded(1)).to(dtype)).sum(), x)
    assert g.isfinite().all()
    assert g.abs().sum() > 0


@pytest.mark.parametrize("classes", [8, 64])
def test_autocast_changes_nothing(classes):
    """Under autocast the samples and their gradients are bit for bit those outside it."""
    x = torch.randn(SMALLEST, classes, generator=seeded(), requires_grad=True)
    w = torch.randn(x.shape, generator=seeded(1))
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y = gumbel_softmax(x, 0.7, generator=seeded(2))
            results.append((y, torch.autograd.grad(y, x, w)[0]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])

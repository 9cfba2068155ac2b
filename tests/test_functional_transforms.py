"""Functional operations under autograd, torch.func, torch.compile and autocast."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from acceptance import seeded
from reparam.functional import gumbel_max, gumbel_softmax, soft_argmax, soft_step, straight_through

z = torch.randn(3, 4, generator=seeded(0), dtype=torch.float64)
taus = torch.tensor([0.7, 1.0, 2.0], dtype=torch.float64)


def compiled(function):
    """Trace all of it, without a C++ compiler."""
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def softmax_of(z: Tensor, tau: Tensor) -> Tensor:
    """The definition, with torch's own derivatives."""
    return torch.softmax(z / tau.unsqueeze(-1), -1)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("dim", [-1, 0])
@pytest.mark.parametrize("tau", [0.5, torch.tensor(0.5, dtype=torch.float64), taus])
def test_soft_argmax_has_exact_derivatives(check, dim, tau):
    """First and second, in z and in tau, scalar and per row, along any dimension."""
    entries = z.movedim(-1, dim).clone().requires_grad_()
    if isinstance(tau, Tensor):
        inputs = (entries, tau.clone().requires_grad_())
        assert check(lambda z, tau: soft_argmax(z, tau, dim), inputs)
    else:
        assert check(lambda z: soft_argmax(z, tau, dim), (entries,))


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_soft_step_has_exact_derivatives(check):
    """First and second, in z and in a temperature per entry."""
    assert check(soft_step, (z.clone().requires_grad_(), torch.rand(4).double().requires_grad_()))


@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0)])
def test_soft_argmax_vectorizes(in_dims):
    """vmap over z, over tau and over both, forward, backward and forward-mode."""
    arguments = (z if in_dims[0] == 0 else z[0], taus if in_dims[1] == 0 else taus[0])
    rows = [
        tuple(a[i] if d == 0 else a for a, d in zip(arguments, in_dims, strict=True))
        for i in range(3)
    ]

    def loss(z: Tensor, tau: Tensor) -> Tensor:
        return (soft_argmax(z, tau) * torch.arange(4)).sum()

    for transform in (
        lambda f: f,
        lambda f: torch.func.grad(f, (0, 1)),
        lambda f: torch.func.jacfwd(f, (0, 1)),
        lambda f: torch.func.jacrev(torch.func.grad(f, 1), (0, 1)),
    ):
        function = transform(loss)
        together = torch.utils._pytree.tree_leaves(torch.vmap(function, in_dims)(*arguments))
        alone = [torch.utils._pytree.tree_leaves(function(*row)) for row in rows]
        for got, expected in zip(together, zip(*alone, strict=True), strict=True):
            torch.testing.assert_close(got, torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_forward_mode_agrees_with_the_definition():
    """Jvp in z, in tau and in both."""
    tangents = (torch.ones(3, 4).double().tril(), torch.tensor([1.0, -2, 0.5]).double())
    for arguments in ((z, taus), (z,), (taus,)):

        def ours(*given: Tensor) -> Tensor:
            return soft_argmax(*_fill(given))

        def theirs(*given: Tensor) -> Tensor:
            return softmax_of(*_fill(given))

        moving = tuple(tangents[0] if a is z else tangents[1] for a in arguments)
        for got, expected in zip(
            torch.func.jvp(ours, arguments, moving),
            torch.func.jvp(theirs, arguments, moving),
            strict=True,
        ):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def _fill(given: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    if len(given) == 2:
        return given[0], given[1]
    return (given[0], taus) if given[0].ndim == 2 else (z, given[0])


def test_gumbel_softmax_vectorizes_over_rows():
    """Under vmap with different randomness, rows draw different noise, and all are samples."""
    logits = torch.zeros(50, 6)
    y = torch.vmap(gumbel_softmax, randomness="different")(logits)
    assert y.shape == (50, 6)
    torch.testing.assert_close(y.sum(-1), torch.ones(50))
    assert y[:, 0].unique().numel() > 40
    index = torch.vmap(gumbel_max, randomness="different")(logits)
    assert index.unique().numel() > 1


def test_per_sample_gradients_of_gumbel_softmax():
    """vmap(grad) gives, for each row, the softmax's gradient at the sample it drew."""

    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        y = gumbel_softmax(logits, 0.5)
        return y[0], y

    gradient, y = torch.vmap(torch.func.grad(loss, has_aux=True), randomness="different")(z)
    expected = y[:, :1] * (torch.eye(4)[0] - y) / 0.5
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_gumbel_softmax_compiles_whole(hard, learned):
    """One graph; value and gradients are those of the sample it drew, under a mask as well."""
    logits = z.clone().requires_grad_()
    tau = taus.clone().requires_grad_() if learned else 0.7
    mask = torch.ones(3, 4, dtype=torch.bool).tril(1)
    weight = torch.arange(4.0, dtype=torch.float64)

    @compiled
    def draw(logits: Tensor, tau: Tensor | float) -> Tensor:
        return gumbel_softmax(logits, tau, hard, mask=mask)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = draw(logits, tau)
        torch.manual_seed(0)
        soft = compiled(lambda logits: gumbel_softmax(logits, tau, mask=mask))(logits).detach()
    one_hot = torch.nn.functional.one_hot(soft.argmax(-1), 4).double()
    torch.testing.assert_close(y, one_hot if hard else soft)
    (y * weight).sum().backward()
    spread = soft * (weight - (soft * weight).sum(-1, keepdim=True))
    divisor = taus.unsqueeze(-1) if learned else 0.7
    torch.testing.assert_close(logits.grad, spread / divisor, rtol=1e-10, atol=1e-12)
    if learned:
        log_y = torch.where(soft > 0, soft, 1).log()
        torch.testing.assert_close(tau.grad, -(spread * log_y).sum(-1) / taus)


def test_soft_argmax_compiles_to_the_eager_value():
    """With float and tensor temperatures, zero included."""
    for tau in (0.7, 0.0, 1e-45, taus, torch.zeros(3)):
        torch.testing.assert_close(
            compiled(lambda z, tau=tau: soft_argmax(z, tau))(z), soft_argmax(z, tau)
        )


def test_gumbel_max_and_straight_through_compile_whole():
    """Indices stay in the support; the pair of values becomes one."""
    logits = torch.zeros(50, 4).masked_fill(torch.arange(4) == 2, -torch.inf)
    index = compiled(gumbel_max)(logits)
    assert set(index.tolist()) <= {0, 1, 3}
    soft = torch.softmax(z, -1).requires_grad_()
    y = compiled(straight_through)(torch.eye(4)[:3].double(), soft)
    assert torch.equal(y, torch.eye(4)[:3].double())
    assert torch.equal(torch.autograd.grad(y.sum(), soft)[0], torch.ones(3, 4).double())


@pytest.mark.parametrize("sample", [gumbel_softmax, gumbel_max])
def test_a_generator_means_the_same_compiled_as_eager(sample):
    """The same noise, the global generator untouched; as one graph, torch refuses generators."""
    torch._dynamo.reset()
    before = torch.get_rng_state()
    got = torch.compile(sample, backend="aot_eager")(z, generator=seeded(1))
    assert torch.equal(got, sample(z, generator=seeded(1)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("hard", [False, True])
def test_autocast_changes_nothing(low, hard):
    """Noise, softmax and gradient stay in the logits' own float32."""
    results = []
    for enabled in (False, True):
        logits = z.float().requires_grad_()
        with torch.autocast("cpu", low, enabled=enabled):
            y = gumbel_softmax(logits, 0.3, hard, generator=seeded(0))
        (y * torch.arange(4)).sum().backward()
        results.append((y, logits.grad, gumbel_max(logits, generator=seeded(0))))
    assert results[0][0].dtype == results[1][0].dtype == torch.float32
    for without, within in zip(*results, strict=True):
        assert torch.equal(without, within)

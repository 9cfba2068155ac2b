"""The Triton kernels are the plain formula of the same key: on a GPU, or in the interpreter."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from acceptance import OLD
from reparam.kernels import gumbel_softmax as kernels
from reparam.noise import bits
from triton_cases import CASES, EXTREMES, results

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
needs_new_interpreter = pytest.mark.skipif(OLD, reason="Triton 3.6 fails with numpy 2.4")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def run(script, *arguments, **environment):
    """Run a script of this folder in a process of its own: Triton's mode is decided at import."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    env = {**os.environ, **environment}
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("interpreter", marks=[needs_triton, needs_new_interpreter]),
        pytest.param("cuda", marks=[needs_triton, needs_gpu]),
    ],
)
def found(request, tmp_path_factory):
    """What the kernels make of the cases."""
    if request.param == "cuda":
        return results("cuda")
    out = tmp_path_factory.mktemp("triton") / "results.pt"
    run("triton_cases.py", out, TRITON_INTERPRET="1")
    return torch.load(out)


def plain(case):
    """The same by the plain formula, in float32."""
    x = case.logits().float().requires_grad_()
    w = case.grads().float()
    z = x + case.noise().gumbel(case.n, x)
    soft = torch.softmax(z / case.tau, -1)
    (grad,) = torch.autograd.grad(soft, x, w, create_graph=True)
    (second,) = torch.autograd.grad((grad**2).sum(), x)
    hard = torch.zeros_like(soft).scatter(-1, z.argmax(-1, keepdim=True), 1.0)
    return soft.detach(), hard, grad.detach(), second


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_samples_and_derivatives_are_those_of_the_plain_formula(case, found):
    """Soft and hard samples, their gradients, and the second derivative, in the logits' dtype.

    To 1e-5, for gradients times the 1 / tau they contain, and to one rounding to that dtype: only
    the second derivative starts from a rounded first.
    """
    got = found[repr(case)]
    soft, hard, grad, second = plain(case)
    assert {value.dtype for value in got.values()} == {case.dtype}
    assert got["soft"].shape == hard.shape
    eps = 0 if case.dtype == torch.float32 else torch.finfo(case.dtype).eps

    def close(name, truth, power, eps_absolute=0):
        scale = min(case.tau, 1.0) ** -power if case.tau > 1e-3 else 1.0
        atol = scale * (1e-5 + eps_absolute)
        torch.testing.assert_close(got[name].float(), truth, rtol=4e-5 + eps, atol=atol)

    close("soft", soft, 0)
    assert torch.equal(got["hard"].float(), hard)
    for name in ("grad", "hard_grad", "slope"):
        close(name, grad, 1)
    close("second", second, 3, case.n * eps)


def test_nothing_is_written_past_the_end(found):
    """Rows that do not fill a block leave what lies behind them alone."""
    written, behind = found["beyond"]
    torch.testing.assert_close(written.sum(-1), torch.ones(70))
    assert behind.isnan().all()


def test_strided_tensors_are_read_right(found):
    """Transposed logits, permuted and expanded gradients give what their copies give."""
    strided, copied = found["layouts"][:3], found["layouts"][3:]
    for s, c in zip(strided, copied, strict=True):
        torch.testing.assert_close(s, c, rtol=0, atol=0)
    torch.testing.assert_close(strided[1], strided[0], rtol=0, atol=0)
    assert strided[2][1].abs().max() < 1e-6  # of a sum of probabilities


def test_ties_go_to_the_first(found):
    """Equal largest entries make one winner, in one step or over several."""
    for hard in found["ties"]:
        assert torch.equal(hard, torch.eye(12)[0].expand(3, 12))


def test_the_noise_keeps_its_tails(found):
    """From the smallest to the largest of the 2^52 uniforms, against float64: finite and right.

    1 - u in float32 would lose every digit of the first of them.
    """
    integers = bits(found["starts"], 1, 1, 2).view(-1, 2)
    assert integers[:, 0].tolist() == EXTREMES
    u = ((integers.double() + 0.5) * 2.0**-52).clamp(max=1 - 2.0**-24)
    gumbel = -(-torch.log1p(-u)).log()
    y = found["extremes"].double()
    got = 20 * (y[:, 0] / y[:, 1]).log()
    torch.testing.assert_close(got, gumbel[:, 0] - gumbel[:, 1], rtol=1e-6, atol=2e-5)


@needs_triton
@pytest.mark.parametrize("capability", [75, 80, 90])
def test_the_kernels_compile_for_a_gpu(capability):
    """To machine code, which takes no GPU; rows of 8 are read and written by 128 bits at a time."""
    run("triton_compiles.py", capability, TRITON_INTERPRET="0")


def large(device):
    """What dispatch sees of large logits on a device."""
    place = torch.device(device)
    return SimpleNamespace(
        device=place,
        is_cuda=place.type == "cuda",
        is_cpu=place.type == "cpu",
        shape=(2**12, 2**10),
        numel=lambda: 2**22,
    )


def test_without_triton_the_plain_formula_serves(monkeypatch):
    """Then logits on a GPU have no kernel; nor have those on other accelerators."""
    monkeypatch.setattr(kernels, "find_spec", lambda _: None)
    kernels.on_gpu.cache_clear()
    assert not kernels.serves(large("cuda:0"))
    assert not kernels.serves(large("mps"))
    assert kernels.serves(large("cpu"))


@needs_triton
def test_where_triton_cannot_compile_the_plain_formula_serves():
    """A GPU that Triton has no driver or compiler for is warned of once, and has no kernel."""
    kernels.on_gpu.cache_clear()
    with pytest.warns(RuntimeWarning, match="Triton cannot run on cpu: .*; the plain formula is"):
        assert kernels.on_gpu(torch.device("cpu")) is None
    assert kernels.on_gpu(torch.device("cpu")) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device: it would measure")
def test_the_benchmark_says_that_it_needs_a_gpu():
    """One line, and exit status 1."""
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, cwd=HERE.parent, check=False, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 1
    assert re.fullmatch(
        r"benchmarks\.gpu: expected a CUDA device, got none .*; run it on .*\n", done.stderr
    )

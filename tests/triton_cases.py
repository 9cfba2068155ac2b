"""Cases of the Triton kernels, and what the kernels make of them.

python tests/triton_cases.py OUT.pt

writes the results of all cases on the CPU. It is to run with TRITON_INTERPRET=1, in a process of
its own: Triton reads the variable when it is first imported, and then compiles nothing.
"""

import sys
from dataclasses import dataclass
from importlib import import_module
from unittest import mock

import torch
from torch import Tensor

from reparam.noise import Noise

MASK = 2**64 - 1


@dataclass(frozen=True)
class Case:
    """Samples of logits `shape`; `keyed` leading dimensions have a key for each entry."""

    shape: tuple[int, ...]
    n: int = 1
    keyed: int = 0
    tau: float = 0.7
    dtype: torch.dtype = torch.float32
    step: int = 0  # the width of steps along a row, where short rows are to be taken as long ones
    scale: float = 2.0
    excluded: tuple[int, int] = (0, 0)  # the columns between which all are at -inf

    def logits(self) -> Tensor:
        x = torch.randn(self.shape, generator=torch.Generator().manual_seed(1)) * self.scale
        x[..., slice(*self.excluded)] = -torch.inf
        return x.to(self.dtype)

    def grads(self) -> Tensor:
        g = torch.randn(self.n, *self.shape, generator=torch.Generator().manual_seed(2))
        return g.to(self.dtype)

    def noise(self) -> Noise:
        keys = torch.arange(torch.Size(self.shape[: self.keyed]).numel())
        return Noise(key=keys.view(self.shape[: self.keyed]) if self.keyed else 7)


BF16, FP16 = torch.bfloat16, torch.float16
COLUMNS = [1, 2, 3, 8, 10, 33, 64, 1000]
CASES = [
    *(Case((7, k)) for k in [*COLUMNS, 5000]),
    *(Case((7, k), step=max(4, k // 4)) for k in COLUMNS),
    Case((1, 20_000)),
    *(
        Case((5, 12), tau=t, dtype=d, step=s)
        for t in (0.1, 0.7, 2.0, 1e-8)
        for d in (torch.float32, BF16, FP16)
        for s in (0, 4)
    ),
    Case((270, 8)),
    Case((150, 10), n=2),
    Case((150, 10), n=2, keyed=1),
    *(
        Case((4, 3, 2, 10), n=n, keyed=k, dtype=d, step=s)
        for n, k, d, s in [
            (1, 1, torch.float32, 0),
            (3, 0, torch.float32, 0),
            (3, 1, torch.float32, 0),
            (3, 3, torch.float32, 4),
            (40, 2, BF16, 0),
            (3, 2, FP16, 4),
        ]
    ),
    *(Case((6, 12), excluded=(i, i + 8), step=s) for i in (0, 4) for s in (0, 4)),
    Case((10,)),
    Case((6, 12), tau=1e50),
    Case((6, 12), tau=1e50, step=4),
]
EXTREMES = [0, 1, 2**22, 2**28, 2**30, 2**40, 2**51, 2**52 - 2, 2**52 - 1]
"""52-bit integers at which a careless logarithm, or one of 0, would show."""


def results(device: str) -> dict[str, object]:
    """What the kernels make of the cases: tensors on the CPU, by the case's representation."""
    cuda = import_module("reparam.kernels.gumbel_softmax.cuda")  # it imports Triton
    found: dict[str, object] = {repr(case): outcome(cuda, case, device) for case in CASES}
    found["layouts"] = layouts(cuda, device)
    found["beyond"] = beyond(cuda, device)
    found["ties"] = [ties(cuda, device, step) for step in (0, 4)]
    starts = torch.tensor([signed(start_of(bits)) for bits in EXTREMES], device=device)
    rows = torch.zeros(len(starts), 2, device=device)
    y = cuda._GumbelSoftmax.apply(rows, 20.0, False, (starts, 1), 1)[0]
    found["extremes"] = y.cpu()
    found["starts"] = starts.cpu()
    return found


def outcome(cuda, case: Case, device: str) -> dict[str, Tensor]:
    """Samples, hard samples, the gradients of both, and the gradient of the soft one's norm."""
    x, w = case.logits().to(device).requires_grad_(), case.grads().to(device)
    with stepping(cuda, case.step):
        soft, hard = (cuda.gumbel_softmax(x, case.tau, h, case.noise(), case.n) for h in (0, 1))
        grad, hard_grad = (torch.autograd.grad(y, x, w, retain_graph=True)[0] for y in (soft, hard))
        (slope,) = torch.autograd.grad(soft, x, w, create_graph=True)
        (second,) = torch.autograd.grad((slope.float() ** 2).sum(), x)
    names = "soft", "hard", "grad", "hard_grad", "slope", "second"
    values = soft, hard, grad, hard_grad, slope, second
    return {name: value.detach().cpu() for name, value in zip(names, values, strict=True)}


def layouts(cuda, device: str) -> list[tuple[Tensor, Tensor]]:
    """Samples and gradients of strided logits and gradients, and of what they are copies of."""
    x = torch.randn(10, 6, 4, generator=torch.Generator().manual_seed(3)).to(device)
    w = torch.randn(2, 4, 6, 10, generator=torch.Generator().manual_seed(4)).to(device)
    one = torch.ones((), device=device).expand(w.shape)
    grads = w, w.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0), one
    found = []
    for view in (x.transpose(0, 2), x.transpose(0, 2).contiguous()):
        logits = view.detach().requires_grad_()
        y = cuda.gumbel_softmax(logits, 0.7, False, Noise(key=1), 2)
        found += [
            (y.detach().cpu(), torch.autograd.grad(y, logits, g, True)[0].cpu()) for g in grads
        ]
    return found


def beyond(cuda, device: str) -> Tensor:
    """A buffer of NaN `(2, 70, 10)` after a sample was written to its first half."""
    x, starts = torch.zeros(70, 10, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    buffer = torch.full((2, 70, 10), torch.nan, device=device)
    cuda._launch(cuda.tile_forward, (x, starts, buffer[:1]), 70, 1.0, HARD=False)
    return buffer.cpu()


def ties(cuda, device: str, step: int) -> Tensor:
    """Hard samples of logits beside which the noise is lost to rounding."""
    x = torch.full((3, 12), 1e9, device=device)
    with stepping(cuda, step):
        return cuda.gumbel_softmax(x, 1.0, True, Noise(key=1)).cpu()


def stepping(cuda, step: int):
    """Take all rows as long ones, of which a program holds `step` columns; 0: as they are."""
    width = 1 << (step - 1).bit_length() if step else cuda.STEP
    return mock.patch.multiple(cuda, STEP=width, LONGEST=0 if step else cuda.LONGEST)


def start_of(bits: int) -> int:
    """The start of a stream whose first 52-bit integer is `bits`: SplitMix64, backwards."""
    z = unshift(bits << 12 | 0x5A5, 31) * pow(0x94D049BB133111EB, -1, 2**64) & MASK
    z = unshift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) & MASK
    return unshift(z, 30) * pow(0x9E3779B97F4A7C15, -1, 2**64) & MASK


def unshift(z: int, by: int) -> int:
    """x, of z = x ^ (x >> by)."""
    x = z
    for _ in range(64 // by):
        x = z ^ (x >> by)
    return x


def signed(number: int) -> int:
    """The int64 of the same bits."""
    return number - 2**64 if number >= 2**63 else number


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(results("cpu"), sys.argv[1])

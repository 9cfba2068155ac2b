"""Compile the Triton kernels for a GPU that need not be there.

python tests/triton_compiles.py CAPABILITY
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from reparam.kernels.gumbel_softmax import cuda_kernels

POINTERS = ("logits", "starts", "out", "grad", "tops", "sums")
INTEGERS = ("blocks", "rows", "groups", "each", "bits")


def compiled(kernel, capability: int, floats: str = "fp32", integers: str = "i32", **constants):
    """The kernel for tensors whose memory is aligned to 16 bytes."""
    names = kernel.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    signature = dict.fromkeys(names, f"*{floats}") | {"starts": "*i64", "rate": "fp32"}
    signature |= {"tops": "*fp32", "sums": "*fp32"} | dict.fromkeys(INTEGERS, integers)
    signature |= dict.fromkeys(constants, "constexpr")
    aligned = {(names.index(p),): [["tt.divisibility", 16]] for p in POINTERS if p in names}
    source = ASTSource(kernel, {name: signature[name] for name in names}, constants, aligned)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def main(capability: int) -> None:
    """All kernels, for the types and constants that the code branches on."""
    tiles, rows = cuda_kernels.tile_forward, cuda_kernels.row_forward
    backwards = {tiles: cuda_kernels.tile_backward, rows: cuda_kernels.row_backward}
    for forward, shape in [
        (tiles, {"HEIGHT": 128, "WIDTH": 8}),
        (rows, {"HEIGHT": 1, "WIDTH": 512}),
    ]:
        common = {**shape, "VECTOR": 4, "ONE_KEY": True}
        for kernel, hard in [(forward, False), (forward, True), (backwards[forward], False)]:
            ptx = compiled(kernel, capability, HARD=hard, **common).asm["ptx"]
            assert "ld.global.v4.b32" in ptx
            assert "st.global.v4.b32" in ptx
            assert "lg2.approx" not in ptx, "an approximate logarithm loses the tail"
        ones = dict.fromkeys(INTEGERS, 1)  # what Triton makes constants
        compiled(forward, capability, HARD=True, **common, **ones)
        compiled(forward, capability, "bf16", "i64", HARD=True, **{**common, "ONE_KEY": False})
        compiled(backwards[forward], capability, "fp16", "i64", **{**common, "ONE_KEY": False})


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The evaluation path of every module leaves Python: torch.export, and ONNX."""

import pytest
import torch
from torch import nn

from nn_cases import CASES

EXPORTED = [name for name in CASES if name != "permutation"]


class Outputs(nn.Module):
    """A module whose outputs are tensors: of a routing, its weights and indices."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        """What the module gives for the inputs."""
        found = self.module(*inputs)
        return (found.dense(), found.indices) if hasattr(found, "dense") else (found,)


def settled(name):
    """A module of the list in eval mode, and its inputs."""
    return Outputs(CASES[name].module()).eval(), CASES[name].inputs()


@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_program_gives_the_same(name):
    """For any batch, where there is one."""
    module, inputs = settled(name)
    batch = {0: torch.export.Dim("batch")}
    shapes = {"inputs": tuple(batch for _ in inputs)} if inputs else None
    program = torch.export.export(module, inputs, dynamic_shapes=shapes).module()
    larger = tuple(torch.cat([x, 2 * x]) for x in inputs)
    for given in (inputs, larger):
        for found, expected in zip(program(*given), module(*given), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # torch's own pickling of its specs
@pytest.mark.parametrize("name", ["categorical, blocks", "L0Linear", "router"])
def test_the_onnx_file_gives_the_same(name, tmp_path):
    """Run by ONNX Runtime."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module, inputs = settled(name)
    torch.onnx.export(module, inputs, dynamo=True, verbose=False).save(tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    names = [node.name for node in session.get_inputs()]
    found = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    for one, expected in zip(found, module(*inputs), strict=True):
        torch.testing.assert_close(torch.from_numpy(one), expected)

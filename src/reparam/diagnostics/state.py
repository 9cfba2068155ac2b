"""The state of a person's model, left as it was found."""

import gc
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn


class State:
    """The buffers, modes and `.grad` of every module and leaf that some objects lead to.

    In their place stand copies and None: what was there is never written to.
    """

    def __init__(self, *roots: object) -> None:
        modules, leaves = reachable(*roots)
        self._modes = [(module, module.training) for module in modules]
        self._buffers = [
            (module._buffers, name, value)  # noqa: SLF001 (setattr would register another)
            for module in modules
            for name, value in module._buffers.items()  # noqa: SLF001
        ]
        self._grads = [(leaf, leaf.grad) for leaf in leaves]

    def renew(self) -> None:
        """As found, by fresh copies: what every trial starts from."""
        copies: dict[int, Tensor | None] = {id(None): None}
        for buffers, name, value in self._buffers:
            if id(value) not in copies and value is not None:
                copies[id(value)] = value.detach().clone()
            buffers[name] = copies[id(value)]
        for leaf, _ in self._grads:
            leaf.grad = None
        self._set_modes()

    def put_back(self) -> None:
        """As found, by the very same tensors."""
        for buffers, name, value in self._buffers:
            buffers[name] = value
        for leaf, grad in self._grads:
            leaf.grad = grad
        self._set_modes()

    def _set_modes(self) -> None:
        for module, training in self._modes:
            module.training = training


@contextmanager
def undisturbed(*roots: object) -> Iterator[State]:
    """One thread, gradients on; afterwards, and after an error, all is as it was.

    torch's generators and number of threads, and the `State` of what the objects lead to.
    """
    devices = range(torch.cuda.device_count()) if gpu_in_use() else ()
    threads = torch.get_num_threads()
    state = State(*roots)
    with torch.random.fork_rng(devices), torch.enable_grad():
        # Sums then add up in one order, on every number of processes.
        torch.set_num_threads(1)
        try:
            state.renew()
            yield state
        finally:
            state.put_back()
            torch.set_num_threads(threads)


def seed_all(seed: int) -> None:
    """Seed torch's generators; those of a GPU only where it is in use already."""
    torch.default_generator.manual_seed(seed)
    if gpu_in_use():
        torch.cuda.manual_seed_all(seed)


def gpu_in_use() -> bool:
    """Whether there is a state to keep; asking must not start a GPU."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def reachable(*roots: object) -> tuple[list[nn.Module], list[Tensor]]:
    """Modules and leaves that objects lead to: by attributes, items, closures, used globals."""
    modules: list[nn.Module] = []
    leaves: list[Tensor] = []
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        x = todo.pop()
        if id(x) in seen or isinstance(x, type | types.ModuleType | types.FrameType):
            continue
        seen.add(id(x))
        if isinstance(x, Tensor):
            leaves += [x] if x.is_leaf and x.requires_grad else []
            continue
        if isinstance(x, nn.Module):
            modules.append(x)
        if isinstance(x, types.FunctionType):
            todo += _used(x)
        elif gc.is_tracked(x):
            todo += gc.get_referents(x)
        elif isinstance(x, dict | tuple):  # what holds tensors alone may be untracked
            todo += x.values() if isinstance(x, dict) else x
    return modules, leaves


def _used(function: types.FunctionType) -> Iterator[object]:
    """What a function may touch: its closure and defaults, and the globals that it names."""
    if (function.__module__ or "").partition(".")[0] == "torch":
        return
    yield from function.__defaults__ or ()
    yield function.__kwdefaults__
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled yet
            yield cell.cell_contents
    names = set(_names(function.__code__))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            yield from (vars(value)[inner] for inner in names & vars(value).keys())
        yield value


def _names(code: types.CodeType) -> Iterator[str]:
    """Names in a function's code and in that of the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)

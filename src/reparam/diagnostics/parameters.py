"""The tensors whose gradient is measured, by name: a person's choice, or what q is made of."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Transform

Tensors = Tensor | nn.Module | Iterable[Tensor]
Params = Tensors | Iterable[nn.Module] | Iterable[tuple[str, Tensors]] | Mapping[str, Tensors]
Groups = dict[str, list[Tensor]]


def groups(params: Params | None, q: Distribution) -> Groups:
    """Tensors by the name of their group.

    A module has a group for each of its submodules with parameters of their own; what is listed
    has one for each entry, by its place, or by the first of a pair such as `named_parameters()`
    gives; None stands for the leaves that q was computed from, grouped by the parameters of q
    that they reach.

    Raises:
        TypeError: for what is no tensor, module or collection of them.
        ValueError: if none of them requires grad.
    """
    if params is None:
        found = _leaves_of(q)
    elif isinstance(params, nn.Module):
        found = _by_submodule(params)
    elif isinstance(params, Tensor):
        found = {"params": [params]}
    elif isinstance(params, Mapping):
        found = {name: _listed(value) for name, value in params.items()}
    else:
        found = _by_place(params)
    wanted = {name: [x for x in tensors if x.requires_grad] for name, tensors in found.items()}
    wanted = {name: tensors for name, tensors in wanted.items() if tensors}
    if not wanted:
        raise ValueError(
            "params: expected tensors that require grad, got none; make q from such tensors, or "
            "pass params=model"
        )
    return wanted


def _listed(value: Tensors) -> list[Tensor]:
    if isinstance(value, nn.Module):
        return list(value.parameters())
    tensors = [value] if isinstance(value, Tensor) else _entries(value)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise _foreign(tensor)
    return tensors


def _by_place(params: Iterable[Any]) -> Groups:
    found: Groups = {}
    for number, entry in enumerate(_entries(params)):
        pair = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
        name, value = entry if pair else (str(number), entry)
        found[name] = _listed(value)
    return found


def _entries(value: Iterable[Any]) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _foreign(value)
    return list(value)


def _foreign(value: object) -> TypeError:
    return TypeError(
        f"params: expected tensors, modules, or lists or dicts of them, got {value!r} of type "
        f"{type(value).__name__}; pass params=model, or params=model.encoder.weight"
    )


def _by_submodule(module: nn.Module) -> Groups:
    found: Groups = {}
    for name, value in module.named_parameters():
        owner, _, own = name.rpartition(".")
        found.setdefault(owner or own, []).append(value)
    return found


def _leaves_of(q: Distribution) -> Groups:
    reached: dict[int, tuple[Tensor, list[str]]] = {}
    # A private attribute is a second name of a parameter, unless it is the only one.
    for name, value in sorted(_attributes(q, ""), key=lambda pair: _private(pair[0])):
        for leaf in _leaves(value):
            names = reached.setdefault(id(leaf), (leaf, []))[1]
            if name not in names and not (names and _private(name)):
                names.append(name)
    found: Groups = {}
    for leaf, names in reached.values():
        found.setdefault(", ".join(names), []).append(leaf)
    return found


def _attributes(thing: object, path: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a distribution holds; its logits and probs, one made from the other, once."""
    own = vars(thing)
    for attribute, value in own.items():
        name = path + attribute
        if isinstance(value, Tensor):
            if not (attribute == "probs" and "logits" in own):
                yield name, value
        elif isinstance(value, Distribution | Transform):
            hidden = attribute == "base_dist" or _private(attribute)
            yield from _attributes(value, path if hidden else f"{name}.")
        elif isinstance(value, list):
            for number, part in enumerate(x for x in value if isinstance(x, Transform)):
                yield from _attributes(part, f"{name}.{number}.")


def _private(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def _leaves(value: Tensor) -> Iterator[Tensor]:
    """The leaves that a tensor was computed from, itself if it is one."""
    if value.grad_fn is None:
        if value.requires_grad:
            yield value
        return
    seen, todo = set(), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            yield leaf
        todo += [parent for parent, _ in node.next_functions if parent is not None]

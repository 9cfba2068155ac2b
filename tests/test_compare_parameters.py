"""Which tensors a comparison measures the gradient of, and how they are named."""

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Poisson,
    TransformedDistribution,
)
from torch.distributions import Categorical as IndexCategorical
from torch.distributions.transforms import AffineTransform

import reparam as rp
from compare_cases import leaf, made
from reparam.diagnostics.parameters import groups
from reparam.functional import hard_argmax


def parameters_of(q: Distribution) -> dict[str, list[int]]:
    """Names of groups, with the shapes' sizes."""
    return {name: [x.numel() for x in tensors] for name, tensors in groups(None, q).items()}


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        (OneHotCategorical(logits=leaf(3)), {"logits": [3]}),
        (Bernoulli(probs=leaf(2) * 0.5), {"probs": [2]}),
        (Independent(Normal(leaf(2), leaf(3, 2)), 1), {"loc": [2], "scale": [6]}),
        (Normal(0.0, leaf(2)), {"scale": [2]}),
        (
            MixtureSameFamily(IndexCategorical(logits=leaf(2)), Normal(leaf(2), 1.0)),
            {"logits": [2], "loc": [2]},
        ),
        (
            MultivariateNormal(leaf(2), torch.eye(2) * leaf(1)),
            {"loc": [2], "covariance_matrix": [1]},
        ),
        (rp.distributions.Subset(2, leaf(4)), {"logits": [4]}),
        (rp.distributions.PerturbAndMap(leaf(3), hard_argmax), {"theta": [3]}),
        (
            TransformedDistribution(Normal(leaf(1), 1.0), AffineTransform(leaf(4), 2.0)),
            {"loc": [1], "transforms.0.loc": [4]},
        ),
    ],
)
def test_the_leaves_of_a_distribution_are_found(q, expected):
    """By the parameter of q that they reach, through wrappers and transforms."""
    got = parameters_of(q)
    assert {name: sizes for name, sizes in got.items() if sizes} == expected


def test_a_leaf_of_several_parameters_is_named_after_both():
    """The trunk of an encoder with two heads."""
    trunk = leaf(3)
    q = Normal(trunk * leaf(3), trunk.exp())
    assert parameters_of(q) == {"loc, scale": [3], "loc": [3]}


def test_params_may_be_named_in_many_ways():
    """A tensor, a list, a dict of tensors, lists and modules, a module by its submodules."""
    model = made()
    q = model.q()
    weight = model.head.weight
    assert groups(weight, q) == {"params": [weight]}
    assert list(groups([weight, model.head.bias], q)) == ["0", "1"]
    named = groups({"head": model.head, "w": weight, "both": [weight, model.x]}, q)
    assert [len(tensors) for tensors in named.values()] == [2, 1, 1]
    assert list(groups(model, q)) == [*("encoder.0", "encoder.1", "head", "decoder.0", "decoder.1")]
    assert [len(own) for own in groups([model.encoder, model.head], q).values()] == [4, 2]
    assert groups(model.head.named_parameters(), q) == groups(
        {"weight": weight, "bias": model.head.bias}, q
    )
    for wrong in (3, "head", ["head"], {"head": 3}, [None]):
        with pytest.raises(TypeError, match=r"params: expected tensors, modules, .* pass params="):
            groups(wrong, q)
    with pytest.raises(ValueError, match=r"params: expected tensors that require grad, got none"):
        groups(model.x, q)
    with pytest.raises(ValueError, match=r"params: expected tensors that require grad, got none"):
        groups(None, Poisson(torch.ones(2)))


def test_parameters_that_are_made_anew_are_refused():
    """A gradient in what the first call made reaches nothing in the next."""
    with pytest.raises(ValueError, match=r"params: expected tensors that the gradient reaches"):
        rp.compare(
            lambda x: x, lambda: Bernoulli(logits=torch.zeros(2, requires_grad=True)), ["rloo"], n=2
        )

"""Relaxed distributions that return hard points, with the gradients and density of soft ones."""

from typing import NoReturn

from torch import Tensor
from torch.distributions import constraints

from reparam.distributions.relaxed import Relaxed
from reparam.distributions.relaxed_bernoulli import RelaxedBernoulli
from reparam.distributions.relaxed_one_hot_categorical import RelaxedOneHotCategorical
from reparam.functional import hard_argmax, straight_through


class StraightThrough(Relaxed):
    """What the two share: points `hard(y) + y - sg(y)` of a relaxed sample y, and y's density.

    Many y have one hard point, so that its relaxed density cannot be told from its value: points
    keep their y, as those of the relaxed distributions do, and without it `log_prob` refuses.
    """

    def _read(self, value: Tensor) -> NoReturn:
        raise ValueError(
            f"value: expected a sample that keeps its soft value, got a plain tensor of shape "
            f"{tuple(value.shape)}; clone, detach, views and indexing of a sample keep it, "
            "arithmetic, casts, torch.func and torch.compile do not: there, use log_rsample and "
            "log_prob_of_log; for the probability of hard points, torch's Bernoulli or "
            "OneHotCategorical"
        )


class RelaxedBernoulliStraightThrough(StraightThrough, RelaxedBernoulli):
    """1 if y > 1/2 else 0, with the gradient of y ~ RelaxedBernoulli(temperature, ...).

    Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons",
    arXiv:1308.3432; relaxed as in Jang et al. 2017, section 2.2, arXiv:1611.01144. Arguments as for
    `RelaxedBernoulli`, and `log_prob`, `entropy` and `kl_divergence` are its own, of y.

    >>> q = RelaxedBernoulliStraightThrough(0.5, logits=torch.zeros(1000))
    >>> points = q.rsample()
    >>> points.unique().tolist(), torch.equal(q.log_prob(points.clone()), q.log_prob(points))
    ([0.0, 1.0], True)
    """

    support = constraints.boolean

    def _points(self, log: Tensor) -> Tensor:
        return straight_through((log > 0).to(log.dtype), self._from_log(log))


class RelaxedOneHotCategoricalStraightThrough(StraightThrough, RelaxedOneHotCategorical):
    """onehot(argmax(y)), with the gradient of y ~ RelaxedOneHotCategorical(temperature, ...).

    Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax", section 2.2,
    arXiv:1611.01144. Arguments as for `RelaxedOneHotCategorical`, and `log_prob`, `entropy` and
    `kl_divergence` are its own, of y.

    >>> q = RelaxedOneHotCategoricalStraightThrough(0.5, logits=torch.zeros(1000, 3))
    >>> points = q.rsample()
    >>> points.unique().tolist(), torch.equal(q.log_prob(points.clone()), q.log_prob(points))
    ([0.0, 1.0], True)
    """

    support = constraints.one_hot

    def _points(self, log: Tensor) -> Tensor:
        return straight_through(hard_argmax(log), self._from_log(log))

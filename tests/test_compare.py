"""rp.compare: figures against exact moments, intervals that cover, a model left as it was."""

import functools
import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Distribution, OneHotCategorical

import reparam as rp
from acceptance import FALSE_FAIL, seeded
from compare_cases import made, measured
from reparam.baselines import MovingAverage
from reparam.diagnostics import figures as statistics
from reparam.diagnostics.comparison import Comparison
from reparam.diagnostics.state import reachable
from reparam.diagnostics.trials import BLOCKS, seeds
from reparam.diagnostics.truth import LONGER, STREAM
from reparam.problems.moments import _gradients
from reparam.problems.nodes import nodes

WIDER = stats.t.isf(FALSE_FAIL / 2, BLOCKS - 1) / statistics.QUANTILE
"""A 95 % interval this many times as wide fails at rate FALSE_FAIL."""


def exact(spec: str, name: str, n: int) -> dict[str, float]:
    """What the figures should be, by enumeration and quadrature."""
    p, estimator = rp.PROBLEMS[name](), rp.estimator(spec)
    weights, noise = nodes(estimator, p.q(), n)
    bias, variance, size, truth, cross = (torch.zeros(()).double() for _ in range(5))
    for gradient, true in _gradients(estimator, p, n, len(weights), noise=noise):
        w = weights.reshape(*weights.shape, *[1] * (gradient.ndim - weights.ndim))
        mean = (w * gradient).sum(0)
        bias += (mean - true).square().sum()
        variance += (w * (gradient - mean).square()).sum()
        size += mean.square().sum()
        truth += true.square().sum()
        cross += (mean * true).sum()
    return {
        "bias": bias.sqrt().item(),
        "variance": variance.item(),
        "mse": (variance + bias).item(),
        "snr": (size / variance).sqrt().item(),
        "cosine": (cross / (size * truth).sqrt()).item(),
    }


CASES = [
    ("bernoulli", "rloo", 2),
    ("bits3", "disarm", 1),
    ("categorical3", "gumbel-softmax:tau=0.5", 1),
    ("categorical3", "straight-through", 1),
    ("categorical8", "score", 2),
    ("gaussian", "pathwise", 1),
    ("poisson", "score", 1),
    ("vae", "reinmax", 1),
]


@pytest.mark.parametrize(("problem", "spec", "n"), CASES)
def test_figures_are_the_exact_ones(problem, spec, n):
    """Each within an interval widened to a rate of false failure of 1e-7, five of them."""
    row, true = measured(problem, spec, n=n, trials=1600).rows[0], exact(spec, problem, n)
    for name in ("variance", "mse", "snr"):
        reach = WIDER * math.log(row[f"{name}_high"] / row[name])
        assert abs(math.log(row[name] / true[name])) <= reach, name
    reach = WIDER * (row["bias_high"] ** 2 - row["bias"] ** 2)
    assert abs(row["bias"] ** 2 - true["bias"] ** 2) <= reach
    reach = WIDER * (row["cosine"] - row["cosine_low"])
    assert abs(row["cosine"] - true["cosine"]) <= reach + 1e-9
    assert row["variance_high"] < 1.3 * row["variance"]
    assert row["truth_error"] == 0


def drawn(kind: str, trials: int, dims: int, generator: torch.Generator) -> Tensor:
    """Noise of variance 1, symmetric or skewed."""
    blank = torch.empty(trials, dims, dtype=torch.float64)
    if kind == "normal":
        return blank.normal_(generator=generator)
    return blank.exponential_(generator=generator) - 1


def summed(gradients: Tensor, truth: Tensor) -> tuple[statistics.Grams, int]:
    """What the trials would be summed up to; truth `(K, D)`."""
    each = len(gradients) // BLOCKS
    blocks = gradients.reshape(BLOCKS, each, -1)
    square = (blocks - truth.mean(0)).square().sum(-1).mean(-1)
    return statistics.grams(blocks.mean(1), truth, square), each


COVERS = {"bias": 0.93, "variance": 0.92, "mse": 0.92, "snr": 0.93, "cosine": 0.88}
"""The least coverage of each interval that is claimed; 95 % is nominal."""


@pytest.mark.parametrize("kind", ["normal", "exponential"])
@pytest.mark.parametrize(
    ("dims", "bias", "sampled"),
    [(1, 0.1, 0.0), (1, 3.0, 0.0), (4, 0.0, 0.1), (4, 0.1, 0.0), (30, 1.0, 0.1)],
)
def test_the_intervals_cover(kind, dims, bias, sampled, monkeypatch):
    """Of an exact truth and of a sampled one, at 640 trials.

    False fail: 1e-7 each if the coverage is as claimed. False pass: below 1 % if it is 0.07 less.
    """
    monkeypatch.setattr(statistics, "bias_p", lambda gram: 1.0)  # slow, and of no interval
    count = 1500
    generator = seeded(0)
    truth = torch.full((dims,), dims**-0.5, dtype=torch.float64)
    mean = truth.clone()
    mean[-1] += bias
    true = {"bias": bias, "variance": dims, "mse": dims + bias**2}
    true |= {"snr": mean.norm().item() / dims**0.5, "cosine": (mean @ truth / mean.norm()).item()}
    hits = dict.fromkeys(true, 0)
    for _ in range(count):
        gradients = mean + drawn(kind, 640, dims, generator)
        seen = truth + sampled * drawn(kind, BLOCKS, dims, generator)
        found = statistics.figures(*summed(gradients, seen), 1e-16)
        for name, value in true.items():
            hits[name] += found[f"{name}_low"] - 1e-9 <= value <= found[f"{name}_high"] + 1e-9
    for name, hit in hits.items():
        assert hit >= stats.binom.ppf(FALSE_FAIL, count, COVERS[name]), (name, hit / count)
    assert hits["variance"] <= stats.binom.isf(FALSE_FAIL, count, 0.97)


def test_squared_norms_are_products_of_different_blocks():
    """By their definition, block by block: none has the variance of a mean in it."""
    each, generator = 3, seeded(0)
    gradients = torch.randn(BLOCKS * each, 4, generator=generator).double()
    truth = torch.randn(BLOCKS, 4, generator=generator).double() + 1
    found = statistics.figures(*summed(gradients, truth), 1e-16)
    x = gradients.reshape(BLOCKS, each, 4).mean(1)

    def squared(blocks: Tensor) -> float:
        pairs = itertools.permutations(blocks, 2)
        return sum((a @ b).item() for a, b in pairs) / (BLOCKS * (BLOCKS - 1))

    variance = gradients.var(0).sum().item()
    cross = (x.mean(0) @ truth.mean(0)).item()
    size = max(squared(x), 1e-300)
    assert found["variance"] == pytest.approx(variance, rel=1e-12)
    assert found["mse"] == pytest.approx(variance + squared(x - truth), rel=1e-12)
    assert found["bias"] ** 2 == pytest.approx(squared(x - truth), rel=1e-12)
    assert found["truth"] ** 2 == pytest.approx(squared(truth), rel=1e-12)
    assert found["snr"] ** 2 == pytest.approx(max(squared(x), 0) / variance, rel=1e-9, abs=1e-12)
    expected = cross / math.sqrt(size * squared(truth))
    assert found["cosine"] == pytest.approx(min(max(expected, -1), 1), rel=1e-12)
    spread = truth.var(0).sum().item() / BLOCKS
    assert found["truth_error"] == pytest.approx(spread**0.5, rel=1e-12)


def test_a_signal_that_was_not_found_is_zero():
    """A squared norm may be estimated as negative; its ratio to the variance is then 0."""
    alternating = torch.tensor([1.0, -1.0]).double().repeat(BLOCKS // 2)[:, None]
    found = statistics.figures(
        *summed(alternating.repeat_interleave(2, 0), torch.zeros(BLOCKS, 1).double()), 1e-16
    )
    assert found["snr"] == found["snr_low"] == 0.0 < found["snr_high"]


@pytest.mark.parametrize("kind", ["normal", "exponential"])
@pytest.mark.parametrize("sampled", [0.0, 1.0])
def test_false_alarms_are_as_rare_as_claimed(kind, sampled):
    """In 800 comparisons without bias; false fail 1e-7 if the rate is 0.001."""
    generator, alarms, count = seeded(1), 0, 800
    for _ in range(count):
        gradients = 1 + drawn(kind, 320, 3, generator)
        truth = 1 + sampled / 20**0.5 * drawn(kind, BLOCKS, 3, generator)
        error = summed(gradients, truth.expand(BLOCKS, -1))[0].error
        alarms += statistics.bias_p(error) < statistics.ALARM
    assert alarms <= stats.binom.isf(FALSE_FAIL, count, statistics.ALARM)


def test_the_chance_of_an_error_is_its_rank():
    """Exactly: under all signs of the blocks, a p-value of a/2^15 occurs for a of 2^15 signs."""
    errors = torch.randn(BLOCKS, 3, generator=seeded(0)).double() + 0.4
    signs = torch.cartesian_prod(torch.ones(1), *[torch.tensor([1.0, -1.0])] * (BLOCKS - 1))
    norms = (signs.double() @ errors).square().sum(-1)
    for number in (0, 1, 77, 2**15 - 1):
        flipped = signs[number].double().unsqueeze(1) * errors
        rank = (norms >= norms[number] * (1 - 1e-9)).double().mean().item()
        assert statistics.bias_p(flipped @ flipped.T) == rank


UNBIASED = ["score", "rloo", "enumerate", "measure-valued", "sum-and-sample", "unordered-set"]


BIASED = ["gumbel-softmax", "straight-through", "straight-through-gumbel-softmax", "imle"]


def test_biased_estimators_are_called_biased_and_others_are_not():
    """At most 2 of 6 unbiased ones are called biased (false fail 2e-8); biased ones all are."""
    found = measured("categorical3", *UNBIASED, *BIASED, n=2, trials=480)
    called = {row["estimator"]: row["biased"] for row in found.rows}
    assert sum(called[name] for name in UNBIASED) <= 2
    assert called["enumerate"] is False
    assert all(called[name] for name in BIASED)
    for row in found.rows:  # by so much that another seed would say the same
        assert row["estimator"] in UNBIASED or row["bias_low"] > 0.6 * row["bias"]


def test_rounding_is_neither_bias_nor_variance():
    """What sums out all classes is exact, but for the order in which it adds them up."""
    for dtype in (torch.float32, torch.float64):
        q = OneHotCategorical(logits=torch.tensor([[0.3, -0.2, 1.1]], dtype=dtype).requires_grad_())

        def cost(points: Tensor) -> Tensor:
            return (points @ torch.tensor([0.1, -0.7, 1.3]).to(points)).exp()

        estimators = ["sum-and-sample:k=3", "measure-valued", "unordered-set:k=3", "enumerate"]
        for found in rp.compare(cost, q, estimators, trials=64).rows:
            assert not found["biased"]
            assert found["variance"] == found["mse"] == 0


def test_the_gradient_is_of_the_sum_over_batch_rows():
    """Not of their mean: the truth of B equal rows is B^(1/2) times that of one, V is B times."""
    logits = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64)
    sizes = {}
    for rows in (1, 4):
        leaf = logits.expand(rows, 3).clone().requires_grad_()
        q = OneHotCategorical(logits=leaf)
        found = rp.compare(lambda x: x[..., 0] * 2, q, ["enumerate"], trials=32)
        sizes[rows] = found.rows[0]["truth"]
    p = torch.softmax(logits, 0)
    one = 2 * p[0] * (torch.tensor([1.0, 0, 0]).double() - p)
    assert sizes[1] == pytest.approx(one.norm().item(), rel=1e-12)
    assert sizes[4] == pytest.approx(2 * sizes[1], rel=1e-12)
    one, four = (exact("rloo", "categorical3", n)["variance"] for n in (2, 2))
    assert one == four


def test_groups_add_up():
    """Squared biases, variances and squared truths of groups sum to those of all; in any form."""
    found = measured("gaussian", "pathwise", trials=64)
    rows = {row["group"]: row for row in found.rows}
    assert list(rows) == ["all", "loc", "scale"]
    for name, power in {"variance": 1, "truth": 2}.items():
        parts = sum(rows[group][name] ** power for group in ("loc", "scale"))
        assert parts == pytest.approx(rows["all"][name] ** power, rel=1e-12)
    p = rp.PROBLEMS["gaussian"]()
    both = list(p.params.values())
    twice = measured("gaussian", "pathwise", trials=64)
    assert [r["mse"] for r in twice.rows] == [r["mse"] for r in found.rows]
    overlapping = rp.compare(
        lambda x: p.cost(x, p.weight),
        p.q,
        ["pathwise"],
        trials=64,
        params={"one": both[0], "both": both},
        exact=p.exact,
    )
    rows = {row["group"]: row["mse"] for row in overlapping.rows}
    assert rows["both"] == rows["all"] == found.rows[0]["mse"]


def found_state(model: nn.Module, *more: nn.Module) -> list[object]:
    """All that has to stay, tensors by identity and by value."""
    seen: list[object] = [torch.get_rng_state().tolist(), torch.get_num_threads()]
    for module in (m for top in (model, *more) for m in top.modules()):
        seen += [module.training]
        for name, tensor in [*module.named_buffers(recurse=False)]:
            seen += [name, id(tensor), tensor._version, tensor.tolist()]
        for name, p in module.named_parameters(recurse=False):
            grad = None if p.grad is None else (id(p.grad), p.grad._version, p.grad.tolist())
            seen += [name, id(p), p._version, p.tolist(), grad]
    return seen


@pytest.mark.parametrize("mode", ["plain", "meddles", "raises"])
def test_a_model_in_training_is_left_as_it_was(mode):
    """Buffers, modes, .grad, generators, threads and learned baselines; after an error too."""
    model, baseline = made("plain"), MovingAverage()
    model.cost_mode = mode
    before = found_state(model, baseline)
    score = rp.Score(baseline)
    run = functools.partial(
        rp.compare, model.cost, model.q, [score, "rebar"], n=2, trials=32, params=model
    )
    if mode == "raises":
        with pytest.raises(RuntimeError, match="the 41st call"):
            run()
    else:
        with torch.no_grad():
            assert {row["group"] for row in run().rows} >= {"all", "encoder.0", "decoder.1"}
    assert found_state(model, baseline) == before


def test_every_trial_starts_from_the_same_state():
    """A baseline that moved, or running means, would make figures depend on what came before."""
    model = made()
    common = {"n": 2, "trials": 32, "params": model.head}
    pair = rp.compare(model.cost, model.q, {"a": rp.Score(MovingAverage()), "b": "score"}, **common)
    alone = rp.compare(model.cost, model.q, ["score"], **common)
    # A moving average that has seen nothing is 0.
    rows = [row for row in [*pair.rows, *alone.rows] if row["group"] == "all"]
    values = [[row["variance"], row["mse"]] for row in rows]
    assert values[0] == values[1] == values[2]


class Counting(nn.Module):
    """Logits that grow with every call, by a buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.3, -0.2, 0.1]).double())
        self.register_buffer("calls", torch.zeros(()).double())

    def forward(self) -> Distribution:
        """Counts in place."""
        self.calls += 1
        return OneHotCategorical(logits=self.logits * self.calls)


@pytest.mark.parametrize("given", [True, False])
def test_the_truth_is_that_of_the_model_as_it_stands(given):
    """As of the first call, however often it was called to find out."""
    model, p = Counting(), torch.softmax(torch.tensor([0.3, -0.2, 0.1]).double(), 0)

    def cost(points: Tensor) -> Tensor:
        return points[..., 0]

    def exact() -> Tensor:
        return rp.expect(cost, model(), rp.Enumerate())

    found = rp.compare(cost, model, ["enumerate"], trials=32, exact=exact if given else None)
    true = p[0] * (torch.tensor([1.0, 0, 0]).double() - p)
    assert found.rows[0]["truth"] == pytest.approx(true.norm().item(), rel=1e-12)
    assert found.rows[0]["mse"] == model.calls == 0


@dataclass
class Holder:
    """Modules where a closure, an attribute or a global leads to."""

    net: nn.Module


HELD = Holder(nn.Linear(1, 1))


def keepers() -> dict[str, tuple[object, nn.Module]]:
    """Costs, each with the module that it keeps."""
    net, other = nn.Linear(1, 1), nn.Linear(1, 1)

    def closure(x: Tensor) -> Tensor:
        return net(x)

    def default(x: Tensor, given: nn.Module = other) -> Tensor:
        return given(x)

    def keyword(x: Tensor, *, given: nn.Module = other) -> Tensor:
        return given(x)

    def nested(x: Tensor) -> Tensor:
        def inner(y: Tensor) -> Tensor:
            return HELD.net(y)

        return inner(x)

    held = functools.partial(lambda h, x: h["deep"][0][0](x), {"deep": [(net,)]})
    return {
        "closure": (closure, net),
        "default": (default, other),
        "keyword": (keyword, other),
        "global": (nested, HELD.net),
        "partial": (held, net),
        "attribute": (Holder(nn.Sequential(net)), net),
        "method": (net.forward, net),
    }


@pytest.mark.parametrize("way", keepers())
def test_modules_are_found_wherever_a_cost_keeps_them(way):
    """With their leaves, and no other module."""
    root, net = keepers()[way]
    modules, leaves = reachable(root)
    assert [m for m in modules if not isinstance(m, nn.Sequential)] == [net]
    assert {id(leaf) for leaf in leaves} == {id(net.weight), id(net.bias)}


@pytest.mark.parametrize("kept", [True, False])
def test_graphs_may_be_shared_or_fresh(kept):
    """A distribution of non-leaf logits serves every trial; the gradient is that of a fresh one."""
    encoder = nn.Linear(2, 3).double()
    with torch.no_grad():
        encoder.weight.copy_(torch.arange(6.0).view(3, 2) / 5)
        encoder.bias.zero_()
    x = torch.tensor([[0.3, -1.0], [2.0, 0.1]], dtype=torch.float64)

    def q() -> Distribution:
        return OneHotCategorical(logits=encoder(x))

    def cost(points: Tensor) -> Tensor:
        return (points * torch.arange(3.0)).sum(-1).square()

    found = rp.compare(cost, q() if kept else q, ["rloo"], n=2, trials=32)
    (gradient,) = torch.autograd.grad(rp.expect(cost, q(), rp.Enumerate()).sum(), [encoder.weight])
    assert found.method == "by enumeration"
    rows = rp.compare(
        cost, q() if kept else q, ["rloo"], n=2, trials=32, params=encoder.weight
    ).rows
    assert rows[0]["truth"] == pytest.approx(gradient.norm().item(), rel=1e-12)
    logits = encoder(x)
    shared = OneHotCategorical(logits=logits)
    assert rp.compare(cost, shared, ["rloo"], n=2, trials=32, params={"l": logits}).rows


def test_no_two_trials_share_a_seed():
    """Nor does a trial with the long run that its truth comes from."""
    every = [*seeds(0, 0, 320), *seeds(0, STREAM, LONGER * 320)]
    flat = [seed for block in every for seed in block]
    assert len(flat) == len(set(flat)) == 5 * 320


def test_a_sampled_truth_says_so_and_widens_the_intervals():
    """The long run agrees with the exact gradient; its error is in the bias's interval."""
    p = rp.PROBLEMS["gaussian"]()
    found = rp.compare(
        lambda x: p.cost(x, p.weight), p.q, ["pathwise"], trials=640, params=p.params
    )
    known = measured("gaussian", "pathwise", trials=640).rows[0]
    row = found.rows[0]
    assert found.method == "from a long run of Rloo()"
    assert 0 < row["truth_error"] < known["truth"]
    assert abs(row["truth"] - known["truth"]) < 5.4 * row["truth_error"]  # false fail 1e-7
    assert row["bias_high"] > row["truth_error"] > known["truth_error"] == 0
    assert not row["biased"]
    sharper = rp.compare(
        lambda x: p.cost(x, p.weight),
        p.q,
        ["pathwise"],
        trials=640,
        params=p.params,
        reference="pathwise",
    )
    assert sharper.method == "from a long run of Pathwise()"
    assert sharper.rows[0]["truth_error"] < row["truth_error"]


def test_what_is_random_itself_is_enumerated_many_times():
    """Dropout in q: one enumeration is not the truth."""
    model = made()
    found = rp.compare(model.cost, model.q, ["enumerate"], trials=64, params=model.head)
    assert found.method == "from a long run of Enumerate()"
    assert found.rows[0]["variance"] > 0 < found.rows[0]["truth_error"]
    assert not found.rows[0]["biased"]


def test_multi_sample_bounds_are_compared_with_their_kind():
    """Among others they are refused; alone, their truth is that of the bound at each n."""
    mixed = measured("gaussian", "pathwise", "dreg", n=2, trials=32)
    assert list(mixed.refused) == ["dreg"]
    assert "multi-sample" in mixed.refused["dreg"]
    alone = measured("gaussian", "dreg", "vimco", n=[2, 4], trials=640)
    assert alone.method.count("Vimco() with n = ") == 2
    total = [row for row in alone.rows if row["group"] == "all"]
    assert len({round(row["truth"], 6) for row in total}) == 2
    assert sum(row["biased"] for row in total) <= 1  # of four: false fail 6e-6 over fresh seeds


def test_the_price_of_a_draw():
    """Points for each batch row; memory that grows with n; times in order."""
    found = measured("categorical3", "rebar", "rloo", n=[2, 8], trials=40)
    rows = {(row["estimator"], row["n"]): row for row in found.rows}
    assert [row["evaluations"] for row in rows.values()] == [6, 24, 2, 8]
    assert rows["rloo", 8]["memory"] > rows["rloo", 2]["memory"] > 100
    for row in rows.values():
        assert 0 < row["seconds_low"] <= row["seconds"] <= row["seconds_high"]
        assert row["trials"] == 48  # a multiple of 16


def test_the_peak_is_that_of_the_allocator(capfd):
    """A million floats for every array that lives at once; and nothing is said on stderr."""
    from reparam.diagnostics.memory import peak_memory  # noqa: PLC0415

    x = torch.ones(10**6)
    for call, arrays in ((x.exp, 1), (lambda: x.exp().exp(), 2)):
        assert 0 <= peak_memory(call, gpu=False) - arrays * 4 * 10**6 < 100
    assert capfd.readouterr().err == ""


def test_the_median_lies_between_its_order_statistics():
    """The interval of the median of n values misses the true one in about 5 % of the cases."""
    generator, hits = seeded(0), 0
    for _ in range(1000):
        value, low, high = statistics.median(torch.rand(200, generator=generator).tolist())
        assert low <= value <= high
        hits += low <= 0.5 <= high
    assert (
        stats.binom.ppf(FALSE_FAIL, 1000, 0.94) <= hits <= stats.binom.isf(FALSE_FAIL, 1000, 0.97)
    )


def without_times(found: Comparison) -> list[dict[str, object]]:
    """Rows of what a seed decides."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in found.rows]


def test_the_figures_depend_on_the_seed_alone():
    """Not on the number of processes, nor on the generator's state."""
    arguments = ("categorical3", "rloo", "gumbel-softmax")
    chosen = {"n": [2, 3], "trials": 64, "exact": None}
    first = measured(*arguments, **chosen)
    torch.rand(3)
    shared = measured(*arguments, **chosen, jobs=2)
    assert without_times(first) == without_times(shared)
    assert without_times(first) != without_times(measured(*arguments, **chosen, seed=1))


def test_processes_share_a_sampled_truth_too():
    """Its blocks are run in parallel, with dropout and running means in the model."""
    model = made()
    chosen = {"n": 2, "trials": 32, "params": model.head}
    found = [rp.compare(model.cost, model.q, ["rloo"], **chosen, jobs=j) for j in (1, 2)]
    assert without_times(found[0]) == without_times(found[1])


def test_without_joblib_one_job_works(monkeypatch):
    """And more name the extra."""
    monkeypatch.setitem(__import__("sys").modules, "joblib", None)
    assert measured("bernoulli", "rloo", n=2, trials=32).rows
    with pytest.raises(ImportError, match=r"jobs=2 needs joblib.*reparam\[train\]"):
        measured("bernoulli", "rloo", n=2, trials=32, jobs=2)


def test_progress_is_told():
    """From 0 to the number of rows."""
    seen: list[tuple[int, int]] = []
    measured("bernoulli", "rloo", "score", n=[2, 3], trials=32, progress=lambda *x: seen.append(x))
    assert seen == [(done, 4) for done in range(5)]

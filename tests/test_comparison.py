"""What a comparison says: refusals, notes, advice, table, files."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical

import reparam as rp
from compare_cases import leaf, made, measured
from reparam.diagnostics.comparison import Comparison


def test_refusals_are_listed_with_their_reason():
    """Of q, of n, of a cost without a derivative; the others are measured."""

    def cost(points: Tensor) -> Tensor:
        return points.detach().sum(-1)

    q = OneHotCategorical(logits=leaf(2, 3))
    found = rp.compare(
        cost, q, ["rloo", "pathwise", "rebar", "gumbel-softmax"], n=[1, 2], trials=32
    )
    assert [(row["estimator"], row["n"]) for row in found.rows] == [("rloo", 2)]
    assert found.refused["rloo"].startswith("n = 1: n: Rloo compares samples")
    assert found.refused["pathwise"].startswith("q: expected")
    for name in ("rebar", "gumbel-softmax"):
        assert found.refused[name].startswith("costs: expected a ")
    assert "not measured:" in found.table()
    assert all(name in found.table() for name in found.refused)
    nothing = rp.compare(cost, q, ["pathwise"], trials=32)
    assert nothing.rows == []
    assert nothing.table().startswith("not measured:")
    with pytest.raises(ValueError, match="budget: expected what pays for a draw"):
        nothing.best()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": []}, "n: how many numbers are given: expected an integer >= 1, got 0"),
        ({"n": 0}, "n: expected an integer >= 1, got 0"),
        ({"n": 2.5}, r"n: expected an integer >= 1, got 2\.5"),
        ({"n": "4"}, "n: expected an integer >= 1, got '4'"),
        ({"trials": 31}, "trials: expected an integer >= 32, got 31"),
        ({"jobs": 0}, "jobs: expected an integer >= 1, got 0"),
        ({"estimators": []}, "estimators: expected at least one, got none; try .*"),
        ({"estimators": ["rloo", "rloo"]}, "estimators: expected each once, got rloo, rloo; .*"),
        ({"estimators": ["rlo"]}, "estimator: expected one of .*; did you mean 'rloo'.*"),
        (
            {"jobs": 2},
            "q: expected a function that builds .*, got OneHotCategorical with jobs=2; .*",
        ),
        ({"cost": lambda x: x}, "costs: expected one cost per point and batch row, .*"),
        ({"cost": lambda x: 1.0}, "costs: expected a real floating-point tensor, got float"),
        ({"cost": lambda x: x.sum(-1) * torch.nan}, "costs: expected finite costs .* q's .*"),
        ({"estimators": [rp.Rloo]}, "estimators: expected instances or specs, .* write rp.Rloo.*"),
        (
            {"q": torch.zeros(2, 3)},
            "q: expected a torch.distributions.Distribution .* got Tensor.*",
        ),
        ({"q": lambda: torch.zeros(2)}, "q: expected .*, got a function that returns Tensor; .*"),
    ],
)
def test_bad_arguments_are_refused(changed, message):
    """With what was expected, what came and what to do; a bad cost is no estimator's fault."""
    given = {
        "cost": lambda x: x.sum(-1),
        "q": OneHotCategorical(logits=leaf(2, 3)),
        "estimators": ["rloo"],
        "n": 2,
        "trials": 32,
    }
    with pytest.raises((TypeError, ValueError), match=f"^{message}$"):
        rp.compare(**{**given, **changed})


@dataclass(frozen=True)
class Fails(rp.Rloo):
    """Somebody's estimator, with a bug that shows at a call."""

    calls: list[int]
    at: int

    def _draw(self, q: Distribution, n: int, noise: object) -> rp.Draw:
        self.calls.append(n)
        if len(self.calls) >= self.at:
            raise ZeroDivisionError("no luck")
        return super()._draw(q, n, noise)


@pytest.mark.parametrize("at", [1, 10])
def test_an_estimator_that_fails_leaves_the_others_measured(at):
    """At once or in the middle of its trials; the reason says which line."""
    q = OneHotCategorical(logits=leaf(2, 3))
    estimators = {"mine": Fails([], at), "rloo": "rloo"}
    found = rp.compare(lambda x: x[..., 0], q, estimators, n=2, trials=32)
    assert [row["estimator"] for row in found.rows] == ["rloo"]
    line = Fails._draw.__code__.co_firstlineno + 3
    expected = f"ZeroDivisionError: no luck ({Path(__file__).name}, line {line})"
    assert found.refused["mine"].removeprefix("n = 2: ") == expected


def test_one_estimator_needs_no_list():
    """Its spec, or itself."""
    q = OneHotCategorical(logits=leaf(2, 3))
    for given in ("rloo", rp.Rloo()):
        found = rp.compare(lambda x: x[..., 0], q, given, n=2, trials=32)
        assert [row["estimator"] for row in found.rows] == [str(given)]


@pytest.mark.parametrize("mode", [True, False])
def test_costs_that_depend_on_other_points_are_told(mode, tmp_path):
    """Batch normalization makes another cost of the same point, as long as it trains."""
    model = made()
    model.decoder.train(mode)
    found = rp.compare(model.cost, model.q, ["rloo"], n=2, trials=32, params=model.head)
    assert ("\n\nnote: the cost of a point depends on other points" in found.table()) == mode
    found.save(tmp_path / "c.html")
    assert ("batch normalization" in (tmp_path / "c.html").read_text()) == mode
    assert ("note" in json.loads((tmp_path / "c.json").read_text())) == mode


@pytest.mark.parametrize("reference", ["gumbel-softmax", "vimco"])
def test_a_reference_must_be_unbiased(reference):
    """Of E cost."""
    with pytest.raises(ValueError, match=r"reference: expected an unbiased estimator of E cost"):
        measured("bernoulli", "rloo", exact=None, reference=reference)


def test_figures_that_are_no_numbers_are_told_but_not_advised(tmp_path):
    """A gradient that is NaN fails neither the table, nor the advice, nor the report."""

    def cost(points: Tensor) -> Tensor:
        soft = (points != points.round()).any(-1)
        return points[..., 0] * torch.where(soft, torch.nan, 1.0)

    q = OneHotCategorical(logits=leaf(2, 3))
    found = rp.compare(cost, q, ["gumbel-softmax", "score"], trials=32)
    assert [math.isnan(row["mse"]) for row in found.rows] == [True, False]
    assert "nan" in found.table()
    assert found.best().estimator == "score"
    assert not found.rows[0]["biased"]
    alone = rp.compare(cost, q, ["gumbel-softmax"], trials=32)
    assert alone.advice == ""
    alone.save(tmp_path / "r.html")
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["mse"] is None


def row(name: str, bias: float, variance: float, **changed: object) -> dict[str, object]:
    """A row without uncertainty."""
    figures = {"bias": bias, "variance": variance, "mse": variance + bias**2}
    figures |= {"snr": 1.0, "cosine": math.nan, "seconds": 0.01}
    flat = {f"{k}{end}": v for k, v in figures.items() for end in ("", "_low", "_high")}
    given = {"estimator": name, "n": 2, "group": "all", "trials": 160, "biased": bias > 0}
    given |= {"bias_p": 0.5, "truth": 1.0, "truth_error": 0.0, "evaluations": 2, "memory": 1000}
    return {**given, **flat, **changed}


def test_the_best_is_that_of_least_error_at_equal_cost():
    """The variance falls as draws are averaged, the bias stays; so the best changes with budget."""
    rows = [row("a", 0.5, 1.0), row("b", 0.0, 4.0), row("c", 0.0, 1.0, evaluations=100)]
    found = Comparison(rows, {}, "as given", 0)
    small, large = found.best(4), found.best(64)
    assert (small.estimator, small.draws, small.mse) == ("a", 2, 0.75)
    assert (large.estimator, large.draws, large.mse) == ("b", 32, 0.125)
    assert (
        str(large)
        == large.why
        == (
            "b with n = 2, the mean of 32 draws, has the least mean squared error, 0.125 (no bias "
            "found), at 64 cost evaluations; next is a with 0.281 (89% of it bias)"
        )
    )
    assert found.best().draws == 50  # what the dearest draw takes
    assert found.best(0.05, "seconds").estimator == "c"
    assert found.best(0.05, "seconds").draws == 5
    with pytest.raises(ValueError, match=r"budget: .* \(2 cost evaluations at least\), got 1"):
        found.best(1)
    with pytest.raises(ValueError, match="unit: expected one of evaluations, seconds, got 'ms'"):
        found.best(1, "ms")
    with pytest.raises(TypeError, match="budget: expected a number of seconds, got '1'"):
        found.best("1", "seconds")
    unsure = row("d", 0.0, 4.1, variance_low=3.0)
    sure = row("b", 0.0, 4.0, variance_high=5.0)
    assert (
        "; within the error of measurement, so is d with 4.1"
        in Comparison([sure, unsure], {}, "", 0).best(2).why
    )


def test_the_table_has_every_row_and_group():
    """In columns, with half an interval; a bias that was not found has only a bound."""
    found = measured("gaussian", "pathwise", "score", trials=64)
    lines = found.table().splitlines()
    assert str(found) == found.table()
    assert sum(line.startswith("gradient in ") for line in lines) == 3
    body = [line for line in lines if line.startswith(("pathwise", "score"))]
    assert len(body) == 6
    assert len({len(line) for line in lines[1:4]}) == 1
    assert re.match(r"pathwise +4 +< [\d.]+ +[\d.]+ ±[\d.]+ ", body[0])
    zero = measured("bernoulli", "enumerate", trials=32).table()
    assert re.search(r"enumerate +4 +0 +0 +0 +inf +1 ", zero)


def test_json_and_report_are_written(tmp_path):
    """The same rows; infinities are null; the page is one file that loads nothing."""
    found = measured("categorical3", "enumerate", "gumbel-softmax", "rloo", n=[1, 2], trials=64)
    assert found.save(tmp_path / "deep" / "r.html") == tmp_path / "deep" / "r.html"
    values = json.loads((tmp_path / "deep" / "r.json").read_text())
    assert values["refused"] == found.refused
    assert [r["variance"] for r in values["rows"]] == [r["variance"] for r in found.rows]
    assert values["rows"][0]["snr"] is None
    page = (tmp_path / "deep" / "r.html").read_text()
    assert page.count('<figure class="plot"') >= 2
    assert not re.search(r"<(script|img|link)[^>]+(src|href)=", page)
    assert "gumbel-softmax" in page
    found.save(tmp_path / "only.json")
    assert not (tmp_path / "only.html").exists()
    with pytest.raises(ValueError, match=r"path: expected a name ending in .json or .html"):
        found.save(tmp_path / "r.csv")

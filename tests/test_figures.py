"""The explanatory figures: their numbers against other ways to find them, and their files."""

import json
import re
from itertools import pairwise

import pytest
import torch
from scipy import stats

from reparam.estimators import Rloo, Score
from reparam.figures import FIGURES, bias_variance, gumbel_max, sample_count
from reparam.figures.exact import soft_moments
from reparam.figures.style import spread
from reparam.problems import PROBLEMS
from reparam.problems.moments import exact_moments
from tiny_runs import reparam

QUICK = ("gumbel-max", "temperatures")


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    """The numbers of every figure."""
    return {name: figure.measure(0) for name, figure in FIGURES.items()}


def test_soft_moments_are_those_of_a_dense_sum():
    """Of two classes a sample is a logistic number through a sigmoid: one integral."""
    generator = torch.Generator().manual_seed(0)
    logits, rewards = torch.randn(2, 20, 2, generator=generator, dtype=torch.float64)
    x = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    weights = torch.sigmoid(x) * torch.sigmoid(-x) * (x[1] - x[0])
    for tau in (0.3, 1.0, 4.0):
        y = torch.sigmoid((x + (logits[:, :1] - logits[:, 1:])) / tau)
        gradient = y * (1 - y) * (rewards[:, :1] - rewards[:, 1:]) / tau
        mean = (weights * gradient).sum(-1)
        variance = (weights * gradient.square()).sum(-1) - mean.square()
        moments = soft_moments(logits, rewards, tau)
        for found, true in zip(moments, (mean, variance), strict=True):
            sign = torch.tensor([1.0, -1.0]) if true is mean else torch.ones(2)
            torch.testing.assert_close(found, true[:, None] * sign, rtol=1e-9, atol=1e-12)


def test_the_cold_limit_is_the_limit():
    """Variance times temperature at a hundredth, to a percent; the exponent is near -1."""
    logits, rewards = bias_variance.problem()
    _, variance = soft_moments(logits, rewards, 0.01)
    limit = bias_variance.cold_variance(logits, rewards)
    assert variance.sum().item() * 0.01 == pytest.approx(limit, rel=0.02)


def test_the_exponent_runs_from_four_to_one(found):
    """As measured before: -4 hot, -2 near a half, -1 cold."""
    own = found["bias-variance"]
    exponents = {tau: own["exponents"][bias_variance.at(own, tau)] for tau in (10, 0.46, 0.01)}
    assert exponents == {
        10: pytest.approx(-4, abs=0.1),
        0.46: pytest.approx(-1.7, abs=0.3),
        0.01: pytest.approx(-1, abs=0.02),
    }


def test_the_integrals_of_the_figure_are_what_is_drawn(found):
    """The library's own draws agree with the line to a few percent at every temperature."""
    own = found["bias-variance"]
    drawn, exact = own["drawn_variance"], own["curves"]["soft, linear"]["variance"]
    assert drawn == pytest.approx(exact, rel=0.06)


def test_straight_through_keeps_its_bias(found):
    """Cold, the drawn bias is the trapezoid rule's, within four standard errors of it."""
    own = found["bias-variance"]
    curve = own["curves"]["straight-through, log-likelihood"]
    cold = bias_variance.at(own, 0.05)
    assert abs(curve["bias"][cold] - own["cold_bias"]) < 4 * curve["bias_error"][cold] + 0.03
    assert own["curves"]["soft, log-likelihood"]["bias"][0] < 0.1 * own["cold_bias"]


def test_the_variance_of_independent_samples_falls_as_one_over_n(found):
    """Every slope but those of estimators whose samples know each other is -1."""
    own = found["sample-count"]
    for name, slope in own["slopes"].items():
        if name == "rloo":
            assert slope < -1.15
        else:
            assert abs(slope + 1) < 5 * own["slope_errors"][name] + 0.01, name


def test_reinforce_s_variance_is_the_enumerated_one():
    """The batch of random problems, one by one."""
    problem = PROBLEMS["categorical8"]()
    exact = exact_moments(Score(), problem, 1)
    assert sample_count.exact_variance(Score(), problem, 1) == exact.variance
    shifted = sample_count.shifted(problem, 10.0)
    assert exact_moments(Score(), shifted, 1).variance > 50 * exact.variance


def test_most_of_the_gap_is_the_level_of_the_rewards(found):
    """The medians as they were measured by others, and one figure with a baseline for all laws."""
    laws = found["reinforce"]["laws"]
    plain = {law: kinds["plain"][1] for law, kinds in laws.items()}
    assert plain == {
        "N(0, 1)": pytest.approx(2.5, rel=0.15),
        "U(0, 1)": pytest.approx(11, rel=0.25),
        "N(0, 1) + 10": pytest.approx(358, rel=0.25),
        "U(0, 1) + 5": pytest.approx(1140, rel=0.25),
    }
    for kinds in laws.values():
        assert kinds["baseline"][1] == pytest.approx(2.2, rel=0.15)
        assert kinds["baseline, cold"][1] < 0.35


def test_rloo_of_any_count_follows_from_two():
    """The law in n is that of four enumerated samples, too."""
    problem = PROBLEMS["bernoulli"]()
    two, three, four = (exact_moments(Rloo(), problem, n).variance for n in (2, 3, 4))
    law = sample_count.rloo_variance({"rloo": [two, three]}, 4)
    assert law == pytest.approx(four, rel=1e-9)


def test_the_chi_squared_is_scipy_s(found):
    """And a sampler that prefers one class would be seen."""
    own = found["gumbel-max"]
    expected = [own["draws"] * p for p in own["softmax"]]
    by_scipy = stats.chisquare(own["counts"], expected)
    assert (own["chi_squared"], own["p_value"]) == pytest.approx(tuple(by_scipy), rel=1e-9)
    assert own["p_value"] > 1e-6
    assert own["winner"] == max(
        range(len(own["logits"])), key=lambda k: own["logits"][k] + own["noise"][k]
    )
    wrong = [*own["counts"]]
    wrong[0], wrong[2] = wrong[0] + 300, wrong[2] - 300
    assert stats.chisquare(wrong, expected).pvalue < 1e-6


def test_blocked_gradients_are_nothing_and_the_others_right(found):
    """Within six standard errors of the truth."""
    own = found["paths"]
    assert own["blocked"] == 0
    for way in ("pathwise", "score"):
        assert abs(own[way] - own["exact"]) < 6 * own[f"{way}_error"]


def test_labels_are_spread_and_keep_their_order():
    """No two nearer than the gap; those that were apart stay where they are."""
    assert spread([5.0, 3.0, 0.0], 1.0) == [5.0, 3.0, 0.0]
    placed = spread([3.0, 2.9, 2.9, 0.0], 1.0)
    assert all(a - b >= 1 - 1e-9 for a, b in pairwise(placed))
    assert placed[0] - 3.0 == pytest.approx(2.9 - placed[2] + 0.03, abs=0.1)


def test_every_figure_is_drawn_explained_and_found_again(found, tmp_path):
    """Its caption says the main numbers; the seed decides all."""
    for name, figure in FIGURES.items():
        assert figure.TITLE
        caption = figure.caption(found[name])
        assert len(re.findall(r"\d", caption)) > 3, name
        json.dumps(found[name], allow_nan=False)
        figure.draw(found[name])
    assert gumbel_max.measure(0) == found["gumbel-max"]
    assert gumbel_max.measure(1) != found["gumbel-max"]


def test_the_command_writes_files_and_one_page(tmp_path):
    """PNG, SVG and numbers, the same bytes for the same seed; the page asks for nothing."""
    outcomes = [
        reparam("figures", "--only", *QUICK, "--out", tmp_path / folder, "--seed", 3)
        for folder in ("a", "b")
    ]
    assert [o.status for o in outcomes] == [0, 0], outcomes
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    files = [f"{name}.{kind}" for name in QUICK for kind in ("json", "png", "svg")]
    assert names == sorted([*files, "index.html"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    kept = json.loads((tmp_path / "a" / "temperatures.json").read_text())
    assert kept["command"] == "reparam figures --only temperatures --seed 3"
    page = (tmp_path / "a" / "index.html").read_text()
    assert kept["command"] in page
    assert kept["caption"] in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert len(page) < 1_000_000  # no plotly.js for pictures


def test_unknown_figures_and_folders_are_refused(tmp_path):
    """In a line."""
    outcome = reparam("figures", "--only", "gumble", "--out", tmp_path / "a")
    assert outcome.status == 2
    assert "--only: expected names among paths, gumbel, " in outcome.err
    outcome = reparam("figures", "--seed", -1, "--out", tmp_path / "a")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "--seed: expected an integer from 0 to 2^63 - 1, got -1" in outcome.err
    (tmp_path / "file").touch()
    outcome = reparam("figures", "--only", "gumbel", "--out", tmp_path / "file")
    assert outcome.status == 2
    assert "--out: expected a folder that can be made" in outcome.err

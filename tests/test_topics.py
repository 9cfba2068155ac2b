"""The topic model: its terms by quadrature, its measures by hand, its runs and its report."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import reparam as rp
from acceptance import seeded
from reparam.core import Draw, Estimator
from reparam.families import sample
from reparam.models.coherence import coherence
from reparam.models.topics import TopicModel, topic_bound, unigram_nats
from reparam.noise import Noise, fold_in
from reparam.recipes.lookup import prepared
from reparam.recipes.topics.report import sections
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from test_report import Page
from tiny_runs import (
    ALONE,
    THEMES,
    checkpoint,
    equal,
    options,
    records,
    reparam,
    settings,
    step_of,
    trained,
    write_documents,
)

WORDS, NODES = 4, 48
COUNTS = torch.tensor([[2.0, 0, 1, 0], [0, 3, 0, 1]], dtype=torch.float64)


@dataclass(frozen=True)
class Quadrature(Estimator):
    """The integral over the shares of two topics, by their log-odds from -40 to 40."""

    unbiased, exact, pathwise, black_box = True, True, False, True

    def _draw(self, q, n, noise):
        odds = torch.linspace(-40, 40, 4001, dtype=torch.float64)
        logs = torch.stack([-torch.log1p((-odds).exp()), -torch.log1p(odds.exp())], -1)
        points = logs.unsqueeze(1).expand(-1, *q.batch_shape, -1)
        # The density of a LogDirichlet is that of the log-odds.
        weights = q.log_prob(points).exp() * 80 / 4000
        return Draw(points, lambda costs: (weights * costs).sum(0))


@dataclass(frozen=True)
class Uniforms(Estimator):
    """Another estimator's expectation over its uniforms, two for each draw."""

    of: Estimator

    unbiased, exact, pathwise, black_box = True, True, False, True

    def _draw(self, q, n, noise):
        x, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(NODES))
        t = (x + 1) / 2
        u = t**3 * (10 - 15 * t + 6 * t**2)  # flattens what is steep at 0 and 1
        w = w / 2 * 30 * t**2 * (1 - t) ** 2
        grid = torch.cartesian_prod(u, u).unsqueeze(1).expand(-1, *q.batch_shape, 2)
        weights = (w.unsqueeze(1) * w).reshape(-1, 1) * NODES**2
        points, combine = self.of.draw(q, NODES**2, noise=grid)
        return Draw(points, lambda costs: combine(weights * costs))


@pytest.fixture
def model():
    """Two topics of four words, in double precision; concentrations near 2."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = TopicModel(WORDS, topics=2, hidden=5, alpha=0.7).double()
    made.encoder[-1].bias.data += 1.5
    return made


def elbo(model, counts):
    """The bound of each document by scipy's integrals: words, prior and posterior term by term."""
    a = model.posterior(counts).concentration.tolist()
    words = torch.softmax(model.topics, -1).detach().numpy()

    def inside(share, row):
        q, p = stats.beta(*a[row]), stats.beta(model.alpha, model.alpha)
        mixture = share * words[0] + (1 - share) * words[1]
        likelihood = (counts[row].numpy() * np.log(mixture)).sum()
        return q.pdf(share) * (likelihood + p.logpdf(share) - q.logpdf(share))

    return [integrate.quad(inside, 0, 1, args=(row,))[0] for row in range(len(counts))]


def gradients(model, loss):
    """By parameter."""
    return torch.autograd.grad(loss, list(model.parameters()))


def test_the_bound_is_its_integral(model):
    """The words' mixture, the Dirichlet's KL and their signs, against scipy's densities."""
    terms = model(COUNTS, Quadrature())
    assert terms.objective().tolist() == pytest.approx(elbo(model, COUNTS), rel=1e-6)


def test_the_kl_is_its_integral(model):
    """Of Dirichlets, by the density of their logarithms."""
    q, prior = model.posterior(COUNTS), model.prior(COUNTS)
    points, combine = Quadrature().draw(q)
    integral = combine(q.log_prob(points) - prior.log_prob(points))
    torch.testing.assert_close(model.kl(q).squeeze(-1), integral, rtol=1e-8, atol=1e-8)
    assert prior.concentration.tolist() == [0.7, 0.7]


def test_the_pathwise_gradient_of_the_bound_has_no_bias(model):
    """Its mean over the uniforms is the derivative of the integral, for every parameter."""
    exact = gradients(model, model(COUNTS, Quadrature()).objective().sum())
    mean = gradients(model, model(COUNTS, Uniforms(rp.Pathwise())).objective().sum())
    for got, expected in zip(mean, exact, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_multi_sample_bound_is_that_of_the_weights(model):
    """log (1/n) sum p(words, theta) / q(theta), densities written out; the KL has no gradient."""
    terms = model(COUNTS, rp.Dreg(), 3, seeded(0))
    q = model.posterior(COUNTS)
    points = rp.Dreg().draw(q, 3, generator=seeded(0)).points

    def density(a):
        normalizer = torch.lgamma(a).sum(-1) - torch.lgamma(a.sum(-1))
        return ((a - 1) * points).sum(-1) - normalizer

    log_w = density(torch.full((2,), 0.7)) - density(q.concentration) - model.cost(COUNTS, points)
    torch.testing.assert_close(terms.objective(), torch.logsumexp(log_w, 0) - math.log(3))
    assert not terms.kl.requires_grad


def test_a_word_that_one_topic_knows_has_a_finite_cost():
    """Though its probability is below the smallest number; the shares' smallness is kept too."""
    model = TopicModel(words=2, topics=2)
    model.topics.data = torch.tensor([[0.0, -200.0], [0.0, -300.0]])
    points = torch.tensor([[[-40.0, 0.0]]])
    cost = model.cost(torch.tensor([[0.0, 1.0]]), points)
    assert cost.item() == pytest.approx(240, rel=1e-6)


def test_a_concentration_is_never_zero(model):
    """However sure the encoder is that a topic is absent, there is a sample with a gradient."""
    model.float().encoder[-1].bias.data.fill_(-1e4)
    q = model.posterior(COUNTS.float())
    points = q.rsample()
    points.sum().backward()
    assert (q.concentration > 0).all()
    assert points.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.encoder.parameters())


def test_topics_begin_apart():
    """Alike, they would stay so: any two are at a total variation of a third or more."""
    torch.manual_seed(0)
    words = torch.softmax(TopicModel(words=500, topics=10).topics, -1)
    apart = torch.cdist(words, words, p=1) / 2
    assert apart[~torch.eye(10, dtype=torch.bool)].min() > 1 / 3


def test_shares_are_the_mean_and_top_words_the_most_probable(model):
    """The posterior's mean of theta, and the words in falling order."""
    a = model.posterior(COUNTS).concentration
    torch.testing.assert_close(model.shares(COUNTS), a / a.sum(-1, keepdim=True))
    model.topics.data = torch.tensor([[0.0, 3, 1, 2], [9.0, 0, 8, 7]], dtype=torch.float64)
    assert model.top_words(2).tolist() == [[1, 3], [0, 2]]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_the_held_out_bound_is_a_mean_over_documents(batch, keyed, model):
    """However they are split: each with one sample, and the KL in full."""
    counts = torch.cat([COUNTS, COUNTS + 1, COUNTS[:1]])
    keys = fold_in(3, torch.arange(len(counts)))
    if keyed:
        got = topic_bound(model, counts, None, batch, key=keys)
    else:
        got = topic_bound(model, counts, seeded(3), batch)
    generator, costs, kls = seeded(3), [], []
    for part, key in zip(counts.split(batch), keys.split(batch), strict=True):
        q = model.posterior(part)
        noise = Noise(key=key) if keyed else Noise(generator)
        costs.append(model.cost(part, sample(q, 1, noise))[0])
        kls.append(model.kl(q).squeeze(-1))
    cost, kl = torch.cat(costs).mean().item(), torch.cat(kls).mean().item()
    assert got == pytest.approx((-cost - kl, kl), rel=1e-9)


def test_coherence_by_hand():
    """Four documents: a in 1 2, b in 1 2 3, c in 3 4, d everywhere; counts do not matter."""
    counts = torch.tensor([[5.0, 1, 0, 1], [1, 1, 0, 2], [0, 7, 1, 1], [0, 0, 2, 1]])
    ab = math.log(0.5 / (0.5 * 0.75)) / -math.log(0.5)
    bc = math.log(0.25 / (0.75 * 0.5)) / -math.log(0.25)
    top = torch.tensor([[0, 1], [1, 2], [0, 2], [0, 3], [3, 3]])
    assert coherence(counts, top).tolist() == pytest.approx([ab, bc, -1, 0, 0])
    triples = coherence(counts, torch.tensor([[0, 1, 2], [2, 0, 1]]))
    assert triples.tolist() == pytest.approx([(ab + bc - 1) / 3] * 2)


def test_unigram_by_hand():
    """Training counts plus one; every test word weighs the same, whatever its document."""
    train, test = torch.tensor([[3.0, 0], [1, 0]]), torch.tensor([[1.0, 0], [2, 1]])
    expected = -(3 * math.log(5 / 6) + math.log(1 / 6)) / 4
    assert unigram_nats(train, test) == pytest.approx(expected)


@pytest.fixture
def documents(tmp_path):
    """A file of documents with two themes."""
    return write_documents(tmp_path / "tiny.txt")


def make_run(folder, **changed):
    """A run in a folder, not yet begun."""
    folder.mkdir(exist_ok=True)
    chosen = settings("topics", **changed)
    return Run(*prepared(chosen), chosen, RunFolder(folder), ALONE)


@pytest.mark.parametrize("estimator", ["pathwise", "dreg", "rloo"])
def test_themes_are_found(estimator, documents, tmp_path):
    """Two topics, each with the words of one theme; the perplexity is about that of ten words."""
    given = {"estimator": estimator, "samples": 1 if estimator == "pathwise" else 4}
    run = make_run(
        tmp_path / "run", data=str(documents), topics=2, epochs=100, lr=0.02, log_every=50, **given
    )
    final = trained(run)
    words = run.task.corpus.words
    found = {frozenset(words[i] for i in top) for top in run.task.model.top_words().tolist()}
    assert found == {frozenset(theme.split()) for theme in THEMES}
    assert math.exp(final["nats_per_word"]) < 15 < math.exp(unigram(run.task.corpus))
    assert final["diversity"] == 1
    # Words of two themes never meet; those of one do, in half of its documents.
    assert final["coherence"] > 0


def unigram(corpus):
    """Nats of a word by the training frequencies."""
    return unigram_nats(corpus.train, corpus.test)


def test_nats_per_word_are_by_all_held_out_words(documents):
    """So that the mean over processes, by their documents, is the whole's."""
    task, corpus = prepared(settings("topics", data=str(documents)))
    part = 2 * corpus.test[:2]  # longer documents than the others
    got = task.evaluate(part, step_of(part))
    bound, kl = topic_bound(task.model, part, key=step_of(part).keys)
    words = (corpus.test.sum() / len(corpus.test)).item()
    assert got == {"bound": bound, "kl": kl, "nats_per_word": pytest.approx(-bound / words)}


def test_the_loss_weighs_the_kl(documents):
    """By its schedule; metrics are of the whole bound."""
    given = {"data": str(documents), "kl_weight": "linear:start=0,end=1,steps=10"}
    task, corpus = prepared(settings("topics", **given))
    batch = corpus.train[:8]
    step = step_of(batch, 3, seed=5)
    terms = task.model(batch, rp.Pathwise(), 1, key=step.keys)
    loss, metrics = task(batch, step)
    expected = (terms.reconstruction + 0.3 * terms.kl.squeeze(-1)).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["bound"], terms.objective().mean())
    torch.testing.assert_close(metrics["kl"], terms.kl.mean())
    assert task.settings_at(3) == {"kl_weight": pytest.approx(0.3)}


@pytest.mark.parametrize("estimator", ["pathwise", "dreg"])
def test_the_trace_ends_in_the_loss(estimator, documents):
    """What would be blamed is computed as the step does: in order, and with its randomness."""
    task, corpus = prepared(settings("topics", data=str(documents), estimator=estimator))
    batch = corpus.train[:4]
    named = dict(task.trace(batch, step_of(batch)))
    assert list(named) == ["batch", "concentration", "points", "costs", "kl", "loss"]
    assert {name for name in named if name != "batch"} < set(task.causes)
    if estimator == "pathwise":
        torch.testing.assert_close(named["loss"], task(batch, step_of(batch))[0])


def test_a_resumed_run_ends_as_an_uninterrupted_one(documents, tmp_path, monkeypatch):
    """Bit for bit, from a checkpoint within the second epoch."""
    given = {"data": str(documents), "estimator": "score:baseline=moving-average"}
    trained(make_run(tmp_path / "whole", **given))
    after = Run.after

    def breaking(self, log, progress):
        after(self, log, progress)
        if self.step == 5:
            raise KeyboardInterrupt

    stopped = make_run(tmp_path / "stopped", checkpoint_every=4, **given)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "after", breaking)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped)
    again = make_run(tmp_path / "stopped", **given)
    again.resume()
    assert (again.step, again.steps) == (4, 6)
    trained(again)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({k: 0}, f"--{k.replace('_', '-')}: expected at least 1, got 0") for k in
          ("samples", "hidden", "min_documents", "epochs")),
        ({"topics": 1}, "--topics: expected at least 2, got 1"),
        ({"vocabulary": 9}, "--vocabulary: expected at least 10, got 9"),
        ({"max_share": 0}, r"--max-share: expected a share in \(0, 1\], got 0.0"),
        ({"max_share": 1.5}, r"--max-share: expected a share in \(0, 1\], got 1.5"),
        ({"max_share": "nan"}, "--max-share: expected a share .*, got nan"),
        ({"alpha": 0}, "--alpha: expected a positive number, got 0.0"),
        ({"alpha": "inf"}, "--alpha: expected a positive number, got inf"),
        ({"alpha": "nan"}, "--alpha: expected a positive number, got nan"),
        ({"estimator": "rlo"}, "estimator: expected one of .*; got 'rlo'; did you mean 'rloo'.*"),
        ({"estimator": "rloo"}, r"n: Rloo .* >= 2, got 1 \(--samples sets n\)"),
        ({"estimator": "enumerate"}, "q: expected .*"),
        ({"estimator": "gumbel-softmax"}, "q: expected .*"),
        ({"estimator": "dreg", "kl_weight": 0.5}, "--kl-weight: expected none with .*leave it out"),
        ({"kl_weight": "x"}, "schedule: expected one of constant, linear, .*; got 'x'"),
        ({"data": "nowhere"}, "expected docstrings, or a path .*, got 'nowhere'"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, documents):
    """Status 2, and one line."""
    before = sorted(documents.parent.rglob("*"))
    given = {"data": documents, "out": documents.parent / "run", **changed}
    outcome = reparam(*options("topics", **given))
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err
    assert sorted(documents.parent.rglob("*")) == before


def test_unusable_documents_are_the_works_failure(tmp_path):
    """Status 1, one line, no folder."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a").write_bytes(b"\xff")
    outcome = reparam(*options("topics", data=tmp_path / "own", out=tmp_path / "run"))
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "a: expected text in UTF-8, got byte 0xff at 0" in outcome.err
    assert not (tmp_path / "run").exists()


def test_the_report_shows_the_topics(documents, tmp_path):
    """Their words, largest share first, and the perplexity beside that of single words."""
    out = tmp_path / "run"
    outcome = reparam(*options("topics", data=documents, out=out, topics=2, epochs=60, lr=0.02))
    assert outcome.status == 0, outcome
    page = Page(out / "report.html")
    assert page.texts["title"] == ["topics on tiny.txt"]
    assert page.texts["h2"] == [
        *("Result", "Learning curves", "Topics", "Topics of some documents", "Settings")
    ]
    (final,) = records(out, final=True)
    rows = page.rows()
    assert rows["perplexity"] == f"{math.exp(final['nats_per_word']):.2f}"
    _, corpus = prepared(settings("topics", data=str(documents)))
    assert rows["unigram perplexity"] == f"{math.exp(unigram(corpus)):.2f}"
    shares = [float(rows[k].rstrip("%")) for k in "01"]
    assert sum(shares) == pytest.approx(100, abs=0.1)
    listed = [k for k in page.texts["th"] if k in ("0", "1")]
    assert [float(rows[k].rstrip("%")) for k in listed] == sorted(shares, reverse=True)
    said = {frozenset(text.split()[:10]) for text in page.texts["td"]}
    assert said > {frozenset(theme.split()) for theme in THEMES}
    assert "do not help" not in " ".join(page.texts["p"])
    assert "unused" not in " ".join(page.texts["p"])


def test_shares_are_of_words(documents):
    """A longer document counts for more."""
    task, corpus = prepared(settings("topics", data=str(documents)))
    corpus.train[::3] *= 50
    with torch.no_grad():
        (shown,) = (s.body for s in sections(task, corpus, []) if s.title == "Topics")
        each = task.model.shares(corpus.train)
    shares = (corpus.train.sum(1, keepdim=True) * each).sum(0) / corpus.train.sum()
    for topic, share in enumerate(shares.tolist()):
        assert f'<th scope="row">{topic}</th><td class="number">{share:.1%}</td>' in shown


def test_collapse_is_said(documents):
    """Topics that no document has, that repeat each other, or that help nothing."""
    task, corpus = prepared(settings("topics", data=str(documents), topics=6))
    final = {"step": 1, "epoch": 1.0, "split": "test", "nats_per_word": unigram(corpus)}
    with torch.no_grad():
        task.model.topics[:] = task.model.topics[0]
        task.model.encoder[-1].bias[:] = torch.tensor([9.0, 9.0, 9.0, 9.0, -9.0, -9.0])
        notes = {s.title: s.note for s in sections(task, corpus, [final])}
    assert "The topics do not help" in notes["Result"]
    assert "2 of 6 topics are unused" in notes["Topics"]
    assert "Topics repeat each other" in notes["Topics"]

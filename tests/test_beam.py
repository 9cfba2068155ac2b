"""Stochastic beam search: the tree of its noise, laws by enumeration, unbiased estimates."""

import itertools
import json
import math
import re

import benchmarks.beam
import pytest
import torch
from scipy import stats

from acceptance import assert_counts, assert_follows, seeded
from reparam import Sequences, fold_in, stochastic_beam_search
from reparam.noise import Noise

V, END = 3, 2
INF = math.inf


class Tree:
    """A model whose logits are a table: a row for each prefix, numbered as in a heap."""

    def __init__(self, depth, end=END, seed=0, scale=1.0):
        self.depth, self.end = depth, end
        nodes = sum(V**d for d in range(depth))
        self.table = scale * torch.randn(nodes, V, generator=seeded(seed))
        self.node = None

    def step(self, last, parent):
        """The state is the node of the prefix without its last token; the root's is 0, by -1."""
        self.node = V * parent + last + 1
        return self.table[self.node.clamp(max=len(self.table) - 1)], self.node

    def search(self, k, rows=1, **options):
        """Search with the tree's step."""
        start = torch.full((rows,), -1)
        state = torch.zeros(rows, dtype=torch.int64)
        return stochastic_beam_search(
            self.step, k, self.depth, start, state, end=self.end, **options
        )

    def sequences(self):
        """Every sequence as a tuple of tokens, and their log-probabilities, with gradient."""
        names = [
            s
            for length in range(1, self.depth + 1)
            for s in itertools.product(range(V), repeat=length)
            if self.end not in s[:-1] and (length == self.depth or s[-1] == self.end)
        ]
        log_p = torch.log_softmax(self.table, -1)
        return names, torch.stack([self.log_prob(log_p, s) for s in names]).double()

    def log_prob(self, log_p, tokens):
        """Of one sequence, token by token."""
        node, total = 0, 0
        for token in tokens:
            total = total + log_p[node, token]
            node = V * node + token + 1
        return total


def names_of(found):
    """The sequences found, as lists of tuples, one list for each row."""
    return [
        [tuple(s[:n]) for s, n in zip(row, lengths, strict=True)]
        for row, lengths in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
    ]


def codes_of(found, names):
    """The sequences found as positions in `names`."""
    width = found.tokens.shape[-1]
    digits = V ** torch.arange(width)
    padded = torch.tensor([[*s, *[END] * (width - len(s))] for s in names])
    position = torch.full((V**width,), -1)
    position[(padded * digits).sum(-1)] = torch.arange(len(names))
    return position[(found.tokens * digits).sum(-1)]


def leaves(tree, log_p, noise, root):
    """Perturbed log-probabilities of all sequences, top-down, from noise given for every node.

    By the paper's own formula for Gumbel variables with a given maximum, in float64.
    """
    found, todo = {}, [((), 0, 0.0, root)]
    while todo:
        prefix, node, phi, top = todo.pop()
        if len(prefix) == tree.depth or prefix[-1:] == (tree.end,):
            found[prefix] = top
            continue
        g = phi + log_p[node] + noise[node]
        for token in range(V):
            below = 1 - torch.exp(g[token] - g.max()) if token != g.argmax() else torch.tensor(0.0)
            v = top - g[token] + below.log()
            child = top - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))
            below_phi = phi + log_p[node, token].item()
            todo.append(((*prefix, token), V * node + token + 1, below_phi, child.item()))
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 4, 7, 14])
def test_it_finds_the_top_k_of_the_perturbed_tree(monkeypatch, seed, k):
    """With one noise for each prefix: the k largest leaves, in order, and the next as threshold."""
    tree = Tree(3, seed=seed)
    tree.table = tree.table.double()
    noise = Noise(seeded(seed)).gumbel(1, tree.table)[0]
    root = 0.3 + seed

    def by_prefix(_, n, like):
        if like.ndim == 2:
            return torch.full((1, *like.shape), root, dtype=torch.float64)
        return noise[tree.node.clamp(max=len(noise) - 1)].view(1, *like.shape)

    monkeypatch.setattr(Noise, "gumbel", by_prefix)
    found = tree.search(k)
    expected = leaves(tree, torch.log_softmax(tree.table, -1), noise, root)
    order = sorted(expected, key=expected.get, reverse=True)
    assert names_of(found) == [order[:k]]
    values = torch.tensor([expected[s] for s in order], dtype=torch.float64)
    torch.testing.assert_close(found.perturbed[0], values[:k], atol=1e-12, rtol=0)
    torch.testing.assert_close(found.threshold[0], values[k], atol=1e-12, rtol=0)
    assert found.perturbed[0, 0] == root
    names, log_probs = tree.sequences()
    each = torch.stack([log_probs[names.index(s)] for s in order[:k]])
    torch.testing.assert_close(found.log_probs[0], each, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("depth", "k"), [(3, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("keyed", [False, True])
def test_orders_have_their_plackett_luce_probability(depth, k, keyed):
    """As if all sequences were classes of one `gumbel_topk`; chi-square, false fail 1e-7."""
    tree, rows = Tree(depth), 400_000
    tree.table = 0.5 * tree.table
    names, log_p = tree.sequences()
    source = {"key": fold_in(5, torch.arange(rows))} if keyed else {"generator": seeded(5)}
    codes = codes_of(tree.search(k, rows, **source), names)
    counts, probs = [], []
    flat = (codes * len(names) ** torch.arange(k)).sum(-1)
    tally = torch.bincount(flat, minlength=len(names) ** k)
    for order in itertools.permutations(range(len(names)), k):
        prob, left = 1.0, 1.0
        for i in order:
            prob, left = prob * log_p[i].exp().item() / left, left - log_p[i].exp().item()
        probs.append(prob)
        counts.append(tally[sum(i * len(names) ** j for j, i in enumerate(order))])
    assert tally.sum() == sum(counts)  # nothing twice
    assert_counts(torch.stack(counts), torch.tensor(probs))


def test_perturbed_log_probabilities_are_independent_gumbel():
    """Of all 15 sequences at once; Kolmogorov-Smirnov and correlations, false fail 1e-6.

    The threshold of a search for 2 is what the third of all has for a value.
    """
    tree, rows = Tree(3), 20_000
    names, log_p = tree.sequences()
    found = tree.search(len(names), rows, generator=seeded(2))
    codes = codes_of(found, names)
    noise = torch.empty_like(found.perturbed).scatter_(1, codes, found.perturbed) - log_p
    assert_follows(noise, stats.gumbel_r.cdf)
    correlation = torch.corrcoef(noise.T) - torch.eye(len(names))
    assert correlation.abs().max() < 6 / rows**0.5  # 105 pairs at 2e-9
    below = torch.sort(tree.search(2, rows, generator=seeded(3)).threshold).values
    third = torch.sort(found.perturbed[:, 2]).values
    assert stats.ks_2samp(below, third).pvalue > 1e-7


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("k", [2, 5, 14, 15, 20])
def test_sequences_differ_and_know_their_probability(scale, k):
    """In float32, also where probabilities span 1e-60; what is not there is empty, weight 0."""
    tree, rows = Tree(3, scale=scale), 50
    names, log_p = tree.sequences()
    found = tree.search(k, rows, generator=seeded(1))
    there = min(k, len(names))
    assert found.tokens.shape == (rows, k, 3)
    for row in names_of(found):
        assert len(set(row[:there])) == there
        assert set(row[:there]) <= set(names)
        assert all(s == () for s in row[there:])
    assert torch.equal(found.valid, (torch.arange(k) < there).expand(rows, k))
    assert (found.perturbed[:, 1:] <= found.perturbed[:, :-1]).all()
    assert (found.threshold <= found.perturbed[:, there - 1]).all()
    codes = codes_of(found, names)[:, :there]
    torch.testing.assert_close(found.log_probs[:, :there], log_p[codes], atol=1e-5, rtol=1e-6)
    lengths = torch.tensor([len(s) for s in names])
    assert torch.equal(found.lengths[:, :there], lengths[codes])
    behind = torch.arange(3) >= found.lengths.unsqueeze(-1)
    assert (found.tokens[behind] == END).all()
    assert (found.log_probs[:, there:] == -INF).all()
    assert (found.perturbed[:, there:] == -INF).all()
    assert (found.weights[:, there:] == 0).all()
    if k >= len(names):
        assert (found.threshold == -INF).all()
        torch.testing.assert_close(found.weights[:, :there], log_p[codes].exp())


def test_inclusion_is_the_tail_of_a_gumbel_variable():
    """log P(log p + G > kappa), where p is below 1e-30 of the threshold's and far above it."""
    log_p = torch.linspace(-100, 40, 57, dtype=torch.float64).view(1, -1)
    found = sequences(log_p, threshold=0.0)
    expected = torch.from_numpy(stats.gumbel_r.logsf(-log_p.numpy()))
    torch.testing.assert_close(found.log_inclusion, expected, atol=1e-16, rtol=1e-13)


def sequences(log_p, threshold, valid=None):
    """A result of which only the weights matter."""
    perturbed = torch.zeros_like(log_p) if valid is None else torch.where(valid, 0.0, -INF).double()
    lengths = torch.ones_like(log_p, dtype=torch.int64)
    bound = torch.full((len(log_p),), threshold, dtype=torch.float64)
    return Sequences(lengths.unsqueeze(-1), lengths, log_p, perturbed, bound)


def within(values, expected):
    """The mean over rows lies within 5.5 standard errors: 4e-8 for each entry."""
    error = values.std(0) / len(values) ** 0.5
    return bool(((values.mean(0) - expected).abs() <= 5.5 * error).all())


def test_expectations_and_gradients_are_unbiased():
    """Against enumeration, over 100,000 searches, a table to each; false fail 6e-7 in all.

    Their variance is less than half of that of k samples with replacement.
    """
    tree, k, rows = Tree(2, scale=1.0), 4, 100_000
    names, log_p = tree.sequences()
    tables = tree.table.expand(rows, -1, -1).clone().requires_grad_()

    def step(last, state):
        parent, row = state
        node = V * parent + last + 1
        return tables[row, node.clamp(max=len(tree.table) - 1)], (node, row)

    state = (torch.zeros(rows, dtype=torch.int64), torch.arange(rows))
    start = torch.full((rows,), -1)
    found = stochastic_beam_search(step, k, 2, start, state, end=END, generator=seeded(0))
    f = torch.linspace(-1, 2, len(names), dtype=torch.float64)
    estimate = found.expectation(f[codes_of(found, names)])
    (gradient,) = torch.autograd.grad(estimate.sum(), tables)
    exact, exact_gradient = exact_expectation(tree, lambda log_p: (log_p.exp() * f).sum())
    assert within(estimate.detach(), exact)
    assert within(gradient.double().flatten(1), exact_gradient.flatten())
    weights_only = found._replace(log_probs=found.log_probs.detach())
    assert within(weights_only.expectation(torch.ones(rows, k)).double(), 1.0)
    p = log_p.exp()
    plain = ((p * f**2).sum() - exact**2) / k
    assert weights_only.expectation(f[codes_of(found, names)]).var() < plain / 2


def exact_expectation(tree, of_log_p):
    """A function of all log-probabilities, and its gradient in the table."""
    table = tree.table.clone().requires_grad_()
    tree.table, kept = table, tree.table
    value = of_log_p(tree.sequences()[1])
    tree.table = kept
    return value.detach(), torch.autograd.grad(value, table)[0].double()


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("k", [15, 17])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_with_all_sequences_expectations_and_gradients_are_exact(normalized, k, temperature):
    """Entropy and its gradient; values of what is not there may be NaN."""
    tree = Tree(3)
    tree.table.requires_grad_()
    found = tree.search(k, 2, generator=seeded(0), temperature=temperature)
    values = torch.where(found.valid, -found.log_probs, math.nan)
    estimate = found.expectation(values, normalized=normalized)
    (gradient,) = torch.autograd.grad(estimate.mean(), tree.table)
    tempered = Tree(3)
    tempered.table = tempered.table / temperature
    exact, exact_gradient = exact_expectation(tempered, lambda log_p: -(log_p.exp() * log_p).sum())
    torch.testing.assert_close(estimate.detach(), exact.expand(2), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        gradient.double(), exact_gradient / temperature, rtol=1e-4, atol=1e-6
    )


def test_normalized_expectations_of_constants_are_exact():
    """And their gradient is zero: the estimate is its own baseline."""
    tree = Tree(3)
    tree.table.requires_grad_()
    found = tree.search(3, 4, generator=seeded(0))
    estimate = found.expectation(torch.full((4, 3), 7.0), normalized=True)
    assert estimate.dtype == torch.float32
    torch.testing.assert_close(estimate, torch.full((4,), 7.0))
    (gradient,) = torch.autograd.grad(estimate.sum(), tree.table)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)


def test_a_row_depends_on_its_key_alone():
    """Alone, or in a part of the batch, it finds the same; the global generator stays as it was."""
    tree, keys = Tree(3), fold_in(1, torch.arange(6))
    before = torch.get_rng_state()
    whole = tree.search(4, 6, key=keys)
    part = tree.search(4, 2, key=keys[3:5])
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[3:5], b)
    again = tree.search(4, 6, key=8)
    assert torch.equal(again.perturbed, tree.search(4, 6, key=8).perturbed)
    assert again.perturbed.unique().numel() == again.perturbed.numel()
    assert torch.equal(
        tree.search(4, 6, generator=seeded(3)).tokens, tree.search(4, 6, generator=seeded(3)).tokens
    )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_is_perturbed_in_single(dtype):
    """Log-probabilities are those of the logits as they were rounded, to 1e-6 and 1e-12."""
    tree = Tree(3)
    tree.table = tree.table.to(dtype)
    found = tree.search(5, 2, generator=seeded(0))
    tree.table = tree.table.double()
    names, log_p = tree.sequences()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    expected = log_p[codes_of(found, names)]
    torch.testing.assert_close(found.log_probs, expected, atol=tolerance, rtol=0)
    assert {t.dtype for t in (found.log_probs, found.perturbed, found.threshold)} == {torch.float64}


def test_forbidden_tokens_are_never_drawn():
    """-inf logits leave fewer sequences, exactly those allowed, and no NaN in the gradient."""
    tree = Tree(3)
    tree.table[:, 1] = -INF
    tree.table.requires_grad_()
    found = tree.search(6, 3, generator=seeded(0))
    allowed = {(END,), (0, END), (0, 0, END), (0, 0, 0)}
    assert all(set(row[:4]) == allowed and row[4:] == [()] * 2 for row in names_of(found))
    total = found.expectation(torch.ones(3, 6))
    torch.testing.assert_close(total, torch.ones(3))
    (gradient,) = torch.autograd.grad(found.expectation(found.lengths.double()).sum(), tree.table)
    assert gradient.isfinite().all()


def test_without_an_end_all_sequences_are_long():
    """V^max_len of them."""
    tree = Tree(2, end=None)
    found = tree.search(10, generator=seeded(0))
    assert found.lengths[0].tolist() == [2] * 9 + [0]
    assert set(names_of(found)[0][:9]) == set(itertools.product(range(V), repeat=2))
    assert found.tokens[0, 9].tolist() == [0, 0]


def test_finished_sequences_ask_nothing_of_the_step():
    """The start may be the end token; NaN logits of finished rows reach neither value nor slope.

    When all are finished, step is not called again.
    """
    bias, calls = torch.zeros(3, requires_grad=True), []

    def step(last, age):
        calls.append(len(last))
        nonsense = (last == END) & (age > 0)
        logits = torch.where(nonsense.unsqueeze(-1), math.nan, bias + torch.zeros(len(last), 3))
        late = (age == 2).unsqueeze(-1) & (torch.arange(3) != END)
        return logits.masked_fill(late, -INF), age + 1

    start, age = torch.tensor([END, END]), torch.zeros(2, dtype=torch.int64)
    found = stochastic_beam_search(step, 7, 50, start, age, end=END, key=0)
    assert calls == [2, 14, 14]
    assert found.tokens.shape == (2, 7, 50)
    assert [len(set(row)) for row in names_of(found)] == [7, 7]
    (gradient,) = torch.autograd.grad(found.log_probs.sum(), bias)
    assert gradient.isfinite().all()


def test_states_are_any_pytree_and_follow_their_beams():
    """Tensors at every depth are gathered, beside what is no tensor; each keeps its own history."""

    def step(last, state):
        history, (length, name) = state["history"], state["rest"]
        history = torch.cat([history, last.unsqueeze(-1)], -1)
        assert (history.shape[1], name) == (length + 1, "name")
        logits = torch.sin(history.double() @ torch.arange(1.0, length + 2).double()).unsqueeze(-1)
        state = {"history": history, "rest": (length + 1, name)}
        return logits * torch.arange(4.0), state

    start = torch.tensor([3, 1])
    empty = {"history": torch.empty(2, 0, dtype=torch.int64), "rest": (0, "name")}
    found = stochastic_beam_search(step, 6, 4, start, empty, key=3)
    for row in range(2):
        for i in range(6):
            tokens, state, total = (
                found.tokens[row, i],
                {**empty, "history": empty["history"][:1]},
                0,
            )
            for last, token in zip([start[row], *tokens[:-1]], tokens, strict=True):
                logits, state = step(last.view(1), state)
                total = total + torch.log_softmax(logits[0], -1)[token]
            torch.testing.assert_close(total, found.log_probs[row, i], atol=1e-12, rtol=0)


def test_the_benchmark_measures_what_it_says(monkeypatch, tmp_path, capsys):
    """Its sequences make up the whole model, whose entropy one search for all of them finds too."""
    monkeypatch.setattr(benchmarks.beam, "MAX_LEN", 3)
    table = torch.randn(43, benchmarks.beam.V, generator=seeded(0))
    log_p, _ = zip(*benchmarks.beam.sequences(table), strict=True)
    assert math.isclose(sum(math.exp(x) for x in log_p), 1, rel_tol=1e-9)
    monkeypatch.setattr(benchmarks.beam, "SIZES", (8, len(log_p)))
    monkeypatch.setattr("sys.argv", ["beam", "--trials", "3", "--out", str(tmp_path / "beam.json")])
    benchmarks.beam.main()
    rows = json.loads((tmp_path / "beam.json").read_text())["rows"]
    assert len(rows) == 8
    for row in rows:
        whole = row["k"] == len(log_p)
        assert (row["unbiased"] < 1e-5) == (row["normalized"] < 1e-5) == whole
    assert capsys.readouterr().out.strip() in (tmp_path / "beam.md").read_text()


def test_an_empty_batch_is_no_error():
    """It gives an empty result."""
    found = Tree(3).search(4, 0)
    assert found.tokens.shape == (0, 4, 3)
    assert found.expectation(torch.ones(0, 4)).shape == (0,)


ERRORS = [
    ({"k": 0}, ValueError, "k: expected an integer >= 1, got 0"),
    ({"max_len": 0}, ValueError, "max_len: expected an integer >= 1, got 0"),
    ({"temperature": 0.0}, ValueError, "temperature: expected a positive number, got 0.0"),
    ({"temperature": math.nan}, ValueError, "temperature: expected a positive number, got nan"),
    ({"start": torch.zeros(2, 1).long()}, ValueError, "(B,), got torch.int64 of shape (2, 1)"),
    ({"start": torch.zeros(2)}, ValueError, "(B,), got torch.float32 of shape (2,)"),
    ({"end": 3}, ValueError, "end: expected a token among step's 3 classes, got 3"),
    ({"end": -1}, ValueError, "end: expected a token among step's 3 classes, got -1"),
    ({"state": torch.zeros(3, 2)}, ValueError, "state: expected tensors with 2 rows first"),
    ({"state": torch.tensor(0)}, ValueError, "got shape ()"),
    ({"logits": torch.zeros(2, 1, 3)}, ValueError, "step: expected logits of shape (2, V)"),
    ({"logits": torch.zeros(1, 3)}, ValueError, "step: expected logits of shape (2, V)"),
    ({"logits": torch.zeros(2, 3).long()}, TypeError, "step's logits: expected a real floating"),
    ({"logits": torch.tensor([[0, 0, 0], [0, NAN := math.nan, 0]])}, ValueError, "1 of 2 rows"),
    ({"logits": torch.tensor([[0, 0, INF], [0.0, 0, 0]])}, ValueError, "1 of 2 rows with NaN"),
    ({"logits": torch.full((2, 3), -INF)}, ValueError, "2 of 2 rows with NaN, +inf or nothing"),
    ({"key": 1, "generator": torch.Generator()}, ValueError, "generator= and key="),
    ({"key": torch.zeros(3).long()}, ValueError, "key: expected an integer, or int64 keys"),
]


@pytest.mark.parametrize(("change", "error", "message"), ERRORS)
def test_errors_name_what_is_wrong(change, error, message):
    """The argument, what was expected, what came."""
    arguments = {"k": 2, "max_len": 3, "start": torch.zeros(2, dtype=torch.int64), **change}
    logits = arguments.pop("logits", torch.zeros(2, 3))
    with pytest.raises(error, match=re.escape(message)):
        stochastic_beam_search(lambda last, state: (logits, state), **arguments)


def test_values_must_be_one_to_a_sequence():
    """Of a floating-point type, and of shape (B, k)."""
    found = sequences(torch.zeros(2, 3, dtype=torch.float64), 0.0)
    with pytest.raises(ValueError, match=re.escape("values: expected one for each sequence")):
        found.expectation(torch.ones(3, 2))
    with pytest.raises(TypeError, match="values: expected a real floating-point tensor"):
        found.expectation(found.lengths)

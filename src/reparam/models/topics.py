"""A topic model: latent Dirichlet allocation whose posterior a network gives."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from reparam.checks import no_autocast
from reparam.core import Estimator
from reparam.distributions import LogDirichlet
from reparam.families import log_prob, sample
from reparam.models.latents.dirichlet import concentrations
from reparam.models.parts import in_parts
from reparam.models.terms import Terms
from reparam.noise import Key, Noise


class TopicModel(nn.Module):
    """Counts of words -> q(theta | counts) -> a draw -> p(words | theta).

    theta, the shares of K topics in a document, is Dirichlet(alpha, ..., alpha) a priori, and each
    word is drawn from sum_k theta_k softmax(topics_k) (Blei et al. 2003, "Latent Dirichlet
    Allocation", whose assignments of words to topics are summed out). The posterior is a Dirichlet
    of an encoder's concentrations, as in Burkhardt & Kramer 2019, "Decoupling Sparsity and
    Smoothness in the Dirichlet Variational Autoencoder Topic Model", and its path is exact
    (Figurnov et al. 2018, "Implicit Reparameterization Gradients", arXiv:1805.08498). Amortized
    inference in topic models: Srivastava & Sutton 2017, arXiv:1703.01488.

    Points are log theta, of which none underflows. Likelihoods are those of the words in order:
    the number of their orders, which no parameter changes, is left out.

    >>> import reparam as rp
    >>> model = TopicModel(words=50, topics=3)
    >>> model(torch.ones(6, 50), rp.Pathwise()).kl.shape
    torch.Size([6, 1])
    """

    def __init__(self, words: int, topics: int, hidden: int = 100, alpha: float = 0.2) -> None:
        super().__init__()
        self.alpha = alpha
        self.encoder = nn.Sequential(
            *(nn.Linear(words, hidden), nn.ReLU()),
            *(nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, topics),
        )
        # Topics that begin alike stay alike: the posterior returns to the prior before they part.
        self.topics = nn.Parameter(torch.randn(topics, words))

    def forward(
        self,
        counts: Tensor,
        estimator: Estimator,
        n: int = 1,
        generator: torch.Generator | None = None,
        *,
        key: Key | None = None,
    ) -> Terms:
        """Counts `(B, V)` -> the terms of their bound, with one unit of KL.

        Estimators of the multi-sample bound get log-weights for costs; the reconstruction is then
        what is left of their n-sample bound beside the KL, which carries no gradient.
        """
        q = self.posterior(counts)
        points, combine = estimator.draw(q, n, generator=generator, key=key)
        costs = self.costs(counts, q, points, estimator)
        kl = self.kl(q)
        if not estimator.multisample:
            return Terms(combine(costs), kl)
        return Terms(-combine(costs) - kl.detach().sum(-1), kl.detach())

    def costs(
        self, counts: Tensor, q: Distribution, points: Tensor, estimator: Estimator
    ) -> Tensor:
        """What the estimator combines, `(P, B)`: costs, or log p(words, theta) - log q(theta)."""
        costs = self.cost(counts, points)
        if not estimator.multisample:
            return costs
        return log_prob(self.prior(points), points) - log_prob(q, points) - costs

    def posterior(self, counts: Tensor) -> LogDirichlet:
        """q(log theta | counts), batch shape (B,)."""
        # Under autocast, the network answers in half precision; what follows is wider.
        concentration = concentrations(self.encoder(counts.log1p()).to(counts.dtype))
        return LogDirichlet(concentration, validate_args=False)

    def prior(self, like: Tensor) -> LogDirichlet:
        """p(log theta), batch shape (), on the device and in the dtype of `like`."""
        return LogDirichlet(like.new_full(self.topics.shape[:1], self.alpha), validate_args=False)

    def kl(self, q: Distribution) -> Tensor:
        """KL(q || prior) in nats, `(B, 1)`."""
        return kl_divergence(q, self.prior(q.mean)).unsqueeze(-1)

    def cost(self, counts: Tensor, points: Tensor) -> Tensor:
        """-log p(words | theta) in nats: counts `(B, V)`, points `(P, B, K)` -> `(P, B)`."""
        log_p = torch.log_softmax(self.topics, -1)
        # By each word's likeliest topic, so that a word that few topics know does not underflow.
        largest = log_p.max(0).values
        with no_autocast(points):
            words = (points.exp() @ (log_p - largest).exp()).log() + largest
        return -(counts * words).sum(-1)

    def shares(self, counts: Tensor) -> Tensor:
        """The posterior's mean of theta: counts `(B, V)` -> `(B, K)`."""
        concentration = self.posterior(counts).concentration
        return concentration / concentration.sum(-1, keepdim=True)

    def top_words(self, count: int = 10) -> Tensor:
        """The indices of each topic's most probable words, `(K, count)`."""
        return self.topics.topk(count).indices


@torch.no_grad()
def topic_bound(
    model: TopicModel,
    counts: Tensor,
    generator: torch.Generator | None = None,
    batch: int = 500,
    *,
    key: Tensor | None = None,
) -> tuple[float, float]:
    """The bound on log p(words) with one sample, and the KL in it, in nats per document.

    key: int64, one for each document, `(N,)`.
    """
    totals = torch.zeros(2, dtype=torch.float64)
    for part, keys in in_parts(counts, batch, key):
        q = model.posterior(part)
        kl = model.kl(q).sum(-1)
        cost = model.cost(part, sample(q, 1, Noise(generator, key=keys)))[0]
        totals += torch.stack([v.double().sum().cpu() for v in (-cost - kl, kl)])
    bound, kl_nats = (totals / len(counts)).tolist()
    return bound, kl_nats


def unigram_nats(train: Tensor, test: Tensor) -> float:
    """-log p of a test word in nats where every document has the training frequencies.

    One is added to each word's count, so that no word is impossible. Counts `(N, V)`, `(M, V)`.

    >>> nats = unigram_nats(torch.zeros(1, 4), torch.ones(2, 4))
    >>> round(torch.tensor(nats).exp().item(), 3)  # the perplexity
    4.0
    """
    totals = train.double().sum(0) + 1
    log_p = (totals / totals.sum()).log()
    return -((test.double() * log_p).sum() / test.double().sum()).item()

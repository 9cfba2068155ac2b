"""What a VAE's run shows: did it learn, at what temperature, and what does it draw?"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reparam.data import Images
from reparam.diagnostics.health import health
from reparam.families import is_discrete, sample
from reparam.models import VAE
from reparam.noise import Noise
from reparam.recipes.vae.task import VaeTask
from reparam.report.curves import Record, bars, heat
from reparam.report.page import Section, picture, plot
from reparam.report.pictures import data_uri, grid
from reparam.report.sections import last_test, learning, results, schedule

SHOWN, COLUMNS = 40, 10


def sections(task: VaeTask, images: Images, records: Sequence[Record]) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    device = next(task.parameters()).device
    generator = torch.Generator(device=device).manual_seed(0)
    test = images.test.to(device)
    yield _results(task, images, records)
    yield from health(records)
    yield _learning(records)
    yield from schedule(records, "temperature", "tau")
    yield _reconstructions(task.vae, test[:SHOWN], generator)
    yield _prior(task.vae, test, generator)
    yield _usage(task.vae, test, generator)


def _results(task: VaeTask, images: Images, records: Sequence[Record]) -> Section:
    metrics = last_test(records)
    if "relaxed" in metrics:
        metrics["gap"] = metrics["relaxed"] - metrics["bound"]
    k = task.settings.iw_samples
    remarks = {
        "bound": "one hard sample per image: a lower bound on log p(x)",
        "reconstruction": "-log p(x|z), part of the bound",
        "kl": "KL(q(z|x) || p(z)), the other part",
        "relaxed": "the training objective at relaxed points: not a bound, shown for its gap",
        f"bound_{k}": f"{k} hard samples, importance-weighted",
        "gap": "relaxed minus bound: what the relaxation imagines",
    }
    note = f"Nats per image on {len(images.test):,} held-out images; larger bounds are better."
    return results(metrics, remarks, note)


def _learning(records: Sequence[Record]) -> Section:
    bounds = {
        "test bound (hard samples)": ("test", "bound"),
        "training bound": ("train", "bound"),
        "test relaxed value, no bound": ("test", "relaxed"),
        "training relaxed value, no bound": ("train", "relaxed"),
    }
    kl = {"training": ("train", "kl"), "test": ("test", "kl")}
    return learning(records, {"nats per image": bounds, "KL, nats": kl})


def _reconstructions(vae: VAE, images: Tensor, generator: torch.Generator) -> Section:
    points = sample(vae.posterior(images), 1, Noise(generator))[0]
    decoded = torch.sigmoid(vae.decode(points))
    return Section(
        "Reconstructions",
        "Held-out images on the left; what the decoder makes of one hard sample each on the right.",
        f'<div class="pair">{_grid(images, "originals")}{_grid(decoded, "reconstructions")}</div>',
    )


def _prior(vae: VAE, like: Tensor, generator: torch.Generator) -> Section:
    points = sample(vae.prior(like), SHOWN, Noise(generator))
    return Section(
        "Samples from the prior",
        "Pixel means decoded from the prior: what the model thinks images are.",
        _grid(torch.sigmoid(vae.decode(points)), "samples"),
    )


def _usage(vae: VAE, images: Tensor, generator: torch.Generator) -> Section:
    q = vae.posterior(images[:2000])
    points = sample(q, 2, Noise(generator))
    kl = vae.kl(q, points).mean(0)
    dead = int((kl < 0.01).sum())
    said = f"{dead} of {len(kl)} latents say nothing (KL below 0.01 nats)."
    if is_discrete(q):
        return _codes(points[0].mean(0), said)
    if len(kl) > 1:
        figure = bars(kl.tolist(), "latent, the most informative first", "KL, nats")
        return Section("Use of the latents", f"Nats that each latent carries. {said}", plot(figure))
    shares = told(*vae.latent.inputs(points)).tolist()
    figure = bars(shares, "number, the most telling first", "correlation")
    note = (
        f"The latent is one variable of {kl.item():.2f} nats. How much of each number that "
        "the decoder takes the image decides: the correlation of two draws for one image."
    )
    return Section("Use of the latents", note, plot(figure))


def told(first: Tensor, second: Tensor) -> Tensor:
    """Correlation over rows of two draws, `(N, dims)` each -> `(dims)`; 0 of what never varies."""
    first, second = first - first.mean(0), second - second.mean(0)
    variance = (first.square() + second.square()).mean(0) / 2
    return (first * second).mean(0) / variance.clamp(min=torch.finfo(variance.dtype).tiny)


def _codes(usage: Tensor, said: str) -> Section:
    entropy = -(usage * usage.clamp(min=1e-12).log()).sum(-1)
    note = (
        f"How often each code is drawn on held-out images. On average a latent uses "
        f"{entropy.exp().mean():.1f} of {usage.shape[-1]} codes (perplexity). {said}"
    )
    return Section("Use of the codes", note, plot(heat(usage.tolist(), "code", "latent", "share")))


def _grid(images: Tensor, label: str) -> str:
    uri = data_uri(grid(images, COLUMNS))
    return picture(uri, label, pixels=440)

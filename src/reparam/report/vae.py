"""The report of a VAE's run: did it learn, at what temperature, and what does it draw?"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reparam.data import Images
from reparam.families import is_discrete, sample
from reparam.models import VAE
from reparam.noise import Noise
from reparam.report.curves import bars, curves, heat
from reparam.report.page import Section, picture, plot, table, write_page
from reparam.report.pictures import data_uri, grid
from reparam.training.folder import RunFolder
from reparam.training.settings import to_dict
from reparam.training.vae import VaeTask

SHOWN, COLUMNS = 40, 10


@torch.no_grad()
def write_report(task: VaeTask, images: Images, folder: RunFolder) -> Path:
    """`report.html` of a run, from its records and its trained model."""
    records = list(folder.records())
    settings = to_dict(task.settings)
    device = next(task.parameters()).device
    generator = torch.Generator(device=device).manual_seed(0)
    test = images.test.to(device)
    sections = [
        _results(records, images),
        _learning(records),
        _temperature(records),
        _reconstructions(task.vae, test[:SHOWN], generator),
        _prior(task.vae, test, generator),
        _usage(task.vae, test, generator),
        _settings(settings),
    ]
    title = f"{settings['model']} on {images.name}"
    subtitle = f"Sampling step differentiated by {settings['estimator']}. {images.note}"
    return write_page(folder.report, title, subtitle, [s for s in sections if s])


def _results(records: list[dict[str, Any]], images: Images) -> Section:
    tests = [r for r in records if r["split"] == "test"]
    last = tests[-1] if tests else {}
    remarks = {
        "bound": "one hard sample per image: a lower bound on log p(x)",
        "reconstruction": "-log p(x|z), part of the bound",
        "kl": "KL(q(z|x) || p(z)), the other part",
        "relaxed": "the training objective at relaxed points: not a bound, shown for its gap",
    }
    rows = [
        (
            name,
            f"{value:.2f}",
            remarks.get(name, f"{name.removeprefix('bound_')} hard samples, importance-weighted"),
        )
        for name, value in last.items()
        if name not in ("step", "epoch", "split", "final")
    ]
    if "relaxed" in last:
        gap = last["relaxed"] - last["bound"]
        rows.append(("gap", f"{gap:.2f}", "relaxed minus bound: what the relaxation imagines"))
    note = f"Nats per image on {len(images.test):,} held-out images; larger bounds are better."
    return Section("Result", note, table(rows))


def _learning(records: list[dict[str, Any]]) -> Section:
    bounds = curves(
        records,
        {
            "test bound (hard samples)": ("test", "bound"),
            "training bound": ("train", "bound"),
            "test relaxed value, no bound": ("test", "relaxed"),
            "training relaxed value, no bound": ("train", "relaxed"),
        },
        "nats per image",
    )
    kl = curves(records, {"training": ("train", "kl"), "test": ("test", "kl")}, "KL, nats")
    note = "Training curves are means between records; test curves are taken after every epoch."
    return Section("Learning curves", note, f"{plot(bounds)}{plot(kl)}")


def _temperature(records: list[dict[str, Any]]) -> Section | None:
    taus = [r["tau"] for r in records if "tau" in r]
    if not taus:
        return None
    figure = curves(records, {"temperature": ("train", "tau")}, "temperature")
    note = f"From {taus[0]:.3g} to {taus[-1]:.3g} over the run."
    return Section("Temperature", note, plot(figure))


def _reconstructions(vae: VAE, images: Tensor, generator: torch.Generator) -> Section:
    points = sample(vae.posterior(images), 1, Noise(generator))[0]
    decoded = torch.sigmoid(vae.decode(points))
    return Section(
        "Reconstructions",
        "Held-out images on the left; what the decoder makes of one hard sample each on the right.",
        f'<div class="pair">{_grid(images, "originals")}{_grid(decoded, "reconstructions")}</div>',
    )


def _prior(vae: VAE, like: Tensor, generator: torch.Generator) -> Section:
    points = sample(vae.latent.prior(like), SHOWN, Noise(generator))
    return Section(
        "Samples from the prior",
        "Pixel means decoded from the latent's prior: what the model thinks images are.",
        _grid(torch.sigmoid(vae.decode(points)), "samples"),
    )


def _usage(vae: VAE, images: Tensor, generator: torch.Generator) -> Section:
    q = vae.posterior(images[:2000])
    kl = vae.latent.kl(q).mean(0)
    dead = int((kl < 0.01).sum())
    said = f"{dead} of {len(kl)} latents say nothing (KL below 0.01 nats)."
    if not is_discrete(q):
        figure = bars(kl.tolist(), "latent, the most informative first", "KL, nats")
        return Section("Use of the latents", f"Nats that each latent carries. {said}", plot(figure))
    usage = sample(q, 1, Noise(generator))[0].mean(0)
    entropy = -(usage * usage.clamp(min=1e-12).log()).sum(-1)
    note = (
        f"How often each code is drawn on held-out images. On average a latent uses "
        f"{entropy.exp().mean():.1f} of {usage.shape[-1]} codes (perplexity). {said}"
    )
    return Section("Use of the codes", note, plot(heat(usage.tolist(), "code", "latent", "share")))


def _settings(settings: dict[str, Any]) -> Section:
    rows = [(name.replace("_", "-"), str(value), "") for name, value in settings.items()]
    return Section("Settings", "As in config.json.", table(rows))


def _grid(images: Tensor, label: str) -> str:
    uri = data_uri(grid(images, COLUMNS))
    return picture(uri, label, pixels=440)

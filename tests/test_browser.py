"""The pages in a real browser: drawn, moved, read by keys, in both themes, on a phone, offline."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from acceptance import seeded
from reparam.figures import FIGURES, bias_variance
from reparam.figures.interactive import write_explorer
from reparam.figures.write import write_index
from reparam.functional import gumbel_softmax
from tiny_runs import options, reparam, write_images

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium was found")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1200, "height": 900}}
PAGES = ("explorer", "report", "compare")
TAUS = [0.05, 0.2, 0.5, 1.0, 2.0, 10.0]
NUMBERS = {
    "draws": 100,
    "logits": [0.1, -0.1, 0.6, 0.1, -0.5, 0.4, 1.3, 0.9],
    "temperatures": TAUS,
    "curves": {
        "soft, linear": {"bias": [t / 20 for t in TAUS], "variance": [1 / t for t in TAUS]},
        "straight-through": {"bias": [t / 30 for t in TAUS], "variance": [2 / t for t in TAUS]},
    },
}
INTERACTIVE = "a[href], button, input, summary, [tabindex='0']"
CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    const found = getComputedStyle(e).backgroundColor;
    return (numbers(found)[3] ?? 1) > 0 ? found : behind(e.parentElement);
  };
  const said = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  return [...document.body.querySelectorAll("*")]
    .filter((e) => said(e) && e.checkVisibility() && e.localName !== "script")
    .map((e) => {
      const style = getComputedStyle(e);
      const front = e instanceof SVGElement ? style.fill : style.color;
      const [a, b] = [light(front), light(behind(e))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.textContent];
    });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator["api.Browser"]:
    """One browser for all tests."""
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The explorer, a run's report and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    data = write_images(folder / "tiny.npy")
    run = reparam(*options(data=data, estimator="gumbel-softmax", out=folder / "run"))
    few = ("score", "gumbel-softmax", "--problem", "categorical8", "--n", "2,4", "--trials", "32")
    found = reparam("compare", *few, "--out", folder)
    assert (run.status, found.status) == (0, 0), (run, found)
    return {
        "explorer": write_explorer({"bias-variance": NUMBERS}, 0, folder),
        "report": folder / "run" / "report.html",
        "compare": folder / "compare.html",
    }


@contextmanager
def shown(browser: "api.Browser", path: Path, script: str = "", **place: object) -> Iterator:
    """A page in a fresh context; the console stays empty and nothing else is asked for."""
    complaints: list[str] = []
    context = browser.new_context(**(place or DESK))
    context.set_default_timeout(10_000)
    context.add_init_script(script)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert set(complaints) == {path.as_uri()}
    context.close()


def bars(page: "api.Page") -> Tensor:
    """The relaxed samples `(6, 8)` as drawn: heights of bars over the height of their box."""
    heights = page.evaluate("""() => [...document.querySelectorAll("#draws .bars")].map((box) =>
      [...box.children].map((column) => column.firstChild.getBoundingClientRect().height
        / column.getBoundingClientRect().height))""")
    return torch.tensor(heights, dtype=torch.float64)


def samples(page: "api.Page") -> Tensor:
    """The same in all digits, as the style of the bars has them."""
    values = page.evaluate("""() => [...document.querySelectorAll("#draws .bars")].map((box) =>
      [...box.children].map((column) => +column.firstChild.style.getPropertyValue("--p")))""")
    return torch.tensor(values, dtype=torch.float64)


def warm(page: "api.Page", power: float) -> float:
    """Move the slider to 10**power by its keys; the temperature."""
    slider = page.locator("#tau")
    slider.focus()
    steps = round((power - float(slider.input_value())) / 0.02)
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
    return 10 ** float(slider.input_value())


def sums(page: "api.Page", tau: float) -> Tensor:
    """Logits plus noise, without their mean over classes, from the samples of a temperature."""
    logs = samples(page).log()
    return tau * (logs - logs.mean(-1, keepdim=True))


def tiles(page: "api.Page") -> list[float]:
    """Entropy, largest entry, distance."""
    return [
        float(page.locator(f"#{id_}").inner_text()) for id_ in ("entropy", "largest", "distance")
    ]


def captions(page: "api.Page") -> list[str]:
    """What is written below the draws."""
    return page.locator("#draws figcaption").all_inner_texts()


def axes(page: "api.Page", number: int = 0) -> list[list[float]]:
    """The ranges of a figure's axes."""
    return page.evaluate(
        """(i) => { const { xaxis, yaxis } = document.querySelectorAll(".plot > div:first-child")[i]
        ._fullLayout; return [xaxis.range, yaxis.range]; }""",
        number,
    )


def marked(page: "api.Page") -> list[list[list[float]]]:
    """The highlighted points of every figure: x and y, by curve."""
    return page.evaluate("""() => [...document.querySelectorAll(".plot > div:first-child")]
      .map(({ data }) => [data.at(-1).x, data.at(-1).y])""")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_can_be_read_in_both_themes(browser, pages, name, theme):
    """Every text, of figures too, has a contrast of 4.5 at least; every figure is drawn."""
    with shown(browser, pages[name], color_scheme=theme, **DESK) as page:
        if name == "explorer":
            page.locator("summary").click()
        found = page.evaluate(CONTRAST)
        assert len(found) > 30
        assert [text for contrast, text in found if contrast < 4.5] == []
        drawn = page.locator(".plot > div:first-child .main-svg").count()
        assert drawn >= page.locator(".plot").count() > 0
        dark = (
            page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        )
        assert dark == (theme == "dark")


@pytest.mark.parametrize("name", PAGES)
def test_everything_is_reached_and_seen_by_keys(browser, pages, name):
    """Tab stops at each control once, with a ring around it; all have a name."""
    with shown(browser, pages[name]) as page:
        if name == "explorer":
            page.evaluate("document.querySelector('details').open = true")
        controls = page.locator(INTERACTIVE).filter(visible=True).count()
        seen = []
        for _ in range(controls):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate(f"""() => {{
              const e = document.activeElement, style = getComputedStyle(e);
              const all = [...document.querySelectorAll("{INTERACTIVE}")];
              return [all.indexOf(e), style.outlineStyle, parseFloat(style.outlineWidth)]; }}""")
            )
        assert len({index for index, *_ in seen} - {-1}) == controls
        assert [stop for stop in seen if stop[1] != "solid" or stop[2] < 3] == []
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        roles = ("button", "slider", "link", "application", "region", "navigation")
        named = {n["role"]["value"]: n["name"]["value"] for n in nodes if not n["ignored"]}
        parts = [n for n in nodes if not n["ignored"] and n["role"]["value"] in roles]
        assert len(parts) >= controls
        assert all(n["name"]["value"].strip() for n in parts)
        assert "main" in named
        assert page.locator("img:not([alt]), [role=img]:not([aria-label])").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_it_without_scrolling_sideways(browser, pages, name):
    """Only boxes scroll; what is touched is as large as a finger."""
    with shown(browser, pages[name], **PHONE) as page:
        if name == "explorer":
            page.locator("summary").tap()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wide = page.locator(".scroll").evaluate_all(
            "(boxes) => boxes.filter((b) => b.getBoundingClientRect().right > innerWidth).length"
        )
        assert wide == 0
        for control in page.locator(INTERACTIVE).filter(visible=True).all():
            box = control.bounding_box()
            assert (
                min(box["width"], box["height"]) >= 44 or control.get_attribute("role") == "region"
            )
        assert page.evaluate("document.querySelector('.js-plotly-plot').layout.dragmode") is False


@pytest.mark.parametrize("name", PAGES)
def test_the_theme_changes_everything_and_is_remembered(browser, pages, name):
    """Page and figures take the new colors at once, and again when the page is loaded."""
    colors = """() => { const { layout } = document.querySelector(".js-plotly-plot");
      const { backgroundColor, color } = getComputedStyle(document.body);
      return [backgroundColor, color, layout.paper_bgcolor, layout.font.color]; }"""
    drawn = "() => getComputedStyle(document.querySelector('.xtick text')).fill"
    with shown(browser, pages[name], color_scheme="light", **DESK) as page:
        light = page.evaluate(colors)
        page.locator("#theme").click()
        dark = page.evaluate(colors)
        for found in (light, dark):
            assert found[:2] == found[2:]
        assert not set(light) & set(dark)
        assert page.evaluate(drawn) == dark[1]
        assert page.locator("#theme").get_attribute("aria-pressed") == "true"
        page.reload()
        assert page.evaluate(colors) == dark
        page.locator("#theme").click()
        assert page.evaluate(colors) == light


def test_a_refused_storage_is_no_error_and_the_system_leads(browser, pages):
    """Without a choice the page follows the system as it changes; storage may be forbidden."""
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    pressed = "document.getElementById('theme').getAttribute('aria-pressed')"
    paper = "document.querySelector('.js-plotly-plot').layout.paper_bgcolor"
    with shown(browser, pages["explorer"], refuse, color_scheme="light", **DESK) as page:
        before = page.evaluate(paper)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{pressed} === 'true'")
        assert page.evaluate(paper) != before
        page.locator("#theme").click()
        assert page.evaluate(paper) == before


def test_the_bars_are_softmax_over_the_temperature_of_one_noise(browser, pages):
    """log y_i - log y_j is proportional to 1 / tau: the noise stays while tau moves."""
    with shown(browser, pages["explorer"]) as page:
        first, names, drawn = sums(page, 1.0), captions(page), bars(page)
        torch.testing.assert_close(drawn, samples(page), atol=0.01, rtol=0)
        tops = [f"draw {i + 1}: class {k + 1}" for i, k in enumerate(first.argmax(-1).tolist())]
        assert names == tops
        for power in (0.3, -0.3, 0.7):
            tau = warm(page, power)
            torch.testing.assert_close(sums(page, tau), first, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(bars(page), samples(page), atol=0.01, rtol=0)
            assert captions(page) == names
            assert not torch.allclose(bars(page), drawn, atol=0.02)
            text = page.locator("#tau-value").inner_text()
            assert float(text) == float(f"{tau:.2g}")
            assert page.locator("#tau").get_attribute("aria-valuetext") == text
        assert "At temperature 5.0" in page.locator("#said").inner_text()


def test_colder_is_sharper_all_the_way(browser, pages):
    """From the coldest end to the warmest: the largest entry falls, the entropy rises."""
    with shown(browser, pages["explorer"]) as page:
        page.locator("#tau").focus()
        page.keyboard.press("Home")
        found = [tiles(page)]
        peaks = [samples(page).amax(-1)]
        for _ in range(10):
            page.keyboard.press("PageUp")
            found.append(tiles(page))
            peaks.append(samples(page).amax(-1))
        assert float(page.locator("#tau").input_value()) == 1.0
        entropy, largest, distance = zip(*found, strict=True)
        assert list(entropy) == sorted(entropy)
        assert list(largest) == sorted(largest, reverse=True)
        assert list(distance) == sorted(distance)
        assert bool((torch.stack(peaks).diff(dim=0) < 0).all())
        assert largest[0] > 0.95
        assert entropy[-1] > 0.98 * math.log(8)


def test_the_noise_is_gumbel_noise(browser, pages):
    """Winners follow softmax(logits) and samples are those of the library; the seed is fixed.

    Were it not, 4.9 standard errors at eight classes would fail falsely once in 1e5.
    """
    logits = torch.tensor(NUMBERS["logits"], dtype=torch.float64)
    read = """(i) => [...document.querySelectorAll("#mean .bars > div")]
      .map((column) => Number(column.children[i].style.getPropertyValue("--p")))"""
    with shown(browser, pages["explorer"]) as page:
        soft, probs, hard = (torch.tensor(page.evaluate(read, i)).double() for i in range(3))
        torch.testing.assert_close(probs, logits.softmax(-1), atol=1e-6, rtol=0)
        error = (probs * (1 - probs) / 2000).sqrt()
        assert bool(((hard - probs).abs() < 4.9 * error).all())
        drawn = gumbel_softmax(logits.expand(20_000, -1), 1.0, generator=seeded(0))
        assert bool(
            ((soft - drawn.mean(0)).abs() < 5 * drawn.std(0) * (1 / 2000 + 5e-5) ** 0.5).all()
        )
        best = torch.nn.functional.one_hot(drawn.argmax(-1), 8)
        expected = torch.stack(
            [torch.special.entr(drawn).sum(-1), drawn.amax(-1), (drawn - best).norm(dim=-1)]
        )
        torch.testing.assert_close(
            torch.tensor(tiles(page)).double(), expected.mean(1), atol=0.03, rtol=0
        )


def test_draws_are_new_when_asked_for_and_the_same_when_loaded(browser, pages):
    """A button draws other noise, which has a state: two visits see the same."""
    with shown(browser, pages["explorer"]) as page:
        first = samples(page)
        page.locator("#again").press("Enter")
        second = samples(page)
        assert bool(((second - first).abs().amax(-1) > 0.01).all())
        page.reload()
        assert torch.equal(samples(page), first)
        page.locator("#again").click()
        assert torch.equal(samples(page), second)


def test_logits_are_edited_under_the_same_noise(browser, pages):
    """A slider raises the logit of one class by a step and leaves the sums of the others."""
    with shown(browser, pages["explorer"]) as page:
        page.locator("summary").press("Enter")
        page.get_by_role("button", name="even").click()
        before = sums(page, 1.0)
        page.get_by_role("slider", name="class 3").press("ArrowRight")
        step = torch.full((8,), -0.1 / 8, dtype=torch.float64)
        step[2] += 0.1
        torch.testing.assert_close(sums(page, 1.0) - before, step.expand(6, -1))
        assert page.locator("#presets [aria-pressed=true]").count() == 0
        page.get_by_role("button", name="measured").click()
        logits = torch.tensor(NUMBERS["logits"], dtype=torch.float64)
        torch.testing.assert_close(sums(page, 1.0) - before, (logits - logits.mean()).expand(6, -1))
        page.get_by_role("button", name="one likely").click()
        assert captions(page).count("draw 1: class 3") == 1


def test_points_go_to_the_corner_of_their_class(browser, pages):
    """Cold, every point is in its corner, in shares as the probabilities; warm, in the middle."""
    read = """() => [...document.querySelectorAll("#simplex g > *")].map((dot) =>
      [dot.getAttribute("class"), dot.getAttribute("transform")].join(" ").match(/[\\d.]+/g)
        .map(Number))"""
    corners = torch.tensor([[5.0, 86.0], [95.0, 86.0], [50.0, 8.0]])
    with shown(browser, pages["explorer"]) as page:
        warm(page, -1.3)
        found = torch.tensor(page.evaluate(read))
        classes = found[:, 0].long()
        distance = (found[:, 1:] - corners[classes]).norm(dim=-1)
        assert len(found) == 300
        assert distance.median() < 0.1
        shares = classes.bincount(minlength=3) / 300
        torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.12, rtol=0)
        page.keyboard.press("End")
        found = torch.tensor(page.evaluate(read))
        assert torch.equal(found[:, 0].long(), classes)
        assert (found[:, 1:] - corners.mean(0)).norm(dim=-1).median() < 10


def test_the_measured_point_follows_the_slider(browser, pages):
    """Each curve of the three figures is marked at the temperature nearest to the slider's."""
    with shown(browser, pages["explorer"]) as page:
        for power, k in ((0.0, 3), (-0.7, 1), (1.0, 5), (-1.3, 0)):
            warm(page, power)
            bias, variance = (
                [curve[kind][k] for curve in NUMBERS["curves"].values()]
                for kind in ("bias", "variance")
            )
            here = [TAUS[k]] * 2
            assert marked(page) == [[bias, variance], [here, bias], [here, variance]]
            assert float(page.locator("#nearest").inner_text()) == TAUS[k]


def test_figures_tell_their_values(browser, pages):
    """Of the point under the mouse, and of points walked along by arrow keys."""
    place = """() => { const plot = document.querySelector(".js-plotly-plot");
      const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
      return [box.x + xaxis._offset + xaxis.d2p(.025), box.y + yaxis._offset + yaxis.d2p(2)]; }"""
    with shown(browser, pages["explorer"]) as page:
        plot = page.locator(".js-plotly-plot").first
        plot.scroll_into_view_if_needed()
        page.mouse.move(*page.evaluate(place))
        shows = plot.locator(".hoverlayer")
        api.expect(shows).to_contain_text("τ = 0.50relative bias 0.0250variance 2.00")
        plot.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
        said = page.locator("#said")
        api.expect(said).to_contain_text("τ = 0.20, relative bias 0.00667, variance 10.0")
        api.expect(said).to_contain_text("straight-through")
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        api.expect(said).to_contain_text("τ = 10")


def test_heat_maps_tell_their_values_by_keys(browser, pages):
    """Row by row: the share of a code."""
    with shown(browser, pages["report"]) as page:
        plot = page.locator(".js-plotly-plot").last
        share = plot.evaluate("(plot) => plot.data[0].z[1][0]")
        plot.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        api.expect(page.locator("#said")).to_contain_text(f"latent: 1, share: {share:.3f}"[:-1])


def test_figures_are_zoomed_by_buttons_keys_and_mouse(browser, pages):
    """About the middle; the zoom stays when slider and theme move, and ends at a word."""
    with shown(browser, pages["explorer"]) as page:
        plot = page.locator(".js-plotly-plot").first
        whole = axes(page)
        page.get_by_role("button", name="Zoom in").first.click()
        for (a, b), (c, d) in zip(whole, axes(page), strict=True):
            assert d - c == pytest.approx(0.7 * (b - a))
            assert c + d == pytest.approx(a + b)
        inner = axes(page)
        warm(page, -0.5)
        page.locator("#theme").click()
        assert axes(page) == inner
        plot.focus()
        page.keyboard.press("-")
        assert axes(page)[0] == pytest.approx(whole[0], rel=0.01, abs=0.01)
        page.keyboard.press("+")
        page.keyboard.press("0")
        assert axes(page)[1] == pytest.approx(whole[1], rel=0.05, abs=0.05)
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + 300, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 500, box["y"] + 250, steps=4)
        page.mouse.up()
        low, high = axes(page)[0]
        assert high - low < 0.4 * (whole[0][1] - whole[0][0])


def test_links_lead_past_the_controls_to_the_sections(browser, pages):
    """The first stop of Tab skips to the content; each link goes to its heading."""
    with shown(browser, pages["report"]) as page:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for link in page.locator("nav a").all():
            link.click()
            heading = page.locator(link.get_attribute("href"))
            assert heading.inner_text() == link.inner_text()
            assert heading.bounding_box()["y"] < 900


def test_the_command_writes_the_explorer(tmp_path):
    """`reparam figures --html`: beside the page of pictures, one of what was measured."""
    with mock.patch.object(bias_variance, "measure", lambda seed: {**NUMBERS, "seed": seed}):
        done = reparam("figures", "--html", "--only", "gumbel", "--seed", 3, "--out", tmp_path)
    assert done.status == 0, done
    assert f"explorer: {tmp_path / 'explorer.html'}" in done.out
    text = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    start = text.index('id="explorer">') + len('id="explorer">')
    state, _ = json.JSONDecoder().raw_decode(text[start:])
    assert (state["seed"], state["problem"]) == (3, NUMBERS["logits"])
    assert not list(tmp_path.glob("*.part"))


def test_pictures_can_be_read_on_a_phone_and_all_links_are_seen_on_a_desk(browser, tmp_path):
    """The page of figures: no text of a picture below 8 pixels but indices, no link cut off."""
    quick = ("paths", "gumbel", "gumbel-max", "temperatures")
    page_of_figures = write_index({name: FIGURES[name].measure(0) for name in quick}, 0, tmp_path)
    heights = """() => [...document.querySelectorAll(".sheet text")]
      .filter((text) => text.textContent.trim().length > 1)
      .map((text) => text.getBoundingClientRect().height)"""
    with shown(browser, page_of_figures, **PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        drawn = page.evaluate(heights)
        assert len(drawn) > 30
        assert min(drawn) > 8
    links = """() => [...document.querySelectorAll("nav a")]
      .map((a) => [a, a.parentElement].map((e) => e.getBoundingClientRect().right))"""
    with shown(browser, page_of_figures) as page:
        page.evaluate(
            "document.querySelector('nav').innerHTML += document.querySelector('nav').innerHTML"
        )
        assert all(link <= nav for link, nav in page.evaluate(links))

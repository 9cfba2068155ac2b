/* The theme of a page, and its figures: drawn in the theme's colors, zoomed by buttons or keys. */
"use strict";
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = {  // pages opened from files may be refused a storage
    get theme() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set theme(name) { try { localStorage.setItem("theme", name); } catch { /* until it is closed */ } },
  };
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  if (kept.theme) root.dataset.theme = kept.theme;

  /** The color that a variable of the style sheet has at present. */
  function color(name) {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  /** Give a figure the colors of the theme. */
  function painted(data, layout) {
    const [ink, line, edge, paper, card, accent] =
      ["ink", "line", "edge", "paper", "card", "accent"].map(color);
    Object.assign(layout, { paper_bgcolor: paper, plot_bgcolor: paper });
    layout.font = { ...layout.font, color: ink };
    layout.hoverlabel = { bgcolor: card, bordercolor: edge, font: { color: ink }, namelength: -1 };
    for (const axis of [layout.xaxis, layout.yaxis]) {
      Object.assign(axis, { gridcolor: line, zerolinecolor: line, linecolor: edge });
    }
    for (const trace of data) {
      if (trace.type === "heatmap") trace.colorscale = [[0, card], [1, accent]];
      if (trace.meta === "here") trace.marker = { ...trace.marker, line: { color: ink, width: 3 } };
    }
  }

  /** Draw a figure from the JSON beside it, and bring its controls to life. */
  function draw(figure) {
    const [plot, source] = [figure.querySelector("div"), figure.querySelector("script")];
    const { data, layout } = JSON.parse(source.textContent);
    const home = [layout.xaxis.autorange ?? true, layout.yaxis.autorange ?? true];
    // A finger that moves over a figure scrolls the page; the buttons zoom.
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    const config = { displayModeBar: false, responsive: true };
    const paint = () => {
      painted(data, plot.layout ?? layout);
      return Plotly.react(plot, data, plot.layout ?? layout, config);
    };
    const zoom = (by) => Plotly.relayout(plot, by ? scaled(plot, by) : {
      "xaxis.autorange": home[0], "yaxis.autorange": home[1],
    });
    for (const button of figure.querySelectorAll("button")) {
      button.addEventListener("click", () => zoom(Number(button.value)));
    }
    const step = walk(plot);
    plot.addEventListener("keydown", (event) => {
      const by = { "+": 0.7, "=": 0.7, "-": 1 / 0.7, 0: 0 }[event.key];
      if (by !== undefined) zoom(by);
      else if (!step(event.key)) return;
      event.preventDefault();
    });
    paint();
    document.addEventListener("themed", paint);
  }

  /** The ranges of both axes, so many times as long about the same middle. */
  function scaled(plot, by) {
    const range = (axis) => {
      const [low, high] = plot._fullLayout[axis].range;
      return [low, high].map((end) => (low + high) / 2 + (end - (low + high) / 2) * by);
    };
    return { "xaxis.range": range("xaxis"), "yaxis.range": range("yaxis") };
  }

  /** Say what a figure shows beside the point that is pointed at. */
  function say(plot) {
    const texts = [...plot.querySelectorAll(".hoverlayer text")];
    const lines = texts.flatMap((text) => (text.children.length ? [...text.children] : [text]));
    document.getElementById("said").textContent = lines.map((line) => line.textContent).join(", ");
  }

  /** Arrow keys walk along a line and from line to line. */
  function walk(plot) {
    let [line, point] = [0, -1];
    return (key) => {
      const [along, across] =
        { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key] ?? [];
      if (along === undefined) return false;
      const map = plot.data[0].type === "heatmap" && plot.data[0].z;
      const lines = map || plot.data.filter((trace) => trace.meta !== "here").map(({ y }) => y);
      const within = (i, list) => Math.min(Math.max(i, 0), list.length - 1);
      line = within(line + across, lines);
      point = within(point + along, lines[line]);
      const place = map ? { curveNumber: 0, xval: point, yval: line }
        : { curveNumber: line, pointNumber: point };
      Plotly.Fx.hover(plot, [place]);
      setTimeout(say, 100, plot);  // plotly.js shows a point at most every 50 ms
      return true;
    };
  }

  function themed() {
    document.getElementById("theme").setAttribute("aria-pressed", String(dark()));
    document.dispatchEvent(new Event("themed"));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll(".plot")) draw(figure);
    document.getElementById("theme").addEventListener("click", () => {
      kept.theme = root.dataset.theme = dark() ? "light" : "dark";
      themed();
    });
    system.addEventListener("change", themed);
    themed();
  });
})();

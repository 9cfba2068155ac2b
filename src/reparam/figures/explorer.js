/* Relaxed samples of a categorical whose temperature moves while the noise stays. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { problem, seed, simplex } = JSON.parse(document.getElementById("explorer").textContent);
  const [SHOWN, DRAWS, POINTS] = [6, 2000, 300];
  const find = (id) => document.getElementById(id);
  const classes = problem.map((_, k) => k);
  const presets = {
    measured: problem,
    even: classes.map(() => 0),
    "one likely": classes.map((k) => (k === 2 ? 4 : 0)),
    "two rivals": classes.map((k) => (k === 1 || k === 5 ? 3 : 0)),
  };
  const state = { tau: 1, logits: [...problem], seed };

  /** A stream of numbers in (0, 1): a Weyl sequence, its 32 bits mixed; never 0 and never 1. */
  function uniforms(start) {
    let weyl = start;
    return () => {
      weyl = (weyl + 0x9e3779b9) >>> 0;
      let bits = Math.imul(weyl ^ (weyl >>> 16), 0x85ebca6b);
      bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
      return (((bits ^ (bits >>> 16)) >>> 0) + 0.5) / 2 ** 32;
    };
  }

  /** Gumbel noise, rows of so many. */
  function gumbels(start, rows, columns) {
    const next = uniforms(start);
    const noise = () => -Math.log(-Math.log(next()));
    return Array.from({ length: rows }, () => Array.from({ length: columns }, noise));
  }

  function softmax(values) {
    const top = Math.max(...values);
    const powers = values.map((value) => Math.exp(value - top));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  const relaxed = (logits, noise) => softmax(logits.map((l, k) => (l + noise[k]) / state.tau));
  const argmax = (values) => values.indexOf(Math.max(...values));
  const winner = (logits, noise) => argmax(logits.map((l, k) => l + noise[k]));
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  /** Bars of one kind for each class, other marks on them, and the numbers of the classes. */
  function chart(place, kinds) {
    const marks = kinds.map((kind) => `<i class="${kind}"></i>`).join("");
    place.innerHTML = `<div class="bars" role="img">${classes.map(() => `<div>${marks}</div>`).join("")}</div>
      <div class="classes" aria-hidden="true">${classes.map((k) => `<span>${k + 1}</span>`).join("")}</div>
      <figcaption></figcaption>`;
    const columns = [...place.querySelectorAll(".bars > div")];
    return (caption, top, ...heights) => {
      columns.forEach((column, k) => {
        column.classList.toggle("top", k === top);
        heights.forEach((row, i) => column.children[i].style.setProperty("--p", row[k]));
      });
      place.querySelector(".bars").setAttribute("aria-label", caption);
      place.querySelector("figcaption").textContent = caption;
    };
  }

  const cards = Array.from({ length: SHOWN }, () =>
    chart(find("draws").appendChild(document.createElement("figure")), ["bar"]));
  const average = chart(find("mean"), ["bar", "line", "dot"]);
  const points = corners(find("simplex"));
  let noise, cloud;

  function redraw() {
    noise = gumbels(state.seed, DRAWS, classes.length);
    cloud = gumbels(state.seed + 0x51ed270b, POINTS, simplex.length);
  }

  /** Everything that the temperature moves. */
  function show() {
    const { tau, logits } = state;
    const samples = noise.map((row) => relaxed(logits, row));
    const tops = noise.map((row) => winner(logits, row));
    cards.forEach((card, i) => card(`draw ${i + 1}: class ${tops[i] + 1}`, tops[i], samples[i]));
    const soft = classes.map((k) => mean(samples.map((y) => y[k])));
    const hard = classes.map((k) => tops.filter((top) => top === k).length / DRAWS);
    const full = [0.25, 0.5, 1].find((height) => height >= Math.max(...soft, ...softmax(logits), ...hard));
    find("mean").querySelector(".bars").style.setProperty("--full", full);
    const caption = `mean of ${DRAWS.toLocaleString("en")} draws; the full height is ${full}`;
    average(caption, -1, soft, softmax(logits), hard);
    scatter();
    tell({
      entropy: mean(samples.map((y) => -y.reduce((h, p) => h + (p && p * Math.log(p)), 0))),
      largest: mean(samples.map((y) => Math.max(...y))),
      distance: mean(samples.map((y, i) => Math.hypot(...y.map((p, k) => p - (k === tops[i]))))),
    });
    find("tau-value").textContent = tau.toPrecision(2);
    find("tau").setAttribute("aria-valuetext", tau.toPrecision(2));
    for (const figure of document.querySelectorAll(".follows .plot > div:first-child")) follow(figure);
  }

  function tell(numbers) {
    for (const [name, value] of Object.entries(numbers)) find(name).textContent = value.toFixed(3);
  }

  /** Dots for the points, each in the color and shape of the class that it turns into. */
  function corners(svg) {
    const shapes = ['<circle r=".9"/>', '<rect x="-.8" y="-.8" width="1.6" height="1.6"/>',
      '<path d="M0-1.1 1 .8H-1Z"/>'];
    const group = svg.querySelector("g");
    return () => {
      group.innerHTML = cloud.map((row) => {
        const top = winner(simplex, row);
        return shapes[top].replace(" ", ` class="c${top}" `);
      }).join("");
    };
  }

  /** Barycentric coordinates, between corners at the lower left, the lower right and the top. */
  function scatter() {
    [...find("simplex").querySelector("g").children].forEach((dot, i) => {
      const [, right, top] = relaxed(simplex, cloud[i]);
      const [x, y] = [5 + 90 * (right + top / 2), 86 - 78 * top];
      dot.setAttribute("transform", `translate(${x.toFixed(3)} ${y.toFixed(3)})`);
    });
  }

  /** Mark the measured temperature nearest to that of the slider, on each curve. */
  function follow(plot) {
    const last = plot.data.length - 1;
    const curves = plot.data.slice(0, last);
    const gap = (tau) => Math.abs(Math.log(tau / state.tau));
    const taus = curves[0].customdata;
    const nearest = taus.reduce((best, tau, i) => (gap(tau) < gap(taus[best]) ? i : best), 0);
    if (plot.dataset.nearest === String(nearest)) return;
    plot.dataset.nearest = nearest;
    const here = { x: [curves.map(({ x }) => x[nearest])], y: [curves.map(({ y }) => y[nearest])] };
    Plotly.restyle(plot, here, [last]);
    find("nearest").textContent = taus[nearest].toPrecision(2);
  }

  /** A slider for each logit; moving one leaves the noise as it is. */
  const sliders = classes.map((k) => {
    const label = find("logits").appendChild(document.createElement("label"));
    label.innerHTML = `class ${k + 1} <input type="range" min="-5" max="5" step=".1"><output></output>`;
    const [input, output] = label.children;
    const place = () => {
      input.value = state.logits[k];
      output.textContent = state.logits[k].toFixed(1);
    };
    input.addEventListener("input", () => {
      state.logits[k] = Number(input.value);
      choose(null);
    });
    return place;
  });

  function choose(name) {
    if (name) state.logits = [...presets[name]];
    for (const button of find("presets").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === name));
    }
    for (const place of sliders) place();
    show();
  }

  for (const name of Object.keys(presets)) {
    const button = find("presets").appendChild(document.createElement("button"));
    Object.assign(button, { type: "button", value: name, textContent: name });
    button.addEventListener("click", () => choose(name));
  }
  find("tau").addEventListener("input", ({ target }) => {
    state.tau = 10 ** Number(target.value);
    show();
  });
  find("tau").addEventListener("change", () => {
    const [tau, largest] = ["tau-value", "largest"].map((id) => find(id).textContent);
    find("said").textContent = `At temperature ${tau} the largest entry is ${largest} on average.`;
  });
  find("again").addEventListener("click", () => {
    state.seed += 1;
    redraw();
    points();
    show();
  });
  redraw();
  points();
  choose("measured");
});

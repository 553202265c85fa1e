import { make } from "./dom.js";

/**
 * <blf-chart data-unit><div class="chart-data"><table>…</table></div>
 * <div class="plot"></div></blf-chart>: the table as lines over time. The first column has <time datetime>, the others numbers in
 * data-value; a header may have data-tone (ok, warn, bad, info, accent) and
 * data-fill. The table stays for screen readers.
 */
class Chart extends HTMLElement {
  #plot = null;

  connectedCallback() {
    this.#draw();
    this.sized = new ResizeObserver(() => this.#size());
    this.sized.observe(this);
    this.themed = () => this.#draw();
    document.addEventListener("blf:theme", this.themed);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.themed);
    this.changed = new MutationObserver(() => this.#draw());
    const table = this.querySelector("table");
    if (table) this.changed.observe(table, { childList: true, subtree: true, characterData: true, attributes: true });
  }

  disconnectedCallback() {
    this.sized?.disconnect();
    this.changed?.disconnect();
    document.removeEventListener("blf:theme", this.themed);
    this.dark?.removeEventListener("change", this.themed);
    this.#plot?.destroy();
    this.#plot = null;
  }

  #rows() {
    const table = this.querySelector("table");
    const heads = [...table.tHead.rows[0].cells].slice(1);
    const rows = [...table.tBodies[0].rows];
    const data = [rows.map((r) => Date.parse(r.cells[0].querySelector("time").dateTime) / 1000)];
    heads.forEach((_, i) => data.push(rows.map((r) => {
      const v = r.cells[i + 1].dataset.value;
      return v === undefined || v === "" ? null : Number(v);
    })));
    return { heads, data };
  }

  #draw() {
    if (!window.uPlot || !this.querySelector("table")) return;
    const css = getComputedStyle(this);
    const color = (name) => resolve(this, css.getPropertyValue(`--${name}`).trim());
    const { heads, data } = this.#rows();
    const ink = color("ink-2");
    const grid = { stroke: color("line"), width: 1 };
    const unit = this.dataset.unit || "";
    const strokes = heads.map((h) => color(h.dataset.tone || "accent"));
    const axis = { stroke: ink, grid, ticks: grid, font: "11px system-ui, sans-serif" };
    const options = {
      width: Math.max(this.clientWidth, 120), height: 160, ms: 1e-3,
      cursor: { y: false, drag: { x: false, y: false } },
      // The colours of the lines; without a pointer, what the last full minute had.
      legend: { live: true, markers: { width: 0, fill: (_, i) => strokes[i - 1] } },
      hooks: { setLegend: [(u) => u.legend.idx == null && u.setLegend({ idx: Math.max(data[0].length - 2, 0) }, false)] },
      scales: { y: { range: (_, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, values: (_, at) => at.map((s) => clockText(s)) },
        { ...axis, size: 56, values: (_, at) => at.map((v) => short(v) + unit) },
      ],
      series: [
        { label: "Time", value: (_, s) => (s == null ? "–" : clockText(s)) },
        ...heads.map((h, i) => {
          const stroke = strokes[i];
          return {
            label: h.textContent, stroke, width: 1.5, points: { show: false }, spanGaps: false,
            fill: h.dataset.fill === undefined ? undefined : stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.12)"),
            value: (_, v) => (v == null ? "–" : short(v) + unit),
          };
        }),
      ],
    };
    this.#plot?.destroy();
    this.#plot = new window.uPlot(options, data, this.querySelector(".plot"));
  }

  #size() {
    const width = this.clientWidth;
    if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: 160 });
  }
}

/** light-dark() and names become rgb(), which a canvas takes. */
function resolve(el, value) {
  const probe = make("span", { hidden: true });
  el.append(probe);
  probe.style.color = value;
  const rgb = getComputedStyle(probe).color;
  probe.remove();
  return rgb;
}

function clockText(seconds) {
  const date = new Date(seconds * 1000);
  return document.documentElement.dataset.clock === "local"
    ? `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`
    : date.toISOString().slice(11, 16);
}

function short(v) {
  const a = Math.abs(v);
  if (a >= 1e6) return `${+(v / 1e6).toPrecision(3)}M`;
  if (a >= 1e4) return `${+(v / 1e3).toPrecision(3)}k`;
  return `${+v.toPrecision(3)}`;
}

customElements.define("blf-chart", Chart);

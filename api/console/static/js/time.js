import { icon, make, remember, say } from "./dom.js";

const two = (n) => String(n).padStart(2, "0");
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const steps = [[60, "second"], [60, "minute"], [24, "hour"], [365, "day"], [Infinity, "year"]];

function shown(date, clock) {
  if (clock === "local") {
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  }
  if (clock === "relative") {
    let n = (date.getTime() - Date.now()) / 1000;
    for (const [size, unit] of steps) {
      if (Math.abs(n) < size) return relative.format(Math.round(n), unit);
      n /= size;
    }
  }
  return date.toISOString().slice(0, 19).replace("T", " ") + " UTC";
}

/** <blf-time><time datetime>…</time></blf-time>: an instant, shown as chosen. */
class Time extends HTMLElement {
  static observedAttributes = ["clock"];
  connectedCallback() { this.show(); }
  show() {
    const time = this.querySelector("time");
    const date = time && new Date(time.dateTime);
    if (!date || Number.isNaN(date.getTime())) return;
    time.textContent = shown(date, document.documentElement.dataset.clock);
    time.title = `${shown(date, "utc")} · ${shown(date, "local")} local`;
  }
}
customElements.define("blf-time", Time);

const showAll = () => document.querySelectorAll("blf-time").forEach((t) => t.show());
setInterval(() => { if (document.documentElement.dataset.clock === "relative" && !document.hidden) showAll(); }, 10_000);
document.addEventListener("htmx:after:swap", showAll);

const clocks = { utc: "UTC", local: "Local", relative: "Ago" };
const names = { utc: "UTC", local: "local time", relative: "time relative to now" };

/** <blf-clock>: the button that changes how times are shown. */
class Clock extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    const button = make("button", { type: "button", class: "button quiet small" });
    const name = () => {
      const now = document.documentElement.dataset.clock;
      button.replaceChildren(icon("clock"), clocks[now]);
      button.setAttribute("aria-label", `Times are shown in ${names[now]}: change`);
      button.title = `Times are shown in ${names[now]}`;
    };
    button.addEventListener("click", () => {
      const all = Object.keys(clocks);
      const next = all[(all.indexOf(document.documentElement.dataset.clock) + 1) % all.length];
      document.documentElement.dataset.clock = next;
      remember("clock", next);
      name();
      showAll();
      say(`Times are shown in ${names[next]}`);
    });
    name();
    this.append(button);
  }
}
customElements.define("blf-clock", Clock);

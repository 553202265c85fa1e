import { icon, make, say } from "./dom.js";

const most = 1000; // rows that are kept
const every = 250; // ms between two changes of the table
const patience = [1000, 2000, 5000, 10_000]; // ms between two tries

const tones = { DELIVERED: "ok", RETRYING: "warn", DEAD: "bad", PENDING: "info" };
const number = new Intl.NumberFormat("en");

/** Server-sent events of a stream of bytes: calls take with name and data. */
export async function read(stream, take) {
  let rest = "", name = "", data = "";
  for await (const part of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (name) take(name, data);
        name = data = "";
      } else if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) data += line.slice(6);
    }
  }
}

// A filter that the API refuses says so at its field.
function refused({ pointer, detail }) {
  const input = document.getElementById(`f-${pointer.slice(1)}`);
  if (input && !document.getElementById(`${input.id}-error`)) {
    input.after(make("ul", { class: "field-errors", id: `${input.id}-error` }, make("li", {}, icon("warn"), detail[0].toUpperCase() + detail.slice(1))));
    input.parentElement.classList.add("bad");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", `${input.id}-error`);
  }
  return `${pointer.slice(1)} ${detail}`;
}

/** <blf-tail src event>: shows the stream at src, newest first. */
class Tail extends HTMLElement {
  #entries = []; // newest first
  #fresh = 0; // of them that are not in the table yet
  #counts = { seen: 0, dropped: 0, forgotten: 0 };
  #paused = false;
  #nodes = [];
  #find = "";
  #timer = 0;
  #drawn = 0; // when the table was changed
  #stop = null;

  connectedCallback() {
    if (this.table) return;
    this.querySelector("[data-fallback]")?.remove();
    this.pause = make("button", { type: "button", class: "button", onclick: () => this.#toggle() });
    const clear = make("button", { type: "button", class: "button quiet", onclick: () => this.#clear() }, icon("trash"), "Clear");
    const find = make("input", { type: "search", "aria-label": "Find in these rows", placeholder: "Find in these rows", oninput: () => { this.#find = find.value.toLowerCase(); this.#redraw(); } });
    this.state = make("span", { class: "tag" }, "connecting");
    this.note = make("span", { class: "note" });
    this.missing = make("div", { class: "banner warn", role: "status", hidden: true });
    this.rows = make("tbody");
    this.hint = make("p", { class: "calm ev-pad" }, icon("tail"), make("span", {}, "Waiting for the next event. A test event shows up here at once."));
    this.table = make("div", { class: "scroll ev-tail-rows", tabindex: "0", role: "region", "aria-label": "Events and attempts, newest first", hidden: true },
      make("table", { class: "stack ev-list" }, make("thead", {}, make("tr", {}, ...["Time", "What", "Event", "Id", "Destination"].map((h) => make("th", { scope: "col" }, h)))), this.rows));
    this.append(make("div", { class: "ev-tail-bar" }, this.pause, clear, find, this.state, this.note), this.missing, this.hint, this.table);
    this.#label();
    this.#stop = new AbortController();
    this.#follow(this.#stop.signal);
  }

  disconnectedCallback() { this.#stop?.abort(); clearTimeout(this.#timer); }

  async #follow(signal) {
    for (let tries = 0; !signal.aborted; tries++) {
      let text = "The stream ended; trying again.";
      try {
        const answer = await fetch(this.getAttribute("src"), { headers: { Accept: "text/event-stream" }, signal, redirect: "manual", cache: "no-store" });
        if (answer.type === "opaqueredirect") return this.#say("bad", "Your session is over: reload the page to sign in.");
        if (!answer.ok || !answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
          const problem = await answer.json().catch(() => ({}));
          text = problem.errors?.map(refused).join("; ") || problem.detail || `The node answered ${answer.status}.`;
          if (answer.status === 400 || answer.status === 403) return this.#say("bad", text);
        } else {
          tries = 0;
          this.#say("ok", "live");
          await read(answer.body, (name, data) => this.#take(name, JSON.parse(data)));
        }
      } catch {
        if (signal.aborted) return;
        text = "The node does not answer; trying again.";
      }
      this.#say("warn", text);
      await new Promise((done) => { setTimeout(done, patience[Math.min(tries, patience.length - 1)]); });
    }
  }

  #say(tone, text) {
    if (this.state.textContent !== text) say(text);
    this.state.className = `tag ${tone}`;
    this.state.textContent = text;
  }

  #take(name, data) {
    if (name === "dropped") this.#counts.dropped += data.dropped;
    else if (name === "nodes") this.#missing(data.unreachableNodes);
    else if (name === "accepted" || name === "attempt") {
      this.#counts.seen++;
      this.#fresh++;
      this.#entries.unshift(data);
      if (this.#entries.length > most) {
        this.#entries.length = most;
        this.#counts.forgotten++;
      }
    } else return;
    this.#timer ||= setTimeout(() => { this.#timer = 0; this.#drawn = Date.now(); this.#draw(); }, Math.max(16, this.#drawn + every - Date.now()));
  }

  #missing(nodes) {
    this.missing.hidden = !nodes.length;
    this.missing.replaceChildren(icon("warn"), make("div", {}, `Not everything is here: no answer from ${nodes.join(", ")}.`));
  }

  #fits(e) {
    return !this.#find || JSON.stringify(e).toLowerCase().includes(this.#find);
  }

  #draw() {
    this.#count();
    if (this.#paused || !this.#fresh) return;
    const rows = this.#entries.slice(0, this.#fresh).filter((e) => this.#fits(e)).map((e) => this.#row(e));
    this.#fresh = 0;
    this.rows.prepend(...rows);
    while (this.rows.childElementCount > most) this.rows.lastElementChild.remove();
    this.#visible();
  }

  #redraw() {
    this.#fresh = 0;
    this.rows.replaceChildren(...this.#entries.filter((e) => this.#fits(e)).map((e) => this.#row(e)));
    this.#visible();
    this.#count();
  }

  #visible() {
    this.table.hidden = !this.rows.childElementCount;
    this.hint.hidden = !this.table.hidden;
    this.hint.lastElementChild.textContent = this.#entries.length ? "None of the rows fits." : "Waiting for the next event. A test event shows up here at once.";
  }

  #count() {
    const { seen, dropped, forgotten } = this.#counts;
    const parts = [`${number.format(seen)} seen`];
    if (forgotten) parts.push(`the last ${number.format(most)} are kept`);
    if (dropped) parts.push(`${number.format(dropped)} dropped: too many to show`);
    if (this.#paused && this.#fresh) parts.push(`${number.format(Math.min(this.#fresh, most))} wait`);
    this.note.textContent = parts.join(" · ");
  }

  #row(e) {
    const a = e.attempt;
    const kept = a || e.deliveries > 0; // what is owed to nobody is not kept
    const what = a
      ? [make("span", { class: `tag ${tones[e.status] || ""}` }, (e.status || "").toLowerCase()), " ", make("span", { class: "note" }, `attempt ${a.attempt}`, a.statusCode ? ` · ${a.statusCode}` : "", ` · ${a.durationMs} ms`)]
      : [make("span", { class: "tag" }, "accepted"), " ", make("span", { class: "note" }, kept ? (e.deliveries === 1 ? "1 delivery" : `${e.deliveries} deliveries`) : "goes nowhere: no subscription fits")];
    if (a?.error) what.push(make("br"), make("span", { class: "note" }, make("bdi", {}, a.error)));
    return make("tr", {},
      make("td", { "data-label": "Time" }, make("blf-time", {}, make("time", { datetime: e.at }))),
      make("td", { class: "ev-for", "data-label": "What" }, ...what),
      make("td", { "data-label": "Event" }, make("bdi", {}, e.event), make("br"), make("span", { class: "note" }, make("bdi", {}, e.channel))),
      make("th", { scope: "row", class: "mono ev-for" }, kept ? make("a", { href: this.getAttribute("event") + encodeURIComponent(e.eventId) }, make("bdi", {}, e.eventId)) : make("bdi", {}, e.eventId)),
      make("td", { class: "ev-for", "data-label": "Destination" }, e.profileId ? make("bdi", {}, e.profileId) : make("span", { class: "none" }, a ? "URL of the submit" : "–")));
  }

  #label() {
    this.pause.replaceChildren(icon(this.#paused ? "play" : "pause"), this.#paused ? "Resume" : "Pause");
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.#label();
    if (this.#paused) this.#count();
    else this.#redraw();
    say(this.#paused ? "Paused" : "Live again");
  }

  #clear() {
    this.#entries = [];
    this.#counts = { seen: 0, dropped: 0, forgotten: 0 };
    this.#redraw();
  }
}
customElements.define("blf-tail", Tail);

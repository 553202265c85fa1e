import { icon, make } from "./dom.js";

const most = 30;

/** How well an entry fits what was typed; 0: not at all. */
function score(entry, words) {
  const label = entry.label.toLowerCase();
  const all = `${label} ${entry.kind.toLowerCase()}`;
  let sum = 0;
  for (const word of words) {
    if (label.startsWith(word)) sum += 4;
    else if (label.includes(word)) sum += 2;
    else if (all.includes(word)) sum += 1;
    else return 0;
  }
  return sum || 1;
}

/** <blf-palette src>: goes to a screen or an object by a part of its name. */
class Palette extends HTMLElement {
  #entries = null;
  #shown = [];
  #at = 0;

  connectedCallback() {
    if (this.firstChild) return;
    const open = make("button", { type: "button", class: "button palette-open", "aria-haspopup": "dialog" },
      icon("search"), make("span", {}, "Go to…"), make("kbd", {}, "Ctrl K"));
    open.addEventListener("click", () => this.open());
    this.input = make("input", {
      type: "text", role: "combobox", "aria-label": "Screen or object", "aria-expanded": "true", "aria-controls": "blf-palette-list",
      "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: "Screen, profile, setting, certificate…",
    });
    this.list = make("ul", { role: "listbox", id: "blf-palette-list", "aria-label": "Places" });
    this.note = make("p", { class: "note", role: "status" });
    this.dialog = make("dialog", { class: "palette", "aria-label": "Go to" }, this.input, this.list, this.note);
    this.input.addEventListener("input", () => { this.#at = 0; this.#show(); });
    this.input.addEventListener("keydown", (e) => this.#key(e));
    this.dialog.addEventListener("click", (e) => { if (e.target === this.dialog) this.dialog.close(); });
    this.append(open, this.dialog);
  }

  async open() {
    if (this.dialog.open) return;
    this.input.value = "";
    this.#at = 0;
    this.dialog.showModal();
    if (!this.#entries) {
      this.note.textContent = "Loading…";
      try {
        const answer = await fetch(this.getAttribute("src"), { headers: { Accept: "application/json" }, redirect: "error" });
        this.#entries = answer.ok ? await answer.json() : [];
      } catch {
        this.#entries = null;
        this.note.textContent = "The places could not be loaded.";
        return;
      }
    }
    this.#show();
  }

  #show() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.#shown = (this.#entries || [])
      .map((entry) => ({ entry, fit: score(entry, words) }))
      .filter((x) => x.fit > 0)
      .sort((a, b) => b.fit - a.fit)
      .slice(0, most)
      .map((x) => x.entry);
    this.#at = Math.min(this.#at, Math.max(0, this.#shown.length - 1));
    this.list.replaceChildren(...this.#shown.map((entry, i) => make("li", {
      role: "option", id: `blf-place-${i}`, "aria-selected": String(i === this.#at), onclick: () => this.#go(entry),
    }, make("bdi", {}, entry.label), make("small", {}, entry.kind, entry.key ? ` · g ${entry.key}` : ""))));
    this.note.textContent = this.#shown.length ? "" : "Nothing has that name.";
    this.note.hidden = this.#shown.length > 0;
    this.list.hidden = !this.#shown.length;
    if (this.#shown.length) this.input.setAttribute("aria-activedescendant", `blf-place-${this.#at}`);
    else this.input.removeAttribute("aria-activedescendant");
    this.list.children[this.#at]?.scrollIntoView({ block: "nearest" });
  }

  #key(e) {
    const last = this.#shown.length - 1;
    if (e.key === "ArrowDown") this.#at = this.#at >= last ? 0 : this.#at + 1;
    else if (e.key === "ArrowUp") this.#at = this.#at <= 0 ? last : this.#at - 1;
    else if (e.key === "Enter" && this.#shown[this.#at]) { e.preventDefault(); this.#go(this.#shown[this.#at]); return; }
    else return;
    e.preventDefault();
    this.#show();
  }

  #go(entry) {
    this.dialog.close();
    location.assign(entry.href);
  }
}
customElements.define("blf-palette", Palette);

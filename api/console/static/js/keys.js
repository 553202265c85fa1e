import { make, typing } from "./dom.js";

/** <blf-keys>: the keyboard, and the sheet that explains it. */
class Keys extends HTMLElement {
  #pending = 0;

  connectedCallback() {
    document.addEventListener("keydown", this);
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this);
  }

  handleEvent(e) {
    if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === "k") {
      e.preventDefault();
      document.querySelector("blf-palette")?.open();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || typing(e.target) || document.querySelector("dialog[open]")) return;
    if (Date.now() < this.#pending) {
      this.#pending = 0;
      const link = this.#links().find((a) => a.dataset.key === e.key);
      if (link) { e.preventDefault(); link.click(); }
      return;
    }
    if (e.key === "g") this.#pending = Date.now() + 1500;
    else if (e.key === "?") { e.preventDefault(); this.#help(); }
    else if (e.key === "/") {
      e.preventDefault();
      const search = document.querySelector("main input[type=search]");
      if (search) { search.focus(); search.select(); } else document.querySelector("blf-palette")?.open();
    }
  }

  #links() { return [...document.querySelectorAll(".side a[data-key]")]; }

  #help() {
    if (!this.dialog) {
      const row = (keys, text) => [make("dt", {}, ...keys.flatMap((k, i) => i ? [" ", make("kbd", {}, k)] : [make("kbd", {}, k)])), make("dd", {}, text)];
      this.dialog = make("dialog", { class: "sheet", "aria-labelledby": "blf-keys-title" },
        make("h2", { id: "blf-keys-title" }, "Keyboard"),
        make("dl", {}, ...row(["/"], "Search on this screen"), ...row(["Ctrl", "K"], "Go to a screen or an object"), ...row(["?"], "This help"),
          ...this.#links().flatMap((a) => row(["g", a.dataset.key], a.textContent.trim())), ...row(["Esc"], "Close what is open")),
        make("form", { method: "dialog" }, make("button", { class: "button" }, "Close")));
      this.append(this.dialog);
    }
    this.dialog.showModal();
  }
}
customElements.define("blf-keys", Keys);

// Menus close when something else is used.
document.addEventListener("click", (e) => {
  for (const d of document.querySelectorAll("details.menu[open], details.drawer[open]")) if (!d.contains(e.target)) d.open = false;
});
document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape") return;
  for (const d of document.querySelectorAll("details.menu[open], details.drawer[open]")) {
    d.open = false;
    d.querySelector("summary").focus();
  }
});

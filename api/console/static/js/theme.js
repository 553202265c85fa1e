import { icon, make, remember, say } from "./dom.js";

const order = ["auto", "light", "dark"];
const icons = { auto: "auto", light: "sun", dark: "moon" };
const names = { auto: "as the system", light: "light", dark: "dark" };

/** <blf-theme>: the button that changes the colours. */
class Theme extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    const button = make("button", { type: "button", class: "iconbutton" });
    const now = () => document.documentElement.dataset.theme || "auto";
    const show = () => {
      button.replaceChildren(icon(icons[now()]));
      button.setAttribute("aria-label", `Colours: ${names[now()]}. Change`);
      button.title = `Colours: ${names[now()]}`;
    };
    button.addEventListener("click", () => {
      const next = order[(order.indexOf(now()) + 1) % order.length];
      if (next === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      remember("theme", next);
      show();
      say(`Colours: ${names[next]}`);
      document.dispatchEvent(new CustomEvent("blf:theme"));
    });
    show();
    this.append(button);
  }
}
customElements.define("blf-theme", Theme);

import { icon, make, say } from "./dom.js";

/** <blf-copy value label>: a button that copies a text. */
class Copy extends HTMLElement {
  connectedCallback() {
    if (this.firstChild || !navigator.clipboard) return;
    const label = this.getAttribute("label") || "Copy";
    const button = make("button", { type: "button", class: "iconbutton", "aria-label": label, title: label }, icon("copy"));
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(this.getAttribute("value"));
        button.replaceChildren(icon("check"));
        say("Copied");
      } catch {
        say("The browser does not allow to copy");
      }
      setTimeout(() => button.replaceChildren(icon("copy")), 1500);
    });
    this.append(button);
  }
}
customElements.define("blf-copy", Copy);

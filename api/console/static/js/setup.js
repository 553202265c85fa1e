import { icon, make } from "./dom.js";

/** <blf-rows for>: a button that adds another empty row to a list of rows of
    fields, a copy of the last one. */
class Rows extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    const button = make("button", { type: "button", class: "button small" }, icon("plus"), "Another row");
    button.addEventListener("click", () => {
      const rows = document.getElementById(this.getAttribute("for"));
      const row = rows.lastElementChild.cloneNode(true);
      for (const field of row.querySelectorAll("input")) field.value = "";
      rows.append(row);
      row.querySelector("input")?.focus();
    });
    this.append(button);
  }
}
customElements.define("blf-rows", Rows);

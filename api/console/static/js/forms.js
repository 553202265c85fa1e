import { icon, make } from "./dom.js";

// A form is sent once; its button says that it is being sent.
document.addEventListener("submit", (e) => {
  if (e.defaultPrevented || e.target.method !== "post") return;
  if (e.target.dataset.sent) { e.preventDefault(); return; }
  e.target.dataset.sent = "true";
  e.submitter?.classList.add("busy");
  e.submitter?.setAttribute("aria-busy", "true");
});
// Back from another page: the form can be sent again.
addEventListener("pageshow", () => {
  for (const f of document.querySelectorAll("form[data-sent]")) delete f.dataset.sent;
  for (const b of document.querySelectorAll(".busy")) { b.classList.remove("busy"); b.removeAttribute("aria-busy"); }
});

// A filter that is refused says so at its field as well, which stands outside the
// list that is loaded.
document.addEventListener("htmx:after:request", (e) => {
  const { sourceElement, text } = e.detail?.ctx || {};
  const form = sourceElement?.closest?.("form.filters");
  if (!form || !text) return;
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const input of form.querySelectorAll(".field > [id]:is(input, select)")) {
    const next = page.getElementById(input.id);
    if (!next) continue;
    for (const name of ["aria-invalid", "aria-describedby"]) {
      if (next.hasAttribute(name)) input.setAttribute(name, next.getAttribute(name));
      else input.removeAttribute(name);
    }
    const field = input.parentElement;
    field.classList.toggle("bad", next.parentElement.classList.contains("bad"));
    field.querySelector(".field-errors")?.remove();
    const errors = next.parentElement.querySelector(".field-errors");
    if (errors) field.append(errors);
  }
});

// What went wrong is read first.
document.querySelector("[data-focus]")?.focus();

// Questions (a.data-dialog) open in a dialog instead of a page of their own.
document.addEventListener("click", async (e) => {
  const link = e.target.closest?.("a[data-dialog][href]");
  if (!link || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
  e.preventDefault();
  try {
    const answer = await fetch(link.href, { redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const content = page.querySelector("main");
    const title = content?.querySelector("h1");
    if (!answer.ok || !title) throw new Error("no question");
    content.querySelector(".crumbs")?.remove();
    title.id = "blf-question";
    const dialog = make("dialog", { "aria-labelledby": "blf-question" }, ...content.childNodes);
    const close = make("button", { type: "button", class: "iconbutton", "aria-label": "Close" }, icon("x"));
    close.addEventListener("click", () => dialog.close());
    dialog.querySelector(".head")?.append(close);
    for (const a of dialog.querySelectorAll(".actions a")) a.addEventListener("click", (c) => { c.preventDefault(); dialog.close(); });
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector("input:not([type=hidden])") || dialog.querySelector("button"))?.focus();
  } catch {
    location.assign(link.href);
  }
});

// Regions with data-hx-trigger="blf-poll from:body" are loaded again every five
// seconds, as long as somebody can see the page.
const every = 5_000;
let failed = false;

setInterval(() => {
  if (document.hidden || document.querySelector("dialog[open]")) return;
  document.body.dispatchEvent(new CustomEvent("blf-poll"));
}, every);

function note(text) {
  for (const el of document.querySelectorAll("[data-live-note]")) el.textContent = text;
}

document.addEventListener("htmx:error", () => { failed = true; note("The node does not answer; trying again."); });
document.addEventListener("htmx:after:request", () => { if (failed) { failed = false; note(""); } });

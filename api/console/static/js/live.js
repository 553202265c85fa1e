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
document.addEventListener("htmx:after:request", (e) => {
  if (failed) { failed = false; note(""); }
  state(e.detail?.ctx?.text);
});

// What a region got says whether the node has a quorum now: the page is told
// too, and is told aloud when it has changed, not when only its age has.
function state(text) {
  const now = document.getElementById("state");
  const next = text && now && new DOMParser().parseFromString(text, "text/html").getElementById("state");
  if (!next || next.innerHTML === now.innerHTML) return;
  if (!!next.firstElementChild === !!now.firstElementChild) for (const el of next.querySelectorAll("[role]")) el.removeAttribute("role");
  now.replaceChildren(...next.childNodes);
}

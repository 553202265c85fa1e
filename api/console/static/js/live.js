import { icon, make } from "./dom.js";

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
function state(text, whole = true) {
  const now = document.getElementById("state");
  const next = text && now && new DOMParser().parseFromString(text, "text/html").getElementById("state");
  if (!next) return;
  const out = next.hasAttribute("data-outage");
  const turned = out !== now.hasAttribute("data-outage");
  writes(out);
  if (!turned && (!whole || next.innerHTML === now.innerHTML)) return;
  if (!!next.firstElementChild === !!now.firstElementChild) for (const el of next.querySelectorAll("[role]")) el.removeAttribute("role");
  now.toggleAttribute("data-outage", out);
  now.replaceChildren(...next.childNodes);
  if (turned && !out && !whole) now.append(make("div", { class: "banner ok", role: "status" }, icon("check"), make("div", {}, "The cluster has a quorum again: changes work. Reload the page for what it shows to be current.")));
}

// What changes something cannot be used without a quorum: a button is disabled,
// a link loses its address, as on a page that is made then.
function writes(out) {
  for (const el of document.querySelectorAll("[data-write]")) {
    if (el.localName === "button") el.disabled = out;
    else if (out && el.hasAttribute("href")) {
      el.dataset.href = el.getAttribute("href");
      el.removeAttribute("href");
      el.setAttribute("role", "link");
      el.setAttribute("aria-disabled", "true");
    } else if (!out && el.dataset.href) {
      el.setAttribute("href", el.dataset.href);
      for (const name of ["data-href", "role", "aria-disabled"]) el.removeAttribute(name);
    }
    if (out) el.setAttribute("aria-describedby", "state");
    else el.removeAttribute("aria-describedby");
  }
}

// Not every page has a region, and one with a form or a question open must hear
// of it as well. The age is of what the page shows, so it stays.
async function ask() {
  const src = document.getElementById("state")?.dataset.src;
  if (!src || document.hidden) return;
  try {
    const answer = await fetch(src);
    if (answer.ok) state(await answer.text(), false);
  } catch { /* the node does not answer; the next time it may */ }
}
setInterval(ask, every);
document.addEventListener("visibilitychange", ask);

// Small helpers for the other modules.

const base = new URL("../", import.meta.url);

/** An element with attributes and children; text is never read as HTML. */
export function make(name, attrs = {}, ...children) {
  const el = document.createElement(name);
  for (const [key, value] of Object.entries(attrs)) {
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children.filter((c) => c != null));
  return el;
}

/** A symbol of the sprite. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", new URL(`img/icons.svg#${name}`, base).pathname + `#${name}`);
  svg.append(use);
  return svg;
}

/** Says something to screen readers. */
export function say(text) {
  let el = document.getElementById("blf-say");
  if (!el) {
    el = make("div", { id: "blf-say", role: "status", class: "unseen" });
    document.body.append(el);
  }
  el.textContent = text;
}

/** Remembers a choice of this browser where the server sees it too. */
export function remember(name, value) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `blf_${name}=${value}; path=/console; max-age=31536000; samesite=strict${secure}`;
}

/** Whether keys go into a field now. */
export function typing(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"));
}

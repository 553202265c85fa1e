import { hashes, hmac } from "./hash.js";
import { icon, make } from "./dom.js";

const utf8 = new TextEncoder();

function base64(text) {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

function unhex(text) {
  return /^([0-9a-f]{2})+$/i.test(text) ? Uint8Array.from(text.match(/../g), (x) => parseInt(x, 16)) : null;
}

const same = (a, b) => a != null && a.length === b.length && a.every((x, i) => x === b[i]);

/** The bodies that may be meant: forms change the ends of lines. */
function readings(body) {
  return [
    { text: body, note: "" },
    { text: body.replace(/\n$/, ""), note: "without the line break at its end" },
    { text: body.trim(), note: "without the white space around it" },
    { text: body.replace(/\n/g, "\r\n"), note: "with CR LF at the ends of its lines" },
  ].filter((r, i, all) => all.findIndex((o) => o.text === r.text) === i);
}

/**
 * What is to be said about a signature: { ok, text }. It knows the two forms
 * that belfry sends: ALG=value over the body, and those of Standard Webhooks.
 */
export function verify({ body, header, secret, id, timestamp }) {
  const value = header.trim().replace(/^[A-Za-z0-9-]+:\s*/, "");
  if (!value) return { ok: false, text: "Paste the value of the signature header." };
  if (!secret) return { ok: false, text: "The secret is missing." };
  return /(^|\s)v\d+,/.test(value) ? standard(value, { body, secret, id, timestamp }) : plain(value, body, secret);
}

function plain(value, body, secret) {
  const at = value.indexOf("=");
  const name = value.slice(0, at);
  if (at < 0 || !hashes[name]) return { ok: false, text: `The value must begin with ${Object.keys(hashes).map((n) => `${n}=`).join(", ")}, or with v1,.` };
  const key = utf8.encode(secret);
  const rest = value.slice(at + 1);
  const length = hashes[name].hash(new Uint8Array()).length;
  const given = (rest.length === 2 * length && unhex(rest)) || base64(rest);
  if (given?.length !== length) return { ok: false, text: `The value behind ${name}= is neither hex nor base64 of ${length} bytes.` };
  return found(readings(body), (text) => same(given, hmac(name, key, utf8.encode(text))), name);
}

function standard(value, { body, secret, id, timestamp }) {
  if (!id || !/^\d+$/.test(timestamp)) return { ok: false, text: "A v1 signature needs the webhook-id and the webhook-timestamp too." };
  const key = secret.startsWith("whsec_") ? base64(secret.slice(6)) : utf8.encode(secret);
  if (!key) return { ok: false, text: "The secret begins with whsec_ and is not base64 behind it." };
  const given = value.split(/\s+/).filter((s) => s.startsWith("v1,")).map((s) => base64(s.slice(3)));
  const fits = (text) => {
    const want = hmac("SHA256", key, utf8.encode(`${id}.${timestamp}.${text}`));
    return given.some((g) => same(g, want));
  };
  return found(readings(body), fits, "v1");
}

function found(bodies, fits, name) {
  const hit = bodies.find((b) => fits(b.text));
  if (!hit) return { ok: false, text: `The ${name} signature does not fit: another secret was used, or the body is not the one that was signed.` };
  return { ok: true, text: hit.note ? `The ${name} signature is right for the body ${hit.note}.` : `The ${name} signature is right.` };
}

/** <blf-signature>: a form that checks a signature and is never sent. */
class Signature extends HTMLElement {
  connectedCallback() {
    const form = this.querySelector("[data-check]");
    if (!form) return;
    this.querySelector("[data-fallback]").hidden = true;
    form.hidden = false;
    const verdict = form.querySelector("[data-verdict]");
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const parts = Object.fromEntries([...form.querySelectorAll("[data-part]")].map((el) => [el.dataset.part, el.value]));
      const { ok, text } = verify(parts);
      verdict.replaceChildren(make("div", { class: `banner ${ok ? "ok" : "bad"}` }, icon(ok ? "check" : "warn"), make("div", {}, text)));
    });
    form.addEventListener("input", () => verdict.replaceChildren());
  }
}
customElements.define("blf-signature", Signature);

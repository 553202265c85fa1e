// MD5, SHA-1 and the SHA-2 family, and HMAC. Web Crypto has neither MD5 nor
// SHA-224, and is missing altogether where a console is reached without TLS.
// Constants are worked out from where they come from.

const primes = [];
for (let n = 2; primes.length < 80; n++) if (primes.every((p) => n % p)) primes.push(n);

/** The whole part of the k-th root of a BigInt. */
function root(n, k) {
  let low = 0n, high = 1n << 80n;
  while (high - low > 1n) {
    const mid = (low + high) >> 1n;
    if (mid ** k <= n) low = mid;
    else high = mid;
  }
  return low;
}

const mask64 = (1n << 64n) - 1n;
/** The first 64 bits behind the point of the k-th root of a prime. */
const behind = (p, k) => root(BigInt(p) << (64n * k), k) & mask64;
const cubes = primes.map((p) => behind(p, 3n));
const squares = primes.slice(0, 16).map((p) => behind(p, 2n));
const high = (x) => Number(x >> 32n);
const rounds256 = cubes.slice(0, 64).map(high);
const sines = Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32) >>> 0);

/** A message with the padding of its hash: blocks of size bytes. */
function padded(bytes, size, little) {
  const field = size / 8;
  const out = new Uint8Array(Math.ceil((bytes.length + 1 + field) / size) * size);
  out.set(bytes);
  out[bytes.length] = 0x80;
  new DataView(out.buffer).setBigUint64(out.length - 8, BigInt(bytes.length) * 8n, little);
  return new DataView(out.buffer);
}

function bytesOf(words, little) {
  const view = new DataView(new ArrayBuffer(words.length * 4));
  words.forEach((w, i) => view.setUint32(i * 4, w >>> 0, little));
  return new Uint8Array(view.buffer);
}

const left = (x, n) => (x << n) | (x >>> (32 - n));
const right = (x, n) => (x >>> n) | (x << (32 - n));

function md5(bytes) {
  const turns = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
  const view = padded(bytes, 64, true);
  const h = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
  for (let at = 0; at < view.byteLength; at += 64) {
    let [a, b, c, d] = h;
    for (let i = 0; i < 64; i++) {
      const part = i >> 4;
      const f = [(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d)][part];
      const word = [i, (5 * i + 1) % 16, (3 * i + 5) % 16, (7 * i) % 16][part];
      const x = (a + f + sines[i] + view.getUint32(at + word * 4, true)) | 0;
      [a, d, c, b] = [d, c, b, (b + left(x, turns[part][i % 4])) | 0];
    }
    [a, b, c, d].forEach((x, i) => { h[i] = (h[i] + x) | 0; });
  }
  return bytesOf(h, true);
}

function sha1(bytes) {
  const view = padded(bytes, 64, false);
  const h = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  const w = new Int32Array(80);
  for (let at = 0; at < view.byteLength; at += 64) {
    for (let i = 0; i < 80; i++) w[i] = i < 16 ? view.getInt32(at + i * 4) : left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    let [a, b, c, d, e] = h;
    for (let i = 0; i < 80; i++) {
      const f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
      const k = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6][Math.floor(i / 20)];
      [e, d, c, b, a] = [d, c, left(b, 30), a, (left(a, 5) + f + e + k + w[i]) | 0];
    }
    [a, b, c, d, e].forEach((x, i) => { h[i] = (h[i] + x) | 0; });
  }
  return bytesOf(h, false);
}

function sha256(bytes, start) {
  const view = padded(bytes, 64, false);
  const h = [...start];
  const w = new Int32Array(64);
  for (let at = 0; at < view.byteLength; at += 64) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) { w[i] = view.getInt32(at + i * 4); continue; }
      const s0 = right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
    }
    let [a, b, c, d, e, f, g, k] = h;
    for (let i = 0; i < 64; i++) {
      const t1 = (k + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & f) ^ (~e & g)) + rounds256[i] + w[i]) | 0;
      const t2 = ((right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [k, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, k].forEach((x, i) => { h[i] = (h[i] + x) | 0; });
  }
  return bytesOf(h, false);
}

function sha512(bytes, start) {
  const turn = (x, n) => (x >> n) | ((x << (64n - n)) & mask64);
  const view = padded(bytes, 128, false);
  const h = [...start];
  const w = new Array(80);
  for (let at = 0; at < view.byteLength; at += 128) {
    for (let i = 0; i < 80; i++) {
      if (i < 16) { w[i] = view.getBigUint64(at + i * 8); continue; }
      const s0 = turn(w[i - 15], 1n) ^ turn(w[i - 15], 8n) ^ (w[i - 15] >> 7n);
      const s1 = turn(w[i - 2], 19n) ^ turn(w[i - 2], 61n) ^ (w[i - 2] >> 6n);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) & mask64;
    }
    let [a, b, c, d, e, f, g, k] = h;
    for (let i = 0; i < 80; i++) {
      const t1 = k + (turn(e, 14n) ^ turn(e, 18n) ^ turn(e, 41n)) + ((e & f) ^ ((e ^ mask64) & g)) + cubes[i] + w[i];
      const t2 = (turn(a, 28n) ^ turn(a, 34n) ^ turn(a, 39n)) + ((a & b) ^ (a & c) ^ (b & c));
      [k, g, f, e, d, c, b, a] = [g, f, e, (d + t1) & mask64, c, b, a, (t1 + t2) & mask64];
    }
    [a, b, c, d, e, f, g, k].forEach((x, i) => { h[i] = (h[i] + x) & mask64; });
  }
  return bytesOf(h.flatMap((x) => [Number(x >> 32n), Number(x & 0xffffffffn)]), false);
}

/** The hashes by the names that they have in a signature. */
export const hashes = {
  MD5: { hash: md5, block: 64 },
  SHA1: { hash: sha1, block: 64 },
  SHA224: { hash: (b) => sha256(b, squares.slice(8).map((x) => Number(x & 0xffffffffn))).slice(0, 28), block: 64 },
  SHA256: { hash: (b) => sha256(b, squares.slice(0, 8).map(high)), block: 64 },
  SHA384: { hash: (b) => sha512(b, squares.slice(8)).slice(0, 48), block: 128 },
  SHA512: { hash: (b) => sha512(b, squares.slice(0, 8)), block: 128 },
};

/** HMAC (RFC 2104) of a message, both as bytes. */
export function hmac(name, key, message) {
  const { hash, block } = hashes[name];
  const pad = new Uint8Array(block);
  pad.set(key.length > block ? hash(key) : key);
  const inner = new Uint8Array(block + message.length);
  inner.set(pad.map((x) => x ^ 0x36));
  inner.set(message, block);
  const sum = hash(inner);
  const outer = new Uint8Array(block + sum.length);
  outer.set(pad.map((x) => x ^ 0x5c));
  outer.set(sum, block);
  return hash(outer);
}

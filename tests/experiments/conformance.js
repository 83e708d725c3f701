// Checks docs/schemas/assignment_vectors.json with nothing but Node: node conformance.js VECTORS
// Written from the file's own description, not from our Python: what another language has to do.
"use strict";

const fs = require("node:fs");
const vectors = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));

function murmur3(text) {
  const key = Buffer.from(text, "utf-8");
  const scramble = (k) => {
    k = Math.imul(k, 0xcc9e2d51);
    return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  };
  let h = 0;
  const whole = key.length - (key.length % 4);
  for (let i = 0; i < whole; i += 4) {
    h ^= scramble(key.readInt32LE(i));
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  let rest = 0;
  for (let i = key.length - 1; i >= whole; i--) rest = (rest << 8) | key[i];
  if (whole < key.length) h ^= scramble(rest);
  h ^= key.length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function assign(experiment, unit) {
  const slot = murmur3(`${experiment.layer_salt}:${unit}`);
  const arm = murmur3(`${experiment.salt}:${unit}`);
  let before = 0;
  let place = null;
  for (const [first, last] of experiment.slots) {
    if (first <= slot && slot < last) place = before + slot - first;
    before += last - first;
  }
  const inside = place !== null && place < experiment.traffic_bound;
  const variant = inside
    ? experiment.variants.find(([, , bound]) => arm < bound)[0]
    : experiment.variants[0][0];
  return [unit, slot, arm, inside ? "assigned" : "not_in_traffic", variant];
}

function fnv1a(text) {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return h;
}

function growthbook(experiment, unit) {
  const place = fnv1a(String(fnv1a(experiment.seed + unit))) % 10000;
  let start = 0;
  let found = null;
  experiment.weights.forEach((weight, arm) => {
    const n = place / 10000;
    if (found === null && start <= n && n < start + experiment.coverage * weight) found = arm;
    start += weight;
  });
  return [unit, place, found];
}

const wrong = [];
let rows = 0;
function hold(expected, found, where) {
  rows += 1;
  if (JSON.stringify(expected) !== JSON.stringify(found)) wrong.push({ where, expected, found });
}

for (const row of vectors.hash) hold(row.murmur3, murmur3(row.text), "hash");
for (const one of vectors.experiments) for (const row of one.rows) hold(row, assign(one, row[0]), one.name);
for (const one of vectors.growthbook) for (const row of one.rows) hold(row, growthbook(one, row[0]), one.name);

console.log(JSON.stringify({ rows, wrong: wrong.slice(0, 5), wrongs: wrong.length }));
process.exit(wrong.length ? 1 : 0);

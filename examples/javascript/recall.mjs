// UniECS candidates in a funnel of your own, from JavaScript (Node 18 or newer, no packages).
//
//   node recall.mjs http://127.0.0.1:8080 "striped red mug" shopper-1 mug-1,mug-2
//
// The last word is your own result, ready after 100 ms, as results are; "-" reads it from standard input.
//
// The rule: the search for candidates begins with the shopper's question, runs beside your own
// search, and is never waited for. Whatever happens to it, your own result is served.

import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// What a hung service may cost a shopper: the call that merges takes a few ms, the search ran beside the base.
const JOIN_WITHIN_MS = Number(process.env.RECALL_JOIN_MS ?? 50);
// Nobody waits for these; so that a hung service does not gather them.
const BESIDE_WITHIN_MS = 10_000;

async function post(url, body, withinMs) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(withinMs),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status}: ${said.detail}`);
  return said;
}

/**
 * Your result, with what UniECS adds for this shopper.
 *
 * @param service   where `python -m recall_plugin serve` listens
 * @param question  {text, image_id, image_url, similar_to, filters, limit}
 * @param shopper   {unitId, sessionId}: who is randomised, and the visit
 * @param ownSearch computes your own result: product ids, best first
 * @returns {items: [{product_id, ranks}], queryId, variant}; `queryId` goes into outcomes
 */
export async function recall(service, question, shopper, ownSearch) {
  const who = { unit_id: shopper.unitId, session_id: shopper.sessionId, query_id: randomUUID() };
  post(`${service}/recall/ahead`, { ...question, ...who }, BESIDE_WITHIN_MS).catch(() => undefined);
  const base = await ownSearch();
  try {
    // The question once more: where the first call failed or is still on its way, there is nothing to join.
    const said = await post(`${service}/recall`, { ...question, ...who, base, wait_ms: 0 }, JOIN_WITHIN_MS);
    return { items: said.items, queryId: said.query_id, variant: said.variant };
  } catch {
    return { items: base.map((id, index) => ({ product_id: id, ranks: { base: index + 1 } })), queryId: who.query_id, variant: null };
  }
}

/** What the shopper did: `kind` is click, add_to_cart or order. Never fails the page. */
export async function happened(service, { kind, unitId, productId, queryId, position, revenue, currency }) {
  const event = { kind, unit_id: unitId, product_id: productId, query_id: queryId, position, revenue, currency };
  await post(`${service}/outcomes`, event, BESIDE_WITHIN_MS).catch(() => undefined);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [service, text, unitId, own] = process.argv.slice(2);
  const ownSearch = async () => {
    if (own !== "-") return new Promise((ready) => setTimeout(ready, 100, own.split(",")));
    for await (const line of createInterface(process.stdin)) return line.split(",");
  };
  const found = await recall(service, { text, limit: 20 }, { unitId, sessionId: "visit-1" }, ownSearch);
  for (const item of found.items) console.log(item.product_id, Object.entries(item.ranks).map(([name, rank]) => `${name}:${rank}`).sort().join(" "));
}

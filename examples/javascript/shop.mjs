// A whole shop in a hundred lines: its own search, UniECS beside it, clicks and orders logged.
//
//   node shop.mjs products.json http://127.0.0.1:8080 3000     then open http://127.0.0.1:3000
//
// products.json is a list of {product_id, title, price}. The shopper is a cookie.

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { happened, recall } from "./recall.mjs";

const [file, service, port] = process.argv.slice(2);
const products = new Map(JSON.parse(await readFile(file, "utf8")).map((one) => [one.product_id, one]));

// The search the shop already had: titles that share the most words with the query.
async function ownSearch(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return [...products.values()]
    .map((one) => [words.filter((word) => one.title.toLowerCase().split(/\s+/).includes(word)).length, one.product_id])
    .filter(([hits]) => hits).sort((a, b) => b[0] - a[0]).map(([, id]) => id).slice(0, 100);
}

const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

function page(text, found) {
  const rows = found.items.slice(0, 20).map((item, index) => {
    const product = products.get(item.product_id) ?? { title: item.product_id, price: "" };
    const to = `/product?${new URLSearchParams({ id: item.product_id, query: found.queryId, at: index + 1 })}`;
    const by = Object.keys(item.ranks).join(", ");
    return `<li><a href="${escaped(to)}">${escaped(product.title)}</a> ${escaped(product.price)} <small>${escaped(by)}</small></li>`;
  });
  return `<!doctype html><meta charset="utf-8"><title>A small shop</title>
<form><input name="q" value="${escaped(text)}" aria-label="Search" autofocus> <button>Search</button></form><ol>${rows.join("\n")}</ol>`;
}

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://shop");
  const known = /shopper=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
  const shopper = known ?? randomUUID();
  const headers = { "content-type": "text/html; charset=utf-8", ...(known ? {} : { "set-cookie": `shopper=${shopper}; HttpOnly; SameSite=Lax` }) };
  if (pathname === "/product") {
    const id = searchParams.get("id") ?? "";
    happened(service, { kind: "click", unitId: shopper, productId: id, queryId: searchParams.get("query") ?? undefined, position: Number(searchParams.get("at")) || undefined });
    response.writeHead(products.has(id) ? 200 : 404, headers).end(`<!doctype html><meta charset="utf-8"><h1>${escaped(products.get(id)?.title ?? "Gone")}</h1>`);
    return;
  }
  const text = (searchParams.get("q") ?? "").slice(0, 2000);
  const found = text.trim()
    ? await recall(service, { text, limit: 20 }, { unitId: shopper, sessionId: shopper }, () => ownSearch(text))
    : { items: [], queryId: "" };
  response.writeHead(200, headers).end(page(text, found));
}).listen(Number(port), "127.0.0.1", () => console.log(`listens http://127.0.0.1:${port}`));

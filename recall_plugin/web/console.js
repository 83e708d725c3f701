import { count, element, facts, ms, nothing, product, within } from "/console_cards.js";

const at = (id) => document.getElementById(id);
const asked = { imageId: null, similarTo: null, similarTitle: "" };
let running = null;
let awaited = null;  // what is shown, and the channels that were off when it was asked

// --- talking to the service

async function call(path, options = {}) {
  let answer;
  try { answer = await fetch(path, options); }
  catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the service does not answer; is it running?");
  }
  const isJson = (answer.headers.get("content-type") || "").includes("json");
  const said = isJson ? await answer.json() : null;
  if (!answer.ok) throw Object.assign(new Error(said?.detail || `the service answered ${answer.status}`), { status: answer.status });
  return said;
}

const asJson = (method, body, headers = {}) => ({ method, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });

function trouble(text) {
  at("trouble").textContent = text || "";
  at("trouble").hidden = !text;
}

// --- the question

function question() {
  const filters = {};
  for (const name of ["category", "brand"]) if (at(name).value) filters[name] = at(name).value;
  for (const [name, id] of [["price_min", "price-min"], ["price_max", "price-max"]]) if (at(id).value !== "") filters[name] = Number(at(id).value);
  if (at("in-stock").checked) filters.in_stock = true;
  const found = { limit: Number(at("limit").value) };
  if (Object.keys(filters).length) found.filters = filters;
  if (asked.similarTo) return { ...found, similar_to: asked.similarTo };
  if (at("text").value.trim()) found.text = at("text").value;
  if (asked.imageId) found.image_id = asked.imageId;
  return found;
}

async function search(wanted = question()) {
  if (!wanted.text && !wanted.image_id && !wanted.similar_to) { at("text").focus(); return; }
  running?.abort();
  running = new AbortController();
  const mine = running;
  awaited = null;
  trouble("");
  at("results").classList.add("waiting");
  at("results").setAttribute("aria-busy", "true");
  remember(wanted);
  try {
    show(await call("/console/compare", { ...asJson("POST", wanted), signal: mine.signal }), wanted);
  } catch (error) {
    if (error.name !== "AbortError") trouble(error.message);
  } finally {
    if (mine === running) {
      at("results").classList.remove("waiting");
      at("results").setAttribute("aria-busy", "false");
    }
  }
}

function remember(wanted) {
  const words = new URLSearchParams();
  if (wanted.text) words.set("q", wanted.text);
  if (wanted.similar_to) words.set("similar", wanted.similar_to);
  for (const [name, value] of Object.entries(wanted.filters || {})) words.set(name, value);
  history.replaceState(null, "", words.size ? `?${words}` : "/");
}

// --- the answer

function show(said, wanted) {
  const before = new Map(said.base.items.map((id, index) => [id, index + 1]));
  const card = (id) => said.cards[id] || {};
  const onSimilar = (id, title) => { forget(); asked.similarTo = id; asked.similarTitle = title; at("text").value = ""; showWhat(); search(); scrollTo({ top: 0, behavior: "smooth" }); };
  at("base").replaceChildren(...said.base.items.map((id, index) => product({ id, card: card(id), place: index + 1, ranks: {}, onSimilar })));
  at("with").replaceChildren(...said.with.items.map((item, index) => product({
    id: item.product_id, card: card(item.product_id), place: index + 1, ranks: item.ranks, wasAt: before.get(item.product_id), isFound: !before.has(item.product_id), onSimilar,
  })));
  const narrowed = wanted.filters ? " within these filters" : "";
  if (!said.base.items.length) at("base").append(nothing(wanted.text ? `No product has these words${narrowed}.` : "Words alone cannot see a picture."));
  if (!said.with.items.length) at("with").append(nothing(`Nothing was found${narrowed}.`));
  at("base-took").textContent = ms(said.base.took_ms);
  at("with-took").textContent = `${ms(said.with.took_ms)}, awaited`;
  const off = Object.keys(said.channels).filter((name) => said.channels[name].status === "off");
  awaited = off.length ? { wanted, off } : null;
  const found = said.with.items.filter((item) => !before.has(item.product_id)).length;
  const missing = Object.entries(said.channels).filter(([, one]) => one.status !== "ok").map(([name, one]) => `${name}: ${one.status}${one.reason ? `, ${one.reason}` : ""}`);
  const gained = found ? `${found} of ${said.with.items.length} are not on the page without it, in green.` : "The same products as without it.";
  const summary = missing.length ? missing.join("; ") : said.with.items.length ? gained : "";
  at("with-about").classList.toggle("wary", missing.length > 0);
  at("with-about").textContent = asked.similarTo ? `Similar to “${asked.similarTitle || asked.similarTo}”. ${summary}` : summary;
  at("base-about").textContent = said.base.items.length ? `${said.base.items.length} products that share a word with the query.` : "";
  at("waits").hidden = false;
  at("tries").hidden = true;
}

// --- a picture

function showWhat() {
  const picture = Boolean(asked.imageId);
  at("forget").hidden = !picture && !asked.similarTo;
  at("forget-what").textContent = asked.similarTo ? `“${asked.similarTitle || asked.similarTo}”` : "the picture";
  at("text").placeholder = picture ? "Add words, for example: the same in blue" : "What is looked for: words, a picture, or both";
  at("preview").hidden = !picture;
  at("drop-hint").hidden = picture;
}

function forget() {
  if (at("preview").src) URL.revokeObjectURL(at("preview").src);
  at("preview").removeAttribute("src");
  at("file").value = "";
  asked.imageId = asked.similarTo = null;
  showWhat();
}

async function take(file) {
  if (!file) return;
  trouble("");
  try {
    const said = await call("/uploads", { method: "POST", headers: { "content-type": file.type || "application/octet-stream" }, body: file });
    forget();
    asked.imageId = said.image_id;
    at("preview").src = URL.createObjectURL(file);
    showWhat();
    await search();
  } catch (error) { trouble(error.message); }
}

// --- experiment, channels

let experiment = null;
let switches = null;

look.again_ms = 5000;

async function look() {
  try {
    const [experiments, now, channels] = await Promise.all([call("/experiments"), call("/switches"), call("/channels")]);
    experiment = experiments.find((one) => one.serves) || experiments[0];
    switches = now;
    showExperiment();
    showChannels(channels);
    strip(channels);
    const isReady = (name) => channels[name]?.state === "loaded";
    look.again_ms = Object.keys(channels).every(isReady) ? 5000 : 1000;
    // Asked before its index was open; asked once more, whatever comes.
    if (awaited && !experiment.off && awaited.off.every(isReady)) search(awaited.wanted).then(() => { awaited = null; });
  } catch (error) { at("strip").replaceChildren(element("span", { class: "ill" }, error.message)); }
}

function showExperiment() {
  const off = experiment.off;
  at("experiment").replaceChildren(
    element("p", { class: "name" }, experiment.name, element("span", { class: `pill ${off ? "ill" : "well"}` }, off ? "off" : "on")),
    element("p", { class: "hypothesis" }, experiment.hypothesis),
    element("ul", { class: "arms" }, ...experiment.variants.map((one) => {
      const arm = element("li", {}, element("b", {}, `${one.name} ${Math.round(one.share * 100)}%`), one.channels.length ? `${one.channels.join(", ")} by ${one.merge}` : "the base alone");
      arm.style.setProperty("--share", one.share);
      return arm;
    })));
  if (document.activeElement !== at("traffic")) { at("traffic").value = Math.max(1, Math.round(experiment.traffic * 100)); at("share").textContent = `${at("traffic").value}%`; }
  at("kill").textContent = off ? "Switch on" : "Switch off";
  at("kill").classList.toggle("back", off);
}

function showChannels(channels) {
  at("channels").replaceChildren(...Object.entries(channels).flatMap(([name, one]) => [
    element("p", { class: "name" }, name, element("span", { class: `pill ${one.state === "loaded" ? "well" : "ill"}` }, one.state === "loaded" ? "loaded" : "not loaded")),
    facts([
      ["why", one.state === "loaded" ? "" : one.state],
      ["index", one.index_version],
      ["products", one.products < 0 ? "" : count(one.products)],
      ["newest", one.products < 0 ? "" : `written ${within(one.written_within_s)}`],
      ["last hour", one.written_last_hour < 0 ? "" : `${count(one.written_last_hour)} written`],
      ["model", one.model_id],
      ["busy", `${one.in_flight} of at most ${one.limit} questions at a time`],
    ]),
  ]));
  if (!Object.keys(channels).length) at("channels").replaceChildren(element("p", { class: "note" }, "No variant asks a channel."));
}

function strip(channels) {
  const made = [element("span", { class: experiment.off ? "ill" : "well" }, `${experiment.name}: ${experiment.off ? "off" : `${Math.round(experiment.traffic * 100)}% take part`}`)];
  for (const [name, one] of Object.entries(channels)) {
    const said = one.state === "loaded" ? `${name}: ${one.products < 0 ? one.index_version : `${count(one.products)} products, newest ${within(one.written_within_s)}`}` : `${name}: not loaded`;
    made.push(element("span", { class: one.state === "loaded" ? "well" : "ill" }, said));
  }
  at("strip").replaceChildren(...made);
}

async function steer(path, body, done) {
  const note = at("steered");
  note.className = "note";
  note.textContent = "…";
  sessionStorage.setItem("token", at("token").value);
  try {
    await call(path, asJson("PUT", body, { authorization: `Bearer ${at("token").value}` }));
    note.classList.add("good");
    note.textContent = done;
    await look();
  } catch (error) {
    note.classList.add("bad");
    note.textContent = error.message;
    if (error.status === 401) at("token").focus();
  }
}

// --- what people do

at("ask").addEventListener("submit", (event) => { event.preventDefault(); if (at("text").value.trim()) { asked.similarTo = null; showWhat(); } search(); });
for (const id of ["category", "brand", "price-min", "price-max", "in-stock", "limit"]) at(id).addEventListener("change", () => search());
at("file").addEventListener("change", () => take(at("file").files[0]));
at("forget").addEventListener("click", () => { forget(); at("text").focus(); });
at("traffic").addEventListener("input", () => { at("share").textContent = `${at("traffic").value}%`; });
at("steer").addEventListener("submit", (event) => {
  event.preventDefault();
  const share = Number(at("traffic").value);
  if (share === 0) { at("steered").className = "note bad"; at("steered").textContent = "a share of 0 is the kill switch's: switch off"; return; }
  steer(`/experiments/${encodeURIComponent(experiment.name)}/traffic`, { traffic: share / 100 }, `${share}% take part`);
});
at("kill").addEventListener("click", () => {
  const others = switches.experiments.filter((name) => name !== experiment.name);
  const off = !experiment.off;
  steer("/switches", { all: off && switches.all, experiments: off ? [...others, experiment.name] : others, channels: switches.channels }, off ? "switched off: everybody gets the base within a second" : "switched on");
});
addEventListener("paste", (event) => { const file = [...(event.clipboardData?.files || [])][0]; if (file) { event.preventDefault(); take(file); } });
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("over"); take(event.dataTransfer.files[0]); });
addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
  const empty = document.activeElement === at("text") && !at("text").value;  // no query begins with it
  if (event.key === "/" && (!typing || empty)) { event.preventDefault(); at("text").focus(); at("text").select(); }
  if (event.key === "Escape" && (asked.imageId || asked.similarTo)) { forget(); at("text").focus(); }
});

async function start() {
  at("token").value = sessionStorage.getItem("token") || "";
  showWhat();
  const keepLooking = async () => { if (!document.hidden) await look(); setTimeout(keepLooking, look.again_ms); };
  keepLooking();
  const words = new URLSearchParams(location.search);
  try {
    const said = await call("/console/choices");
    for (const name of ["category", "brand"]) {
      at(name).append(...said[name].map((value) => element("option", { value }, value)));
      at(name).value = words.get(name) || "";
    }
    const tries = said.tries.map((name) => element("button", { type: "button", onclick: () => { at("text").value = name; search(); } }, name));
    at("tries").replaceChildren(tries.length ? "Try" : said.window, ...tries);
    at("tries").hidden = false;
  } catch (error) { trouble(error.message); }
  for (const [id, name] of [["price-min", "price_min"], ["price-max", "price_max"]]) at(id).value = words.get(name) || "";
  at("in-stock").checked = words.get("in_stock") === "true";
  at("text").value = words.get("q") || "";
  asked.similarTo = words.get("similar");
  showWhat();
  if (at("text").value || asked.similarTo) search();
  else {
    at("base").replaceChildren(nothing("Ask something, or drop a picture anywhere."));
    at("with").replaceChildren(nothing("What UniECS adds appears here."));
    at("text").focus();
  }
}

start();

// Products and figures as elements. Text only ever becomes text: a title is never markup.

export function element(tag, fields = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export function price(card) {
  if (card.price === null || card.price === undefined) return "";
  const style = /^[A-Z]{3}$/.test(card.currency || "") ? { style: "currency", currency: card.currency } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return new Intl.NumberFormat(undefined, style).format(card.price);
}

export function ms(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

export function count(value) {
  return new Intl.NumberFormat().format(value);
}

export function within(seconds) {
  if (seconds < 0) return "longer ago than a week";
  const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([each]) => seconds >= each) || [1, "second"];
  const number = Math.round(seconds / size);
  return `within ${number === 1 ? (unit === "hour" ? "an" : "a") : number} ${unit}${number === 1 ? "" : "s"}`;
}

function picture(id, card) {
  const box = element("div", { class: "picture" });
  const letter = () => box.replaceChildren((card.title || id).trim().charAt(0).toUpperCase());
  if (!card.has_picture) { letter(); return box; }
  const image = element("img", { src: `/console/pictures/${encodeURIComponent(id)}`, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", letter);
  box.append(image);
  return box;
}

function badges(ranks, place, wasAt) {
  const made = [];
  for (const [channel, rank] of Object.entries(ranks)) {
    const fields = { class: channel === "base" ? "badge" : "badge channel", title: `${channel} ranked it ${rank}` };
    made.push(element("span", fields, `${channel} ${rank}`));
  }
  if (wasAt && wasAt !== place) {
    made.push(element("span", { class: "badge moved", title: `was at ${wasAt}` }, `${wasAt > place ? "▲" : "▼"} ${Math.abs(wasAt - place)}`));
  }
  return made;
}

export function product({ id, card, place, ranks, wasAt, isFound, onSimilar }) {
  const title = card.title || id;
  const facts = [card.brand || card.category, card.in_stock === false ? "out of stock" : ""].filter(Boolean).join(", ");
  const said = `${place}. ${title}${isFound ? ", not on the page without UniECS" : ""}. Find similar products`;
  const act = () => onSimilar(id, title);
  return element("li", {
    class: isFound ? "card found" : "card", tabIndex: 0, role: "button", "aria-label": said, "data-product": id, title: `${title} (${id}): find similar products`,
    onclick: act, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } },
  },
  picture(id, card),
  element("span", { class: "place" }, String(place)),
  element("div", { class: "body" },
    element("div", { class: "title" }, title),
    element("div", { class: "facts" }, element("span", { class: card.in_stock === false ? "gone" : "" }, facts), element("b", {}, price(card))),
    element("div", { class: "badges" }, ...badges(ranks, place, wasAt))));
}

export function nothing(text) {
  return element("li", { class: "empty" }, text);
}

export function facts(pairs) {
  return element("dl", {}, ...pairs.filter(([, value]) => value !== "").flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

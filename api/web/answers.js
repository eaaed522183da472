// Owns asking and searching: what comes back as cards, each with its place in its source.

import { call, events } from "./calls.js";
import { about } from "./documents.js";
import { $, count, el, plural, times } from "./elements.js";
import { isPdf, isWide, paper, view } from "./viewer.js";

let running = null; // the question before goes when another is asked

export function clearAnswer() {
  running?.abort();
  running = null;
  $("answer").replaceChildren();
}

export async function ask(question, collection) {
  await run("Reading the caches …", async (stop, show) => {
    const written = el("p", { className: "written", dir: "auto" });
    for await (const { name, data } of events("/v1/ask", { method: "POST", body: { question, collection, stream: true }, signal: stop.signal })) {
      if (name === "error") throw new Error(data.detail);
      if (name === "answer") {
        written.append(data.text);
        show(written);
      }
      if (name === "done") return answered(data, stop.signal, show);
    }
    throw new Error("The answer broke off: the service went away. Ask again.");
  });
}

async function answered(reply, stopped, show) {
  const { chunks, text_tokens: text, vision_tokens: vision, pages } = reply.context;
  const read = vision ? `${count(vision)} vision tokens instead of ${count(text)} text tokens (${times(text / vision)} fewer)` : `${plural(pages, "page")}, ${count(text)} text tokens`;
  const loaded = el("p", { className: "soft", textContent: `${plural(chunks, "chunk")} loaded: ${read}, in ${reply.timings.total.toFixed(2)} s` });
  if (reply.abstained) {
    show(el("p", { textContent: "Nothing in these documents answers this. Search shows what comes nearest." }), loaded);
    return;
  }
  const words = reply.mode === "quotes" ? [] : [el("p", { className: "written", dir: "auto", textContent: reply.answer })];
  const cards = await cardsOf(reply.citations.map(citation => ({ ...citation, text: citation.quote })), stopped);
  const cut = reply.cut_off ? [el("p", { className: "soft", textContent: "The model was cut off: the service allows no longer answer." })] : [];
  show(...words, ...cut, ...cards, loaded);
  if (!stopped.aborted && isWide() && cards.length) cards[0].querySelector("button").click();
}

export async function search(query, collection) {
  await run("Searching …", async (stop, show) => {
    const reply = await call("/v1/search", { method: "POST", body: { query, collection }, signal: stop.signal });
    const { hits } = await reply.json();
    const cards = await cardsOf(hits.map(hit => ({ ...hit, quote: hit.text })), stop.signal);
    show(...(cards.length ? cards : [el("p", { textContent: "Nothing fits: no document has such words." })]));
  });
}

// Shows what `work` shows, and why it failed; of a question that another one replaced, nothing more.
async function run(waiting, work) {
  running?.abort();
  const mine = (running = new AbortController());
  const show = (...parts) => { if (mine === running) $("answer").replaceChildren(...parts); };
  show(el("p", { className: "soft waiting", textContent: waiting }));
  try {
    await work(mine, show);
  } catch (error) {
    show(el("p", { className: "failed", textContent: error.message }));
  }
}

async function cardsOf(found, stopped) {
  const documents = await Promise.all(found.map(one => about(one.document_id).catch(() => null)));
  const cards = found.flatMap((one, n) => (documents[n] ? [card(one, documents[n])] : [])); // deleted meanwhile
  drawSmall(cards, stopped);
  return cards.map(({ made }) => made);
}

// One page after the other: each costs the service a process.
async function drawSmall(cards, stopped) {
  for (const { small, found, source } of cards.filter(one => isPdf(one.source))) {
    if (stopped.aborted) return;
    await paper(source, found.page, found.boxes).then(page => small.append(page), () => small.remove());
  }
}

function card(found, source) {
  const open = el("button", { type: "button", className: "link", title: "Show where it stands", onclick: () => {
    $("answer").querySelectorAll("article").forEach(other => other.classList.toggle("chosen", other === made));
    view(source, found, open);
  } }, el("bdi", {}, found.title), where(found, source));
  const words = el("div", { className: "words" }, ...(found.text ? [el("blockquote", { dir: "auto", textContent: found.text.trim() })] : []));
  words.append(el("div", { className: "soft" }, open, ...(found.heading ? [" · ", el("bdi", {}, found.heading)] : [])));
  const made = el("article", { onclick: event => { if (event.target !== open && !getSelection().toString()) open.click(); } }, words);
  const small = el("div", { className: "small" });
  if (isPdf(source)) made.append(small);
  return { made, small, found, source };
}

// Formats without pages have lines, or nothing that a reader could look up.
function where({ page, lines }, source) {
  const named = source.source_pages > 1 || isPdf(source) ? `, page ${count(page)}` : "";
  if (!lines) return named;
  const [first, last] = lines;
  return `${named}, ${first === last ? `line ${count(first)}` : `lines ${count(first)}–${count(last)}`}`;
}

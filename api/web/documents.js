// Owns the list of a collection's documents: what is uploaded, how far it is, its figures, and taking it away.

import { Refused, call, events, get, upload } from "./calls.js";
import { $, bytes, count, el, plural, times } from "./elements.js";
import { closeViewer, isViewed, view } from "./viewer.js";

const AT_ONCE = 2; // uploads, and documents that are followed: browsers keep six connections to a server
const BATCH = 100; // documents in the list at first, and more each time
const AGAIN = 3000; // ms, before a stream that broke is asked for again

const documents = new Map(); // id -> document, of this collection
const rows = new Map(); // id -> its row
const followed = new Map(); // id -> what stops following it
const gone = new Set(); // ids that were deleted or replaced: an answer from before does not bring them back
const uploads = new Set(); // files on their way, and refused ones until they are dismissed: {file, collection, row, bar}
const waiting = []; // those of them that have not left yet
let sending = 0;
let collection = "";
let wanted = BATCH;
let asked = 0; // counts the lists that were asked for: the last one holds
let complete = false; // this collection's list has come
let changed = () => {}; // called when the collection's figures may be others

const ended = found => found.state === "ready" || found.state === "failed";
const body = () => $("documents").tBodies[0];

export const hasRows = () => body().rows.length > 0;
export const isEmpty = () => complete && !hasRows();
export const listedIds = () => new Set(documents.keys());

export function onChange(listener) {
  changed = listener;
}

// A document by id, also one that the list has not come to.
export async function about(id) {
  return documents.get(id) || get(`/v1/documents/${id}`);
}

// `known`: the documents in the list when it was asked what there is: one that came in since is not in the answer.
export async function openCollection(name, exists, known = listedIds()) {
  const mine = ++asked;
  if (name !== collection) {
    for (const stop of followed.values()) stop.abort();
    documents.clear();
    rows.clear();
    body().replaceChildren(...[...uploads].filter(one => one.collection === name).map(one => one.row));
    $("more").hidden = true;
    collection = name;
    wanted = BATCH;
    complete = false;
  }
  let found = { items: [], next: null };
  try {
    if (exists) found = await listed(name);
  } catch (error) {
    if (mine === asked) throw error;
  }
  if (mine !== asked) return;
  complete = true;
  const here = new Set(found.items.map(one => one.id));
  if (!found.next) [...documents.keys()].filter(id => known.has(id) && !here.has(id)).forEach(forget);
  found.items.forEach(put);
  $("more").hidden = !found.next;
  follow();
}

async function listed(name) {
  const items = [];
  let next = null;
  do {
    const from = next ? `&cursor=${encodeURIComponent(next)}` : "";
    const page = await get(`/v1/documents?order=newest&limit=${BATCH}&collection=${encodeURIComponent(name)}${from}`);
    items.push(...page.items);
    next = page.next;
  } while (next && items.length < wanted);
  return { items, next };
}

export async function showMore() {
  wanted += BATCH;
  await openCollection(collection, true);
}

function put(found) {
  if (found.collection !== collection || gone.has(found.id)) return;
  const before = documents.get(found.id);
  documents.set(found.id, found);
  if (!before) {
    rows.set(found.id, el("tr", {}, el("td", {}, deleting(found))));
    body().insertBefore(rows.get(found.id), rowBehind(found));
  }
  if (JSON.stringify(before) !== JSON.stringify(found)) write(found);
  if (found.state !== "ready" || found.external_id == null) return;
  for (const other of documents.values()) { // the version that it replaces
    if (other.external_id === found.external_id && other.version < found.version) lose(other.id);
  }
}

const arrival = found => Date.parse(found.created_at);

// The row that a document's own belongs before: of the newest among the older ones, null for none.
function rowBehind(found) {
  let behind = null;
  for (const other of documents.values()) {
    if (arrival(other) < arrival(found) && (!behind || arrival(other) > arrival(behind))) behind = other;
  }
  return behind && rows.get(behind.id);
}

// Its last cell stays: a button that is replaced while it is pressed hears of no click.
function write(found) {
  const row = rows.get(found.id), focused = row.contains(document.activeElement);
  while (row.cells.length > 1) row.cells[0].remove();
  row.prepend(...cellsOf(found));
  if (focused && !row.contains(document.activeElement)) row.querySelector("button").focus();
}

// For good.
function lose(id) {
  gone.add(id);
  forget(id);
}

function forget(id) {
  if (isViewed(id)) closeViewer();
  followed.get(id)?.abort();
  rows.get(id)?.remove();
  rows.delete(id);
  documents.delete(id);
}

// The documents that are on their way, some at a time, the oldest first, as they are worked on.
function follow() {
  for (const found of [...documents.values()].sort((one, other) => arrival(one) - arrival(other))) {
    if (followed.size >= AT_ONCE) return;
    if (!ended(found) && !followed.has(found.id)) track(found.id);
  }
}

async function track(id) {
  const stop = new AbortController();
  followed.set(id, stop);
  try {
    for await (const { name, data } of events(`/v1/documents/${id}/events`, { signal: stop.signal })) {
      if (stop.signal.aborted) break;
      if (name === "document") put(data);
      else lose(id);
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 404) forget(id);
  }
  const found = documents.get(id);
  if (found && !ended(found) && !stop.signal.aborted) await new Promise(done => setTimeout(done, AGAIN));
  followed.delete(id);
  changed();
  follow();
}

export function add(files, into) {
  const added = files.map(file => {
    const bar = el("progress", { max: 1, value: 0, ariaLabel: `Uploading ${file.name}` });
    const row = el("tr", {}, el("td", {}, el("bdi", {}, file.name)), el("td", { colSpan: 3, className: "state" }, "uploading ", bar), el("td"));
    return { file, collection: into, row, bar };
  });
  if (into === collection) body().prepend(...added.map(({ row }) => row));
  added.forEach(one => uploads.add(one));
  waiting.push(...added);
  changed();
  send();
}

async function send() {
  while (sending < AT_ONCE && waiting.length) {
    const next = waiting.shift();
    sending += 1;
    sendOne(next).finally(() => { sending -= 1; send(); });
  }
}

async function sendOne(one) {
  const { file, collection: into, row, bar } = one;
  try {
    const { document: found, known } = await upload(file, into, share => { bar.value = share; });
    uploads.delete(one);
    if (into === collection) {
      put(found);
      row.replaceWith(...[rows.get(found.id)].filter(Boolean)); // it may have been deleted already
      if (known) $("note").textContent = `${file.name} is here already, with the same bytes.`;
    }
    follow();
  } catch (error) {
    const dismiss = el("button", { type: "button", className: "quiet", ariaLabel: `Dismiss ${file.name}`, textContent: "✕", onclick: () => { uploads.delete(one); row.remove(); changed(); } });
    row.replaceChildren(row.cells[0], el("td", { colSpan: 3, className: "state failed", textContent: `not uploaded: ${error.message}` }), el("td", {}, dismiss));
  }
  changed();
}

function cellsOf(found) {
  const ready = found.state === "ready", name = el("bdi", {}, found.title);
  const title = el("td", {}, ready ? el("button", { type: "button", className: "link", onclick: event => view(found, {}, event.currentTarget) }, name) : name);
  const facts = ready ? [found.source_pages > 1 && plural(found.source_pages, "page"), plural(found.chunks, "chunk"), `${bytes(found.cache_bytes)} of caches`] : [];
  title.append(el("div", { className: "soft", textContent: facts.filter(Boolean).join(" · ") }));
  title.append(...found.warnings.map(said => el("div", { className: "soft", dir: "auto", textContent: said })));
  const figures = ready
    ? [[count(found.text_tokens), "n wide"], [count(found.vision_tokens), "n wide"], [times(found.compression), "n"]].map(([textContent, className]) => el("td", { textContent, className }))
    : [el("td", { colSpan: 3, className: found.state === "failed" ? "state failed" : "state" }, ...stateOf(found))];
  return [title, ...figures];
}

function deleting(found) {
  return el("button", { type: "button", className: "quiet", title: "Delete", ariaLabel: `Delete ${found.title}`, textContent: "✕", onclick: () => remove(found) });
}

function stateOf(found) {
  if (found.state === "failed") return [`failed: ${found.error}`];
  if (found.state !== "encoding" || !found.chunks) return [found.state];
  const bar = el("progress", { max: found.chunks, value: found.chunks_ready, ariaLabel: `Encoding ${found.title}` });
  return [`encoding ${count(found.chunks_ready)} of ${count(found.chunks)} `, bar];
}

async function remove(found) {
  if (!confirm(`Delete ${found.title}? Its caches, vectors and text go too.`)) return;
  const after = rows.get(found.id)?.nextElementSibling?.querySelector("button");
  try {
    await call(`/v1/documents/${found.id}`, { method: "DELETE" }).catch(error => {
      if (error.status !== 404) throw error; // or somebody else was quicker
    });
    lose(found.id);
    (after?.isConnected ? after : $("files")).focus();
  } catch (error) {
    $("note").textContent = error.message;
  }
  changed();
}

// Owns the page as a whole: which collection is open, its figures, the key, and files that are dropped.

import { ask, clearAnswer, search } from "./answers.js";
import { call, get, heldKey, holdKey } from "./calls.js";
import { add, hasRows, isEmpty, listedIds, onChange, openCollection, showMore } from "./documents.js";
import { $, bytes, count, el, plural, times } from "./elements.js";
import { closeViewer } from "./viewer.js";

const FIRST = "default";

function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch { // written by hand
    return location.hash.slice(1);
  }
}

let collections = [];
let current = "";
let opened = null; // ends when `current` is the collection that the address asks for, or cannot be
let turn = 0; // counts the times that this was asked for: of several at once the last one holds
let closed = false; // the service wants a key that this page does not have

const refresh = () => (opened = open());

async function open() {
  const mine = ++turn, known = listedIds();
  $("note").textContent = "";
  try {
    await load();
    if (mine === turn) await enter(known);
  } catch (error) {
    if (mine === turn) trouble(error);
  }
  if (mine !== turn) return opened;
  tell();
}

// What there is. A late answer does not replace that to a later question.
let asked = 0, answered = 0;
async function load() {
  const mine = ++asked, { items } = await get("/v1/collections");
  if (mine < answered) return;
  answered = mine;
  collections = items;
}

// The collection that the page shows, or is about to show: whoever is quick asks, and brings files, before that.
async function here() {
  if (!current || (named() && named() !== current)) await opened;
  return named() || current;
}

async function enter(known) {
  closed = false;
  const names = collections.map(one => one.name);
  const before = current;
  current = named() || (current && names.includes(current) ? current : names.includes(FIRST) || !names.length ? FIRST : names[0]);
  if (current !== before) {
    clearAnswer();
    closeViewer();
  }
  const every = names.includes(current) ? names : [current, ...names];
  $("collection").replaceChildren(...every.map(name => new Option(name, name, false, name === current)));
  await openCollection(current, names.includes(current), known);
}

// The figures alone: what happens to documents is followed by itself.
let due = null;
onChange(() => {
  tell();
  due ??= setTimeout(async () => {
    due = null;
    await load().then(tell, trouble);
  }, 400);
});

function tell() {
  const here = collections.find(one => one.name === current), empty = isEmpty();
  $("empty").hidden = !empty || closed;
  $("documents").hidden = !hasRows();
  $("drop-collection").hidden = !here;
  $("question").placeholder = empty ? "Add documents, then ask about them" : "Ask about the documents, in their language";
  $("figures").hidden = !here?.ready;
  if (here?.ready) $("figures").replaceChildren(...figures(here));
}

function figures({ documents, ready, text_tokens: text, vision_tokens: vision, cache_bytes: caches }) {
  const bar = (name, n) => {
    const length = el("i");
    length.style.width = `${Math.max(0.4, (n / Math.max(1, text)) * 100)}%`;
    return [el("span", { textContent: name }), el("span", { className: "bar" }, length), el("b", { textContent: count(n) })];
  };
  const said = `${count(ready)} of ${plural(documents, "document")} ready · ${bytes(caches)} of caches, every one read back exactly`;
  return [...bar("Text tokens", text), ...bar("Vision tokens", vision), el("p", {}, el("b", {}, `${times(text / Math.max(1, vision))} fewer`), ` · ${said}`)];
}

function trouble(error) {
  $("note").textContent = error.message;
  if (error.status === 401) {
    closed = true;
    $("note").textContent = "This service wants an API key.";
    tell();
    askForKey();
  }
}

// One small form for a word: a key, a name. -> the word, or null.
function word(label, { type = "text", value = "", pattern = "", required = true } = {}) {
  const dialog = $("asked");
  if (dialog.open) return Promise.resolve(null); // somebody writes into it
  $("wanted").textContent = label;
  Object.assign($("given"), { type, value, pattern, required });
  dialog.showModal();
  return new Promise(done => {
    const end = given => { dialog.onclose = null; dialog.close(); done(given); };
    $("reply").onsubmit = event => { event.preventDefault(); end($("given").value.trim()); };
    $("cancel").onclick = () => end(null);
    dialog.onclose = () => done(null);
  });
}

async function askForKey() {
  const said = "API key, kept in this tab only. `percel keys create NAME --scope read --scope ingest` makes one; leave it empty to forget it.";
  const given = await word(said, { type: "password", value: heldKey(), pattern: "[!-~]*", required: false });
  if (given === null || (closed && given === heldKey())) return;
  holdKey(given);
  clearAnswer();
  closeViewer();
  await refresh();
}

$("key").onclick = askForKey;
$("collection").onchange = () => { location.hash = encodeURIComponent($("collection").value); };
$("new").onclick = async () => {
  const name = await word("Name of the new collection", { pattern: "[^\\/]{1,200}" });
  if (name) location.hash = encodeURIComponent(name); // the first upload makes it
};
addEventListener("hashchange", refresh);
document.addEventListener("visibilitychange", () => { if (!document.hidden && !closed) refresh(); });

let questions = 0;
$("ask").onsubmit = async event => {
  event.preventDefault();
  const mine = ++questions;
  const question = $("question").value.trim();
  const answer = event.submitter?.value === "search" ? search : ask;
  const collection = await here();
  if (question && collection && mine === questions) answer(question, collection);
};
for (const button of $("ask").querySelectorAll("button")) button.disabled = false; // until here it would send the form
$("more").onclick = () => showMore().catch(trouble);
$("drop-collection").onclick = async () => {
  const name = current;
  if (!confirm(`Delete the collection ${name} and every document in it?`)) return;
  try {
    await call(`/v1/collections/${encodeURIComponent(name)}`, { method: "DELETE" });
    if (name === current) {
      clearAnswer();
      closeViewer();
    }
    await refresh();
  } catch (error) {
    trouble(error);
  }
};

// `files`, or a promise of them, go into the collection of now, whatever is looked at when they have come.
async function take(files) {
  const into = await here();
  if (into) add(await files, into);
}

$("files").onchange = () => { take([...$("files").files]); $("files").value = ""; };
const carriesFiles = event => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $("drop").textContent = `Drop to add to ${current}`;
  $("drop").hidden = false;
});
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", event => {
  $("drop").hidden = true;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  const dropped = [...event.dataTransfer.items].filter(item => item.kind === "file");
  const entries = dropped.map(item => item.webkitGetAsEntry() || item.getAsFile()); // both before the first await
  take(Promise.all(entries.map(entry => filesBelow(entry))).then(found => found.flat()));
});

// A folder's files, those below it included; hidden ones are left out, as `percel ingest` does.
async function filesBelow(entry, below = false) {
  if (entry instanceof File) return [entry];
  if (below && entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    file.path = entry.fullPath.slice(1); // two folders may each have one of that name
    return [file];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return (await Promise.all(found.map(one => filesBelow(one, true)))).flat();
    found.push(...some);
  }
}

refresh();

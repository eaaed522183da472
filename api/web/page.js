// Owns the page as a whole: which collection is open, its figures, the key, and files that are dropped.

import { ask, clearAnswer, search } from "./answers.js";
import { call, get, heldKey, holdKey } from "./calls.js";
import { add, isEmpty, onChange, openCollection, showMore } from "./documents.js";
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
let opened = null; // ends when `current` is the collection that is asked for
let closed = false; // the service wants a key that this page does not have

const refresh = () => (opened = open());

async function open() {
  try {
    collections = (await get("/v1/collections")).items;
    closed = false;
    $("note").textContent = "";
  } catch (error) {
    return trouble(error);
  }
  const names = collections.map(one => one.name);
  const before = current;
  current = named() || (current && names.includes(current) ? current : names.includes(FIRST) || !names.length ? FIRST : names[0]);
  if (current !== before) {
    clearAnswer();
    closeViewer();
  }
  const every = names.includes(current) ? names : [current, ...names];
  $("collection").replaceChildren(...every.map(name => new Option(name, name, false, name === current)));
  try {
    await openCollection(current, names.includes(current));
  } catch (error) {
    trouble(error);
  }
  tell();
}

// The figures alone: what happens to documents is followed by itself.
let due = null;
onChange(() => {
  tell();
  due ??= setTimeout(async () => {
    due = null;
    try {
      collections = (await get("/v1/collections")).items;
    } catch (error) {
      return trouble(error);
    }
    tell();
  }, 400);
});

function tell() {
  const here = collections.find(one => one.name === current), empty = isEmpty();
  $("empty").hidden = !empty || closed;
  $("documents").hidden = empty;
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
  $("wanted").textContent = label;
  Object.assign($("given"), { type, value, pattern, required });
  const dialog = $("asked");
  if (dialog.open) return Promise.resolve(null);
  dialog.showModal();
  return new Promise(done => {
    const end = given => { dialog.onclose = null; dialog.close(); done(given); };
    $("reply").onsubmit = event => { event.preventDefault(); end($("given").value.trim()); };
    $("cancel").onclick = () => end(null);
    dialog.onclose = () => done(null);
  });
}

async function askForKey() {
  const said = "API key, kept in this tab only. `percel keys create NAME --scope ingest` makes one; leave it empty to forget it.";
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

$("ask").onsubmit = async event => {
  event.preventDefault();
  const question = $("question").value.trim();
  const answer = event.submitter?.value === "search" ? search : ask;
  await opened; // whoever is quick asks before the page has it
  if (question && current) answer(question, current);
};
$("more").onclick = () => showMore().catch(trouble);
$("drop-collection").onclick = async () => {
  if (!confirm(`Delete the collection ${current} and every document in it?`)) return;
  try {
    await call(`/v1/collections/${encodeURIComponent(current)}`, { method: "DELETE" });
    clearAnswer();
    closeViewer();
    await refresh();
  } catch (error) {
    trouble(error);
  }
};

$("files").onchange = () => { add($("files").files); $("files").value = ""; };
const carriesFiles = event => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $("drop").textContent = `Drop to add to ${current}`;
  $("drop").hidden = false;
});
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", async event => {
  $("drop").hidden = true;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  const dropped = [...event.dataTransfer.items].filter(item => item.kind === "file");
  const entries = dropped.map(item => item.webkitGetAsEntry() || item.getAsFile()); // both before the first await
  add((await Promise.all(entries.map(entry => filesBelow(entry)))).flat());
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

// Owns the viewer: a source page with its boxes, a chunk as the encoder sees it, or its text with the quote marked.
// Beside the page where there is room, over it where there is not.

import { get, picture } from "./calls.js";
import { $, count, el, marks } from "./elements.js";

const wide = matchMedia("(min-width: 70rem)");
const VIEWS = { page: "Source page", image: "As encoded", text: "Text" };
let shown = null; // {document, view, page, chunk, boxes, boxedPage, quote, quotedChunk}
let turn = 0; // counts what was asked for: a late answer must not be drawn over a newer one
let opener = null;

export const isWide = () => wide.matches;
export const isPdf = found => found.media_type === "application/pdf";

// `place` of a hit or a citation: {page, chunk, boxes, quote}.
export function view(found, place = {}, from = null) {
  shown = {
    document: found,
    view: isPdf(found) ? "page" : place.quote ? "text" : "image",
    page: place.page || 1, boxedPage: place.page, boxes: place.boxes || [],
    chunk: place.chunk ?? 0, quotedChunk: place.chunk, quote: (place.quote || "").trim(),
  };
  opener = from;
  const dialog = $("viewer"), focused = document.activeElement;
  if (dialog.open) dialog.close();
  document.body.classList.add("viewing");
  if (wide.matches) dialog.show(); // takes the focus; a pane beside the page must not, from who writes on least of all
  else dialog.showModal();
  if (wide.matches) (focused === document.body ? from : focused)?.focus({ preventScroll: true });
  draw();
}

export function closeViewer() {
  if ($("viewer").open) $("viewer").close();
  document.body.classList.remove("viewing");
  shown = null;
  turn += 1; // nothing is drawn of what was on its way
}

export const isViewed = id => shown?.document.id === id;

async function draw() {
  const { document: found, view: kind } = shown, mine = ++turn;
  const on = kind === "page" ? shown.page : shown.chunk + 1;
  const of = kind === "page" ? found.source_pages : found.chunks;
  $("viewed").textContent = found.title;
  $("place").textContent = `${kind === "page" ? "page" : "chunk"} ${count(on)} of ${count(of)}`;
  $("back").disabled = on <= 1;
  $("on").disabled = on >= of;
  $("views").replaceChildren(...Object.keys(VIEWS).filter(name => name !== "page" || isPdf(found)).map(name => {
    const button = el("button", { type: "button", textContent: VIEWS[name], onclick: () => { shown.view = name; draw(); $("views").querySelector("[aria-pressed=true]").focus(); } });
    button.setAttribute("aria-pressed", name === kind);
    return button;
  }));
  $("sheet").setAttribute("aria-busy", "true");
  let content;
  try {
    content = await { page: pageOf, image: imageOf, text: textOf }[kind](found);
  } catch (error) {
    content = el("p", { className: "failed", textContent: error.message });
  }
  if (mine !== turn) return;
  $("sheet").removeAttribute("aria-busy");
  $("sheet").replaceChildren(content);
  $("sheet").classList.remove("full");
  centre($("sheet"), $("sheet").querySelector(".box, mark"));
}

async function pageOf(found) {
  return paper(found, shown.page, shown.page === shown.boxedPage ? shown.boxes : []);
}

async function imageOf(found) {
  const image = await loaded(await picture(`/v1/documents/${found.id}/chunks/${shown.chunk}/image`));
  image.alt = `Chunk ${shown.chunk + 1} as the encoder sees it`;
  return el("div", { className: "paper" }, image);
}

async function textOf(found) {
  const chunk = shown.chunk, quote = chunk === shown.quotedChunk ? shown.quote : "";
  const { text } = (await get(`/v1/documents/${found.id}/text?chunk=${chunk}`)).chunks[0];
  const at = quote ? text.indexOf(quote) : -1;
  const parts = at < 0 ? [text] : [text.slice(0, at), el("mark", {}, quote), text.slice(at + quote.length)];
  return el("pre", { dir: "auto" }, ...parts);
}

// A page of a PDF with boxes on it.
export async function paper(found, page, boxes) {
  const image = await loaded(await picture(`/v1/documents/${found.id}/pages/${page}/image`));
  image.alt = `Page ${page} of ${found.title}`;
  return el("div", { className: "paper" }, image, ...marks(boxes));
}

async function loaded(url) {
  const image = el("img", { src: url });
  await image.decode();
  return image;
}

// Not scrollIntoView, which would scroll the page around the pane too.
function centre(pane, marked) {
  const [within, here] = [pane.getBoundingClientRect(), marked?.getBoundingClientRect()];
  pane.scrollTop = here ? pane.scrollTop + here.top - within.top - (within.height - here.height) / 2 : 0;
}

function step(by) {
  if (!shown) return;
  const paged = shown.view === "page", last = paged ? shown.document.source_pages : shown.document.chunks - 1;
  const to = (paged ? shown.page : shown.chunk) + by;
  if (to < (paged ? 1 : 0) || to > last) return;
  if (paged) shown.page = to;
  else shown.chunk = to;
  draw();
}

$("back").onclick = () => step(-1);
$("on").onclick = () => step(1);
$("close").onclick = () => { closeViewer(); opener?.focus(); };
// A click, or Enter, shows a picture in its own size and back.
$("sheet").onclick = () => { if (!getSelection().toString()) $("sheet").classList.toggle("full"); };
$("viewer").oncancel = () => closeViewer();
$("viewer").onclick = event => { if (event.target === $("viewer") && !wide.matches) closeViewer(); };
$("viewer").addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "Enter" && event.target === $("sheet")) $("sheet").click();
  else if (event.key === "Escape") $("close").click();
});
wide.onchange = () => { // beside or over: the window has become another one
  if (!$("viewer").open) return;
  $("viewer").close();
  if (wide.matches) $("viewer").show();
  else $("viewer").showModal();
};

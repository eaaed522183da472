// Owns talking to the service: requests under the key, what they are refused with, event streams, uploads, pictures.

const KEY = "percel-key"; // in this tab only

export const heldKey = () => sessionStorage.getItem(KEY) || "";

export function holdKey(key) {
  sessionStorage.setItem(KEY, key);
  forgetPictures();
}

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status; // 0: no answer came
  }
}

const authorised = () => (heldKey() ? { Authorization: `Bearer ${heldKey()}` } : {});
const unsaid = status => `The service answered with status ${status}.`;

export async function call(path, { method = "GET", body, signal } = {}) {
  const key = heldKey(), headers = { ...authorised(), ...(body && { "Content-Type": "application/json" }) };
  let reply;
  try {
    reply = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service does not answer. Is it running?");
  }
  if (reply.status === 401 && key !== heldKey()) return call(path, { method, body, signal }); // it was given meanwhile
  if (!reply.ok) {
    const problem = await reply.json().catch(() => ({}));
    throw new Refused(reply.status, problem.detail || unsaid(reply.status));
  }
  return reply;
}

export const get = async path => (await call(path)).json();

// Server-sent events as {name, data}. Not EventSource, which cannot send a key.
export async function* events(path, options) {
  const reader = (await call(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read().catch(error => {
      if (error.name === "AbortError") throw error;
      return { done: true }; // who waits for an event that says the end knows that it has not come
    });
    if (done) return;
    const parts = (held + value).split(/\r\n\r\n|\n\n/);
    held = parts.pop();
    for (const part of parts) {
      const fields = part.split(/\r\n|\n/).map(line => line.split(/: ?(.*)/s));
      const [name, data] = ["event", "data"].map(wanted => fields.filter(([field]) => field === wanted).map(([, said]) => said).join("\n"));
      if (name) yield { name, data: JSON.parse(data) };
    }
  }
}

// XMLHttpRequest, since fetch does not tell how much of a body has left. `progress` gets shares of 1.
export function upload(file, collection, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(), body = new FormData();
    body.set("collection", collection);
    body.set("external_id", file.path || file.name);
    body.set("file", file);
    request.open("POST", "/v1/documents");
    for (const [name, value] of Object.entries(authorised())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = event => progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) resolve({ document: request.response, known: request.status === 200 });
      else reject(new Refused(request.status, request.response?.detail || unsaid(request.status)));
    };
    request.onerror = () => reject(new Refused(0, "The upload was cut off: the file cannot be read, is over the size limit, or the service is gone."));
    request.send(body);
  });
}

const KEPT = 40; // pictures
const pictures = new Map(); // path -> promise of an object URL, the oldest first

export function picture(path) {
  if (!pictures.has(path)) {
    const made = call(path).then(reply => reply.blob()).then(blob => URL.createObjectURL(blob));
    pictures.set(path, made);
    made.catch(() => pictures.delete(path)); // asked for again the next time
    if (pictures.size > KEPT) release(pictures.keys().next().value);
  }
  return pictures.get(path);
}

function release(path) {
  pictures.get(path).then(url => URL.revokeObjectURL(url), () => {});
  pictures.delete(path);
}

export const forgetPictures = () => [...pictures.keys()].forEach(release);

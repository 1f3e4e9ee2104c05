// The server's HTTP API. What goes wrong comes out as an ApiError whose message is a sentence to show.

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const UNREACHABLE = "The server does not answer. See whether `vtg serve` is still running, then try again.";
const LOCKED = "The server wants its token. Reload this page to give it.";
const POLL_MS = 1000, SLOWEST_POLL_MS = 10000, LOST_AFTER = 4;

function sentence(status, text) {
  if (status === 401) return LOCKED;
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string" && error) return error;
  } catch {
    // Not from our server, but from something before it.
  }
  return `The server could not do that (answer ${status}). Try again.`;
}

async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch {
    throw new ApiError(UNREACHABLE);
  }
  if (response.ok || response.status === 304) return response;
  throw new ApiError(sentence(response.status, await response.text().catch(() => "")), response.status);
}

async function request(path, options) {
  const response = await send(path, options);
  try {
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(UNREACHABLE);
  }
}

const part = encodeURIComponent;

let known = { tag: "", answer: null };

// The library; the same object as before if it has not changed.
export async function getVideos() {
  const response = await send("/api/videos", { headers: { "If-None-Match": known.tag } });
  if (response.status !== 304) known = { tag: response.headers.get("ETag") ?? "", answer: await response.json() };
  return known.answer;
}

export const getCues = async (id) => (await request(`/api/videos/${part(id)}/cues`)).tracks;
export const getFormats = async () => (await request("/api/formats")).formats;
export const getJobs = async () => (await request("/api/jobs")).jobs;
export const getJob = (id) => request(`/api/jobs/${part(id)}`);
export const cancelJob = (id) => request(`/api/jobs/${part(id)}/cancel`, { method: "POST" });
export const removeVideo = (id) => request(`/api/videos/${part(id)}`, { method: "DELETE" });

const post = (path, body) =>
  request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

export const startJob = (body) => post("/api/jobs", body);
export const searchLibrary = (body) => post("/api/search", body);
export const searchOn = (body) => post("/api/search/more", body);

export const getLibrary = () => request("/api/library");
export const addToLibrary = () => request("/api/library/add", { method: "POST" });
export const cancelAdding = () => request("/api/library/cancel", { method: "POST" });

export const fileAddress = (id) => `/api/videos/${part(id)}/file`;
export const thumbnailAddress = (id, atS) => `/api/videos/${part(id)}/thumbnail?at_s=${atS.toFixed(2)}`;
export const stillAddress = (id, atS) => `${thumbnailAddress(id, atS)}&size=large`;
export const exportAddress = (id, format) => `/api/jobs/${part(id)}/export/${part(format)}`;

export const isOver = (job) => ["done", "failed", "cancelled"].includes(job.state);

// `fetch` does not tell how much has been sent.
export function upload(file, onProgress) {
  const sending = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    sending.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    sending.addEventListener("load", () => {
      if (sending.status < 200 || sending.status > 299) {
        reject(new ApiError(sentence(sending.status, sending.responseText), sending.status));
        return;
      }
      resolve({ video: JSON.parse(sending.responseText), isNew: sending.status === 201 });
    });
    sending.addEventListener("error", () => reject(new ApiError(UNREACHABLE)));
    sending.addEventListener("abort", () => reject(new ApiError("")));
  });
  sending.open("POST", `/api/videos?name=${part(file.name)}`);
  sending.setRequestHeader("Content-Type", "application/octet-stream");
  sending.send(file);
  return { done, abort: () => sending.abort() };
}

// Calls back with each state of a job until it is over; returns what stops that. Events come as they happen; where
// they break, as behind some proxies, the job is asked for again and again instead.
export function watchJob(id, onChange, onLost) {
  let timer = 0, stopped = false, misses = 0;
  const source = new EventSource(`/api/jobs/${part(id)}/events`);

  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    source.close();
  };

  function take(job) {
    if (stopped) return;
    misses = 0;
    if (isOver(job)) stop();
    onChange(job);
  }

  async function poll() {
    clearTimeout(timer);
    try {
      take(await getJob(id));
    } catch (error) {
      misses += 1;
      if (!stopped && (error.status !== 0 || misses === LOST_AFTER)) onLost(error);
      if (error.status === 404 || error.status === 401) stop();
    }
    // A stream that has gone quiet looks like one with no news; asking now and then tells them apart.
    const wait = source.readyState === EventSource.OPEN ? SLOWEST_POLL_MS : POLL_MS * 2 ** misses;
    if (!stopped) timer = setTimeout(poll, Math.min(wait, SLOWEST_POLL_MS));
  }

  source.addEventListener("job", (event) => take(JSON.parse(event.data)));
  source.addEventListener("end", () => {
    source.close();
    if (!stopped) poll();
  });
  source.addEventListener("error", () => {
    source.close();
    if (!stopped) poll();
  });
  timer = setTimeout(poll, SLOWEST_POLL_MS);
  return stop;
}

// The page: what is chosen, what runs, and who hears of it.

import * as api from "./api.js";
import { Curve } from "./curve.js";
import { isolated, make, one, rove } from "./dom.js";
import { Find } from "./find.js";
import { bytes, clock, counted, since, timecode } from "./format.js";
import { Library } from "./library.js";
import { Moments } from "./moments.js";
import { Player } from "./player.js";

const EARLIER = 8; // searches listed
const STRIP = 10; // pictures under the chart
const SCANNING_MS = 1500; // between looks at a library whose folders are still being read
const HINT = "They are listed here, best first. Choose one, and it plays.";

let videos = [];
let video = null;
let job = null;
let stopWatching = () => {};
let looking = 0;

const say = (text) => { one("status").textContent = text; };

function complain(text) {
  const close = make("button", { type: "button", class: "quiet icon", "aria-label": "Dismiss" }, "×");
  const box = make("div", { class: "error" }, make("p", {}, text), close);
  close.addEventListener("click", () => box.remove());
  one("errors").replaceChildren(box);
}

const forgive = () => one("errors").replaceChildren();

// Work started by a click: what goes wrong is shown, and never lost.
const guarded = (work) => async (...values) => {
  try {
    return await work(...values);
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    complain(error.message);
    return undefined;
  }
};

const player = new Player(one("video"), {
  onTime: (time) => {
    curve.setTime(time);
    moments.setTime(time);
  },
  onTrouble: () => {
    one("trouble").textContent =
      "This browser cannot play videos of this kind. Searching works all the same: times and pictures are right.";
    one("trouble").hidden = false;
  },
});
const curve = new Curve(one("chart"), {
  onSeek: (time) => player.seek(time),
  onMoment: (number, at) => moments.play(number, at),
});
const moments = new Moments({
  onPlay: (start, end) => player.playMoment(start, end),
  onToggle: (number, shown) => curve.toggle(number, shown),
});
const find = new Find({ onFind: guarded(search), onCancel: guarded(cancel) });
const library = new Library({
  onChoose: guarded(async (id) => {
    library.collapse(true);
    await choose(id);
  }),
  onUploaded: async (added, isNew) => {
    forgive();
    say(isNew ? `${added.name} is added.` : `${added.name} was there already.`);
    library.collapse(true);
    await refresh();
    await choose(added.id);
  },
  onError: complain,
});
const settleEarlier = rove(one("earlier-list"), "button");

async function refresh() {
  const answer = await api.getVideos();
  videos = answer.videos;
  const waiting = answer.scanning && !videos.length;
  if (!waiting) library.show(videos);
  one("empty").hidden = waiting || videos.length > 0;
  one("work").hidden = videos.length === 0;
  clearTimeout(looking);
  if (answer.scanning) looking = setTimeout(() => refresh().then(settle).catch(() => {}), SCANNING_MS);
  return answer.scanning;
}

// Shows a video if none is shown: the one in the address, or the first.
async function settle(scanning) {
  if (video) return;
  const parts = new URLSearchParams(location.hash.slice(1));
  const wanted = videos.find((other) => other.id === parts.get("video"));
  if (!wanted && (!videos.length || (scanning && parts.has("video")))) return;
  library.collapse(true);
  await choose((wanted ?? videos[0]).id, wanted && parts.get("search"));
}

// The address says what is shown, so that it survives a reload; it holds names of the server's making only.
function remember() {
  const parts = new URLSearchParams();
  if (video) parts.set("video", video.id);
  if (job) parts.set("search", job.id);
  history.replaceState(null, "", `#${parts}`);
}

function drop() {
  stopWatching();
  stopWatching = () => {};
  job = null;
  find.progress(null);
}

async function choose(id, wantedJob = null) {
  const chosen = videos.find((other) => other.id === id);
  if (!chosen) return;
  one("work").setAttribute("aria-busy", "true");
  try {
    await show(chosen, wantedJob);
  } finally {
    if (video === chosen) one("work").setAttribute("aria-busy", "false");
  }
}

async function show(chosen, wantedJob) {
  forgive();
  drop();
  video = chosen;
  library.mark(video.id);
  document.title = `${video.name} – vtg`;
  one("name").replaceChildren(isolated(video.name));
  one("facts").textContent = [
    timecode(video.duration_s), `${video.width} × ${video.height}`, `${Number(video.fps.toFixed(2))} frames a second`,
    bytes(video.size_bytes),
  ].join(" · ");
  one("remove").hidden = !video.uploaded;
  one("trouble").hidden = true;
  moments.clear(HINT);
  curve.show(video.duration_s);
  player.load(api.fileAddress(video.id), video.duration_s);
  find.fill([""]);
  showStrip();
  remember();
  const before = await listEarlier();
  if (video !== chosen || job) return;
  const running = before.find((other) => !api.isOver(other));
  const ready = before.find((other) => other.state === "done");
  const next = before.find((other) => other.id === wantedJob) ?? running ?? ready;
  if (next) await open(next.id);
}

function showStrip() {
  one("strip").replaceChildren(...Array.from({ length: STRIP }, (_, k) => {
    const picture = make("img", {
      src: api.thumbnailAddress(video.id, ((k + 0.5) * video.duration_s) / STRIP), alt: "", loading: "lazy",
    });
    picture.addEventListener("error", () => picture.classList.add("missing"));
    return picture;
  }));
}

async function listEarlier() {
  const of = video;
  const before = (await api.getJobs()).filter((other) => other.video_id === of.id);
  if (video !== of) return [];
  const listed = before.filter((other) => other.state !== "cancelled").slice(0, EARLIER);
  one("earlier").hidden = listed.length === 0;
  one("earlier-list").replaceChildren(...listed.map((other) => {
    const state = { failed: "failed", queued: "waiting", running: "running" }[other.state];
    const button = make(
      "button", { type: "button", tabindex: "-1" },
      make("span", { class: "queries" }, isolated(other.queries.join(" · "))),
      make("span", { class: "hint" }, state ?? since(other.created_at)),
    );
    if (other.id === job?.id) button.setAttribute("aria-current", "true");
    button.addEventListener("click", guarded(() => open(other.id, { asked: true })));
    return make("li", {}, button);
  }));
  settleEarlier();
  return before;
}

async function search(request) {
  forgive();
  const of = video;
  const started = await api.startJob({ video_id: of.id, ...request });
  if (video !== of) return;
  follow(started);
  await listEarlier();
}

async function open(id, { asked = false } = {}) {
  const before = job;
  const opened = await api.getJob(id);
  if (opened.video_id !== video?.id || job !== before) return;
  forgive();
  // Whoever has begun to type in the meantime goes on.
  if (asked || find.isBlank()) find.fill(opened.queries);
  follow(opened);
  for (const button of one("earlier-list").querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
  await listEarlier();
}

function follow(next) {
  drop();
  job = next;
  remember();
  if (api.isOver(job)) {
    guarded(finish)(job);
    return;
  }
  moments.clear("", { waiting: 3 });
  one("results-hint").hidden = true;
  curve.show(video.duration_s, [], "Looking…");
  report(job);
  stopWatching = api.watchJob(job.id, (seen) => {
    if (seen.id !== job?.id) return;
    if (api.isOver(seen)) guarded(finish)(seen);
    else report(seen);
  }, (error) => complain(error.message));
}

function report(seen) {
  job = seen;
  const stage = find.progress(seen);
  if (one("status").textContent !== stage) say(stage);
}

async function finish(seen) {
  // Events say that it is done, but not what was found.
  const ended = seen.state === "done" && !seen.results ? await api.getJob(seen.id) : seen;
  if (ended.id !== job?.id) return;
  job = ended;
  find.progress(null);
  if (ended.state === "done") {
    moments.show(ended);
    curve.show(video.duration_s, ended.results);
    moments.setTime(player.now());
    say(`${moments.summary()} found.`);
  } else {
    moments.clear(ended.state === "cancelled" ? "The search was cancelled." : HINT);
    curve.show(video.duration_s);
    if (ended.state === "cancelled") say("The search was cancelled.");
    else complain(ended.error ?? "The search failed. Try it again.");
  }
  await listEarlier();
}

async function cancel() {
  const of = job;
  if (!of || api.isOver(of)) return;
  one("find").focus();
  const seen = await api.cancelJob(of.id);
  if (seen.id !== job?.id) return;
  if (api.isOver(seen)) {
    stopWatching();
    await finish(seen);
  }
}

one("remove").addEventListener("click", () => {
  one("sure-text").replaceChildren(isolated(video.name), " will be deleted from the library.");
  one("sure").returnValue = "no";
  one("sure").showModal();
});
one("sure").addEventListener("close", guarded(async () => {
  if (one("sure").returnValue !== "yes") return;
  const { id, name } = video;
  await api.removeVideo(id);
  drop();
  video = null;
  player.clear();
  say(`${name} is removed.`);
  await refresh();
  remember();
  document.title = "vtg";
  if (videos.length) await choose(videos[0].id);
  else one("choose-first").focus();
}));

const keys = one("keys");
one("show-keys").addEventListener("click", () => keys.showModal());

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  // What is typed into is left alone; the player and buttons have keys of their own.
  if (target.closest("input, textarea, select")) return;
  if (target === one("video") && event.key.startsWith("Arrow")) return;
  if (event.key === " " && target.closest("button, a, summary, video")) return;
  const next = (step) => () => {
    const start = moments.neighbour(player.now(), step);
    if (start !== undefined) player.seek(start);
  };
  const always = { "?": () => keys.showModal() };
  const withVideo = {
    "/": () => find.focus(),
    " ": () => player.toggle(),
    n: next(1),
    p: next(-1),
    ArrowLeft: () => player.seek(player.now() - 5),
    ArrowRight: () => player.seek(player.now() + 5),
  };
  const actions = video ? { ...always, ...withVideo } : always;
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

// Files may have come or gone while the page was out of sight.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") refresh().catch(() => {});
});

guarded(async () => {
  const [formats, scanning] = await Promise.all([api.getFormats(), refresh()]);
  moments.setFormats(formats);
  await settle(scanning);
})();

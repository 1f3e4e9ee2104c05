// The page: what is chosen, what runs, and who hears of it.

import * as api from "./api.js";
import { CueTracks } from "./cues.js";
import { Curve } from "./curve.js";
import { Everywhere } from "./everywhere.js";
import { breakable, isolated, make, one, rove } from "./dom.js";
import { Find } from "./find.js";
import { bytes, clock, counted, since, timecode } from "./format.js";
import { listenToKeys, playerKeys } from "./keys.js";
import { Library } from "./library.js";
import { Moments } from "./moments.js";
import { Player } from "./player.js";
import { Results } from "./results.js";

const EARLIER = 8; // searches listed
const STRIP = 10; // pictures under the chart
const LOOK_MS = 2000; // between looks at the library, which other windows and the folders change
const LOST_MS = 15000; // where the server does not answer
const STILL_MS = 120; // before a still is asked for: the position may be on the move
const HINT = "They are listed here, best first. Choose one, and it plays.";

let videos = [];
let video = null;
let isEverywhere = false; // whether all videos are searched
let job = null;
let stopWatching = () => {};
let turn = Promise.resolve(); // of looks at the library
let looking = 0, coming = 0; // timers

const say = (text) => { one("status").textContent = text; };

// What went wrong with the last thing done; the next one takes it away.
function complain(text) {
  forgive();
  one("errors").append(errorBox(text));
}

const forgive = () => one("errors").querySelectorAll(".error:not(.kept)").forEach((box) => box.remove());

// Files come several at a time: what went wrong with one stays until it is dismissed.
function keepError(text) {
  const before = one("errors").querySelector(".kept .texts");
  if (before) before.append(make("p", {}, text));
  else one("errors").append(errorBox(text, "kept"));
}

function errorBox(text, kind = "") {
  const close = make("button", { type: "button", class: "quiet icon", "aria-label": "Dismiss" }, "×");
  const box = make("div", { class: `error ${kind}` }, make("div", { class: "texts" }, make("p", {}, text)), close);
  close.addEventListener("click", () => box.remove());
  return box;
}

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
    cues.setTime(time);
    if (!player.isPlayable) showStill();
  },
  onTrouble: () => {
    one("trouble").hidden = false;
    one("video").hidden = true;
    one("still").hidden = false;
    showStill();
    say(one("trouble").textContent);
  },
});
const curve = new Curve(one("chart"), {
  onSeek: (time) => player.seek(time),
  onMoment: (number, at) => moments.play(number, at),
});
const moments = new Moments({
  onPlay: (start, end) => player.playMoment(start, end),
  onToggle: (number, shown) => curve.toggle(number, shown),
  pictureOf: (number, at) => {
    const { start_s: start, end_s: end } = job.results[number].moments[at];
    return api.thumbnailAddress(job.video_id, (start + end) / 2);
  },
  nothing: "Nothing scores that high. Lower the score under Options, or say it differently.",
});
const cues = new CueTracks(one("cues"), {
  onPlay: (start, end) => player.playMoment(start, end),
  onSeek: (time) => player.seek(time),
});
const results = new Results();
const find = new Find({ onFind: guarded(search), onCancel: guarded(cancel) });
const library = new Library({
  onChoose: guarded(async (id) => {
    library.collapse(true);
    showEverywhere(false);
    await choose(id);
  }),
  onUploaded: async (added, { isNew, isFirst }) => {
    say(isNew ? `${added.name} is added.` : `${added.name} was there already.`);
    await refresh();
    // The others of several must not take the page from what has begun with the first.
    if (!isFirst) return;
    library.collapse(true);
    showEverywhere(false);
    if (video?.id !== added.id) await choose(added.id);
  },
  onError: keepError,
});
const everywhere = new Everywhere({
  guarded,
  say,
  onVideo: guarded(async (id, time) => {
    showEverywhere(false);
    await choose(id);
    player.seek(time);
  }),
});
const updateEarlierTabStop = rove(one("earlier-list"), "button");

// Shows what the library holds now; one look after the other, so that the last one counts.
const refresh = () => (turn = turn.catch(() => {}).then(renew));

async function renew() {
  const answer = await api.getVideos();
  if (answer.videos === videos) return;
  videos = answer.videos;
  const waiting = answer.scanning && !videos.length;
  if (!waiting) library.show(videos);
  one("empty").hidden = waiting || videos.length > 0;
  one("everywhere-show").hidden = videos.length < 2 && !isEverywhere;
  everywhere.show(videos);
  showEverywhere(isEverywhere && videos.length > 0);
  if (video && !videos.some((other) => other.id === video.id)) await replace();
  if (!video) await showFirst(answer.scanning);
}

// Shows the search in all videos, or the video that was chosen.
function showEverywhere(shown) {
  one("work").hidden = shown || videos.length === 0;
  one("everywhere").hidden = !shown;
  if (shown === isEverywhere) return;
  isEverywhere = shown;
  if (shown) one("everywhere-show").setAttribute("aria-current", "page");
  else one("everywhere-show").removeAttribute("aria-current");
  if (shown) {
    one("video").pause();
    everywhere.open();
  } else {
    everywhere.close();
  }
  remember();
  entitle();
}

function entitle() {
  document.title = isEverywhere ? "All videos – vtg" : video ? `${video.name} – vtg` : "vtg";
}

function searchEverywhere() {
  if (one("everywhere-show").hidden) return;
  forgive();
  library.collapse(true);
  showEverywhere(true);
  everywhere.focus();
}

// Shows a video if none is shown: the one in the address, or the first.
async function showFirst(scanning) {
  const parts = new URLSearchParams(location.hash.slice(1));
  const wanted = videos.find((other) => other.id === parts.get("video"));
  if (!wanted && (!videos.length || (scanning && parts.has("video")))) return;
  library.collapse(true);
  await choose((wanted ?? videos[0]).id, wanted && parts.get("search"));
}

// The video that was shown has gone: another window removed it, or its file went or changed.
async function replace() {
  const { name } = video;
  const next = videos.find((other) => other.name === name);
  putAway();
  if (videos.length) await choose((next ?? videos[0]).id);
  complain(next ? `${name} has changed; search it again.` : `${name} is no longer there.`);
}

function putAway() {
  drop();
  video = null;
  player.clear();
  remember();
  entitle();
}

// Looks again and again, while somebody can see it.
async function keepLooking() {
  clearTimeout(looking);
  if (document.visibilityState !== "visible") return;
  let wait = LOOK_MS;
  try {
    await refresh();
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    wait = LOST_MS;
  }
  clearTimeout(looking);
  looking = setTimeout(keepLooking, wait);
}

// The address says what is shown, so that it survives a reload; it holds names of the server's making only.
function remember() {
  const parts = new URLSearchParams();
  if (video) parts.set("video", video.id);
  if (job) parts.set("search", job.id);
  if (isEverywhere) parts.set("view", "all");
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
  entitle();
  one("name").replaceChildren(breakable(video.name));
  one("facts").textContent = [
    timecode(video.duration_s), `${video.width} × ${video.height}`, `${Number(video.fps.toFixed(2))} frames a second`,
    bytes(video.size_bytes),
  ].join(" · ");
  one("remove").hidden = !video.uploaded;
  for (const id of ["trouble", "still"]) one(id).hidden = true;
  one("still").removeAttribute("src");
  one("video").hidden = false;
  clearResults(HINT);
  curve.show(video.duration_s);
  showCues();
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

// The picture at the position, where the browser cannot show the video there.
function showStill() {
  clearTimeout(coming);
  coming = setTimeout(() => {
    if (!video || player.isPlayable) return;
    const time = player.now();
    one("still").src = api.stillAddress(video.id, time);
    one("still").alt = `The picture at ${timecode(time)}`;
  }, STILL_MS);
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

// What is said in the video; it can take a second to read, and is worth no error.
async function showCues() {
  const of = video;
  cues.show(of.duration_s);
  const tracks = await api.getCues(of.id).catch(() => []);
  if (video === of) cues.show(of.duration_s, tracks);
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
  updateEarlierTabStop();
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
  // Do not disturb a person who types or is about to.
  if (asked || (find.isBlank() && !find.hasFocus())) find.fill(opened.queries);
  follow(opened);
  for (const button of one("earlier-list").querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
  await listEarlier();
}

function clearResults(hint, { waiting = 0 } = {}) {
  moments.clear({ waiting });
  results.clear(hint);
}

function follow(next) {
  drop();
  job = next;
  remember();
  if (api.isOver(job)) {
    guarded(finish)(job);
    return;
  }
  clearResults("", { waiting: 3 });
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
    moments.show(ended.results);
    results.show(ended);
    curve.show(video.duration_s, ended.results);
    moments.setTime(player.now());
    say(`${moments.summary()} found.`);
  } else {
    clearResults(ended.state === "cancelled" ? "The search was cancelled." : HINT);
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
  putAway();
  say(`${name} is removed.`);
  await refresh();
  if (!videos.length) one("choose-first").focus();
}));

const keys = one("keys");
one("show-keys").addEventListener("click", () => keys.showModal());

one("everywhere-show").addEventListener("click", searchEverywhere);

listenToKeys(() => ({
  "?": () => keys.showModal(),
  a: searchEverywhere,
  ...(isEverywhere ? everywhere.keys() : video ? { "/": () => find.focus(), ...playerKeys(player, moments) } : {}),
}));

document.addEventListener("visibilitychange", () => keepLooking());

guarded(async () => {
  const formats = await api.getFormats();
  results.setFormats(formats);
  const wasEverywhere = new URLSearchParams(location.hash.slice(1)).get("view") === "all";
  await refresh();
  if (wasEverywhere && videos.length) showEverywhere(true);
})().then(keepLooking);

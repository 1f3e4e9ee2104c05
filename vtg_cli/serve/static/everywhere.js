// The search in all videos: what to look for and in which of them, what was found, and which can be searched.

import * as api from "./api.js";
import { breakable, make, one } from "./dom.js";
import { counted, timecode } from "./format.js";
import { Hits } from "./hits.js";
import { playerKeys } from "./keys.js";
import { Player } from "./player.js";

const FIRST = 16, PART = 32, MOST = 10000; // hits asked for: at first, then at once, and in all
const TYPING_MS = 400; // before a filter counts
const STATE_MS = 1000; // between looks at an addition

export class Everywhere {
  #hits;
  #player;
  #guarded;
  #say;
  #onVideo;
  #request = null; // of the hits that are shown
  #next = null; // where the server goes on with it
  #hasBegun = false;
  #hasMore = false;
  #isBusy = false;
  #turn = 0;
  #playing = null;
  #typing = 0;
  #looking = 0;
  #isOpen = false;

  // `onVideo` opens a video by its id, at a time; `guarded` shows what goes wrong in the work it is given.
  constructor({ onVideo, guarded, say }) {
    this.#onVideo = onVideo;
    this.#guarded = guarded;
    this.#say = say;
    this.#hits = new Hits({ onPlay: (hit) => this.#play(hit), onEnd: guarded(() => this.#more()) });
    this.#player = new Player(one("hit-video"), { onTime: () => {}, onTrouble: () => this.#showStill() });
    one("everywhere-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    for (const id of ["only-name", "only-longer", "per-video"]) {
      one(id).addEventListener("input", () => {
        clearTimeout(this.#typing);
        this.#typing = setTimeout(() => this.#again(), TYPING_MS);
      });
    }
    for (const id of ["only-folder", "only-clear"]) one(id).addEventListener("change", () => this.#again());
    one("hit-open").addEventListener("click", () => this.#onVideo(this.#playing.video_id, this.#playing.start_s));
    one("library-add").addEventListener("click", guarded(async () => this.#showState(await api.addToLibrary())));
    one("library-cancel").addEventListener("click", guarded(async () => this.#showState(await api.cancelAdding())));
  }

  open() {
    this.#isOpen = true;
    this.#guarded(() => this.#look())();
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.#looking);
    one("hit-video").pause();
  }

  focus() {
    one("everywhere-query").focus();
    one("everywhere-query").select();
  }

  // What keys do here.
  keys() {
    const step = (by) => () => this.#hits.step(by);
    const list = { "/": () => this.focus(), n: step(1), p: step(-1) };
    if (!this.#playing) return list;
    return { ...playerKeys(this.#player, { neighbour: () => undefined }), ...list };
  }

  // The folders to choose from.
  show(videos) {
    const folders = new Set();
    for (const { folder } of videos) {
      // Those around it too.
      for (let name = folder; name && !folders.has(name); name = name.slice(0, Math.max(name.lastIndexOf("/"), 0))) folders.add(name);
    }
    const select = one("only-folder"), before = select.value;
    const names = [...folders].sort();
    if (names.join("\n") === [...select.options].slice(1).map((option) => option.value).join("\n")) return;
    select.replaceChildren(make("option", { value: "" }, "All folders"), ...names.map((name) => make("option", { value: name }, name)));
    select.value = folders.has(before) ? before : "";
    one("only-folder-field").hidden = folders.size < 2;
  }

  #read() {
    const query = one("everywhere-query").value.trim();
    const problem = (text, field) => {
      one("everywhere-problem").hidden = !text;
      one("everywhere-problem").textContent = text;
      for (const input of one("everywhere-form").querySelectorAll("input")) input.removeAttribute("aria-invalid");
      field?.setAttribute("aria-invalid", "true");
      field?.focus();
    };
    if (!query) {
      problem("Say what to look for first.", one("everywhere-query"));
      return null;
    }
    for (const [id, text] of [["only-longer", "Longer than: a number of seconds."], ["per-video", "Moments of one video: a whole number from 1 to 100."]]) {
      if (one(id).checkValidity() && (id === "only-longer" || one(id).value)) continue;
      problem(text, one(id));
      return null;
    }
    problem("", null);
    return {
      query, per_video: Number(one("per-video").value), only_clear: one("only-clear").checked, name: one("only-name").value.trim(),
      folder: one("only-folder").value, longer_than_s: Number(one("only-longer").value),
    };
  }

  #again() {
    clearTimeout(this.#typing);
    if (this.#request) this.#start();
  }

  #start() {
    clearTimeout(this.#typing);
    const request = this.#read();
    if (request) this.#guarded(() => this.#first(request))();
  }

  async #first(request) {
    this.#turn += 1;
    this.#request = request;
    this.#next = null;
    this.#hasBegun = false;
    this.#hasMore = true;
    this.#isBusy = false;
    one("everywhere-find").setAttribute("aria-disabled", "true");
    one("everywhere-found").textContent = "Looking…";
    const turn = this.#turn;
    try {
      await this.#more();
    } finally {
      if (turn === this.#turn) one("everywhere-find").setAttribute("aria-disabled", "false");
    }
  }

  async #more() {
    if (this.#isBusy || !this.#hasMore) return;
    const turn = this.#turn, isFirst = !this.#hasBegun;
    this.#isBusy = true;
    one("hits-more").hidden = isFirst;
    try {
      for (let fresh = 0; !fresh && this.#hasMore;) {
        const found = await this.#ask();
        if (turn !== this.#turn) return; // another search has begun
        if (isFirst) this.#begin(found);
        this.#hasBegun = true;
        this.#next = found.next;
        this.#hasMore = found.has_more;
        fresh = this.#hits.add(found.hits);
        if (isFirst) break;
      }
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#hasMore = false;
      one("everywhere-found").textContent = "";
      throw error;
    } finally {
      if (turn === this.#turn) {
        this.#isBusy = false;
        one("hits-more").hidden = true;
      }
    }
    this.#count();
    if (isFirst) this.#say(one("everywhere-found").textContent);
  }

  // The hits that follow those that are listed. A server that no longer keeps the search is asked for all of them.
  async #ask() {
    if (!this.#hasBegun) return api.searchLibrary({ ...this.#request, top_k: FIRST });
    try {
      return await api.searchOn({ next: this.#next, top_k: PART });
    } catch (error) {
      if (error.status !== 410) throw error;
      return api.searchLibrary({ ...this.#request, top_k: Math.min(this.#hits.count + PART, MOST) });
    }
  }

  #begin(found) {
    this.#hits.clear();
    one("everywhere-notes").replaceChildren(
      ...[...found.notes, ...found.model_notes].map((text) => make("p", { class: "note" }, text)),
    );
    one("everywhere-found").dataset.videos = found.videos;
  }

  #count() {
    const videos = counted(Number(one("everywhere-found").dataset.videos), "video");
    const moments = counted(this.#hits.count, "moment");
    const text = this.#hits.count ? `${this.#hasMore ? "The best " : ""}${moments} of ${videos}` : "Nothing found.";
    one("everywhere-found").textContent = text;
  }

  #play(hit) {
    const isOther = this.#playing?.video_id !== hit.video_id;
    this.#playing = hit;
    one("hit-player").hidden = false;
    one("everywhere-body").classList.add("plays");
    one("hit-title").replaceChildren(breakable(hit.name));
    one("hit-when").textContent = [`${timecode(hit.start_s)} – ${timecode(hit.end_s)}`, hit.folder].filter(Boolean).join(" · ");
    if (isOther) {
      for (const id of ["hit-still", "hit-trouble"]) one(id).hidden = true;
      one("hit-video").hidden = false;
      this.#player.load(api.fileAddress(hit.video_id), hit.duration_s);
    }
    if (!this.#player.isPlayable) this.#showStill();
    this.#player.playMoment(hit.start_s, hit.end_s);
  }

  // Where the browser cannot play a video, a picture of the moment stands in its place.
  #showStill() {
    const { video_id: id, start_s: start, end_s: end } = this.#playing;
    one("hit-still").src = api.stillAddress(id, (start + end) / 2);
    one("hit-still").alt = `The picture at ${timecode((start + end) / 2)}`;
    for (const shown of ["hit-still", "hit-trouble"]) one(shown).hidden = false;
    one("hit-video").hidden = true;
  }

  // Shows how many videos can be searched, again and again while some are being added.
  async #look() {
    clearTimeout(this.#looking);
    try {
      if (document.visibilityState === "visible") this.#showState(await api.getLibrary());
    } finally {
      clearTimeout(this.#looking);
      if (this.#isOpen) this.#looking = setTimeout(() => this.#look().catch(() => {}), STATE_MS);
    }
  }

  #showState(state) {
    const { videos, searchable, following, adding, failed } = state;
    const missing = videos - searchable - failed.length;
    setText("library-state", searchable === videos && !adding ? `All of ${counted(videos, "video")}` : `${searchable} of ${counted(videos, "video")} can be searched`);
    one("library-add").hidden = following || missing < 1;
    one("library-add").textContent = `Add ${missing === 1 ? "the other one" : `the other ${missing}`}`;
    if (!searchable) one("library-add").textContent = missing === 1 ? "Make it searchable" : `Make all ${missing} searchable`;
    one("library-adding").hidden = !adding;
    if (adding) {
      one("library-bar").value = adding.progress;
      const left = adding.eta_s === null ? "" : `, about ${remaining(adding.eta_s)} left`;
      setText("library-progress", `Watching ${adding.done + (adding.done < adding.total ? 1 : 0)} of ${counted(adding.total, "video")}${left}`);
    }
    const troubles = [...(state.error ? [state.error] : []), ...failed.map(({ name, error }) => `${name}: ${error}`)];
    one("library-failed").hidden = !troubles.length;
    setText("library-failed-title", state.error ? "Videos cannot be added" : `${counted(failed.length, "video")} cannot be searched`);
    setText("library-failed-text", troubles.join("\n"));
  }
}

function setText(id, text) {
  if (one(id).textContent !== text) one(id).textContent = text;
}

function remaining(seconds) {
  if (seconds < 90) return counted(Math.max(Math.round(seconds), 1), "second");
  if (seconds < 5400) return counted(Math.round(seconds / 60), "minute");
  return counted(Math.round(seconds / 3600), "hour");
}

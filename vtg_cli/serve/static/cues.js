// What is said and written: a track for each stream under the chart, the words at the pointer or at the position, and a
// list of all of them. The words come from strangers, and go in as text.

import { draw, isolated, make, rove } from "./dom.js";
import { counted, timecode } from "./format.js";

const ACROSS = 10000; // of a track, across
const CUE_HEIGHT = 12; // pixels
const MOST_LISTED = 2000;

export class CueTracks {
  #root;
  #onPlay;
  #onSeek;
  #tracks = [];
  #duration = 1;
  #time = 0;
  #pointed = null; // a cue
  #rows = make("div", { class: "cue-rows" });
  #caption = make("p", { class: "caption" });
  #list = make("ol", { class: "cue-list" });
  #summary = make("summary");
  #details = make("details", {}, this.#summary, this.#list);
  #enter = rove(this.#list, "button");

  constructor(root, { onPlay, onSeek }) {
    this.#root = root;
    this.#onPlay = onPlay;
    this.#onSeek = onSeek;
    root.replaceChildren(this.#rows, this.#caption, this.#details);
    this.#details.addEventListener("toggle", () => this.#fillList());
    this.#list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.#play(this.#tracks[Number(button.dataset.track)].cues[Number(button.dataset.cue)]);
    });
    this.#listen();
  }

  // `tracks` are streams with `name`, `source` and `cues`, these in order of time; without any, nothing is shown.
  show(duration, tracks = []) {
    this.#duration = Math.max(duration, 0.001);
    this.#tracks = tracks;
    this.#pointed = null;
    this.#root.hidden = !tracks.length;
    this.#rows.replaceChildren(...tracks.map((track) => this.#row(track)));
    this.#details.open = false;
    this.#list.replaceChildren();
    const count = tracks.reduce((sum, track) => sum + track.cues.length, 0);
    this.#summary.textContent = `All that is said and written: ${counted(count, "line")}`;
    this.#tell();
  }

  setTime(time) {
    this.#time = time;
    if (!this.#pointed) this.#tell();
  }

  #row(track) {
    const drawn = draw("svg", {
      width: "100%", height: CUE_HEIGHT, viewBox: `0 0 ${ACROSS} ${CUE_HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true",
    }, draw("path", { class: "cue", d: outline(track.cues, this.#duration) }));
    return make("div", { class: "cue-row" }, drawn);
  }

  #play(cue) {
    this.#onPlay(cue.start_s, cue.end_s);
  }

  #tell() {
    const cue = this.#pointed ?? this.#at(this.#time);
    if (!cue) {
      this.#caption.replaceChildren();
      return;
    }
    const { name } = this.#tracks.find((track) => track.cues.includes(cue));
    this.#caption.replaceChildren(
      make("span", { class: "hint" }, `${timecode(cue.start_s)} `), isolated(cue.text), " ",
      make("span", { class: "hint" }, isolated(name)),
    );
  }

  // The cue at a time: of the first track that has one there.
  #at(time) {
    for (const { cues } of this.#tracks) {
      const cue = cueAt(cues, time, 0);
      if (cue) return cue;
    }
    return null;
  }

  #listen() {
    const under = (event) => {
      const row = event.target.closest(".cue-row");
      if (!row) return {};
      const box = row.getBoundingClientRect();
      const time = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.#duration;
      const { cues } = this.#tracks[[...this.#rows.children].indexOf(row)];
      // A cue of a long video is narrower than a pointer.
      return { time, cue: cueAt(cues, time, (3 * this.#duration) / box.width) };
    };
    this.#rows.addEventListener("pointermove", (event) => {
      this.#pointed = under(event).cue ?? null;
      this.#rows.classList.toggle("over", this.#pointed !== null);
      this.#tell();
    });
    this.#rows.addEventListener("pointerleave", () => {
      this.#pointed = null;
      this.#tell();
    });
    this.#rows.addEventListener("click", (event) => {
      const { time, cue } = under(event);
      if (cue) this.#play(cue);
      else if (time !== undefined) this.#onSeek(time);
    });
  }

  #fillList() {
    if (!this.#details.open || this.#list.children.length) return;
    const all = this.#tracks.flatMap(({ cues }, track) => cues.map((cue, at) => ({ cue, at, track })));
    all.sort((a, b) => a.cue.start_s - b.cue.start_s);
    this.#list.replaceChildren(...all.slice(0, MOST_LISTED).map(({ cue, at, track }) => make(
      "li", {}, make(
        "button", { type: "button", tabindex: "-1", "data-track": track, "data-cue": at },
        make("span", { class: "hint" }, timecode(cue.start_s)), " ", isolated(cue.text),
      ),
    )));
    if (all.length > MOST_LISTED) {
      this.#list.append(make("li", { class: "hint" }, `and ${all.length - MOST_LISTED} more, on the track above`));
    }
    this.#enter();
  }
}

// The cue at a time, or else the nearest within some seconds; cues are in order of their starts and may overlap.
function cueAt(cues, time, reach) {
  let low = 0, high = cues.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cues[middle].start_s <= time) low = middle + 1;
    else high = middle;
  }
  const near = cues.slice(Math.max(low - 8, 0), low + 1);
  const away = (cue) => Math.max(cue.start_s - time, time - cue.end_s, 0);
  const best = near.reduce((a, b) => (a && away(a) < away(b) ? a : b), null);
  return best && away(best) <= reach ? best : null;
}

// The outline of a track, in no more parts than can be seen.
function outline(cues, duration) {
  const parts = [];
  let end = -1;
  for (const cue of cues) {
    const from = Math.max(Math.round((ACROSS * cue.start_s) / duration), end);
    const to = Math.max(Math.min(Math.round((ACROSS * cue.end_s) / duration) - 5, ACROSS), from + 5);
    if (to <= end || from >= ACROSS) continue;
    parts.push(`M${from} 1H${to}V${CUE_HEIGHT - 1}H${from}Z`);
    end = to + 5;
  }
  return parts.join("");
}

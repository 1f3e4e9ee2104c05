// The moments of many videos, best first: a list that grows while it is scrolled, as far as there are any.

import { thumbnailAddress } from "./api.js";
import { isolated, make, one } from "./dom.js";
import { timecode } from "./format.js";
import { Rows } from "./rows.js";

const AHEAD = 24; // hits below the last in sight that should be there, so that nobody waits for them

export class Hits {
  #hits = [];
  #rows;
  #current = -1;
  #onPlay;
  #seen = new Set();

  // `onEnd` is called when the end of what is known is near.
  constructor({ onPlay, onEnd }) {
    this.#onPlay = onPlay;
    this.#rows = new Rows(one("hits"), {
      entry: (hit) => this.#entry(hit),
      keyOf: nameOf,
      onSight: (last) => {
        // Of the first few hits half are enough: most people look no further.
        if (last + Math.min(AHEAD, this.#hits.length / 2) >= this.#hits.length) onEnd();
      },
    });
    one("hits").addEventListener("click", (event) => {
      const at = this.#rows.indexOf(event.target);
      if (at >= 0) this.play(at);
    });
  }

  get count() {
    return this.#hits.length;
  }

  clear() {
    this.#hits = [];
    this.#seen.clear();
    this.#current = -1;
    this.#rows.show([]);
    this.#rows.mark(null);
  }

  // Adds those that are not there yet. A search for more hits looks into more videos, so some may rank before others
  // that are on the page already; these stay where they are.
  add(hits) {
    const fresh = hits.filter((hit) => !this.#seen.has(nameOf(hit)));
    for (const hit of fresh) this.#seen.add(nameOf(hit));
    this.#hits = [...this.#hits, ...fresh];
    this.#rows.show(this.#hits);
    return fresh.length;
  }

  play(at) {
    const hit = this.#hits[at];
    if (!hit) return;
    this.#current = at;
    this.#rows.mark(nameOf(hit));
    this.#onPlay(hit);
  }

  // The next hit in the list, or the previous one.
  step(by) {
    const at = this.#current + by;
    if (at < 0 || at >= this.#hits.length) return;
    this.play(at);
    this.#rows.focus(at, { preventScroll: true });
    this.#rows.button(at).scrollIntoView({ block: "nearest" });
  }

  #entry(hit) {
    const picture = make("img", {
      src: thumbnailAddress(hit.video_id, (hit.start_s + hit.end_s) / 2), alt: "", loading: "lazy", width: 128, height: 72,
    });
    picture.addEventListener("error", () => picture.classList.add("missing"));
    const unclear = hit.clear_match === false;
    const fill = make("span", { class: "fill" });
    // The words that it was found by, if it was.
    const quote = hit.text === undefined ? [] : [make(
      "span", { class: "hit-quote", title: `${hit.stream}: ${hit.text}` },
      hit.source === "screen" ? "Written: " : "Said: ", isolated(`“${hit.text}”`),
    )];
    fill.style.width = `${(100 * Math.min(Math.max(hit.score, 0), 1)).toFixed(1)}%`;
    return make(
      "button", { type: "button", class: ["hit", ...(unclear ? ["unclear"] : []), ...(quote.length ? ["quoted"] : [])].join(" "), tabindex: "-1" },
      make("span", { class: "hit-picture" }, picture),
      make("span", { class: "hit-name", title: hit.name }, isolated(hit.name)),
      make("span", { class: "when" }, `${timecode(hit.start_s)} – ${timecode(hit.end_s)}`),
      ...quote,
      make(
        "span", { class: "score", title: unclear ? "No clear match" : "How well it matches, from 0 to 1" },
        make("span", { class: "meter" }, fill), make("span", { class: "unseen" }, unclear ? " no clear match, score " : " score "),
        hit.score.toFixed(2),
      ),
    );
  }
}

const nameOf = (hit) => `${hit.video_id} ${hit.start_s} ${hit.end_s}`;

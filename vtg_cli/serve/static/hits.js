// The moments of many videos, best first: a list that grows while it is scrolled, as far as there are any.

import { thumbnailAddress } from "./api.js";
import { breakable, make, one, rove } from "./dom.js";
import { timecode } from "./format.js";

const STEP = 24; // hits that are added to the page at once
const AHEAD = "600px"; // of the end of the list, from where on it grows; more would search for more hits before anybody scrolls

export class Hits {
  #hits = [];
  #shown = 0;
  #current = -1;
  #onPlay;
  #onEnd;
  #updateTabStop;
  #observer;
  #seen = new Set();

  // `onEnd` is called when the end of what is known is near.
  constructor({ onPlay, onEnd }) {
    this.#onPlay = onPlay;
    this.#onEnd = onEnd;
    this.#updateTabStop = rove(one("hits"), "button.hit");
    one("hits").addEventListener("click", (event) => {
      const button = event.target.closest("button.hit");
      if (button) this.play(Number(button.dataset.at));
    });
    this.#observer = new IntersectionObserver((entries) => {
      if (entries.at(-1).isIntersecting) this.#grow();
    }, { rootMargin: `0px 0px ${AHEAD} 0px` });
  }

  get count() {
    return this.#hits.length;
  }

  clear() {
    this.#hits = [];
    this.#seen.clear();
    this.#shown = 0;
    this.#current = -1;
    one("hits").replaceChildren();
  }

  // Adds those that are not there yet. A search for more hits looks into more videos, so some may rank before others
  // that are on the page already; these stay where they are.
  add(hits) {
    const fresh = hits.filter((hit) => !this.#seen.has(nameOf(hit)));
    for (const hit of fresh) this.#seen.add(nameOf(hit));
    this.#hits.push(...fresh);
    if (!this.#shown) this.#append();
    this.#watch();
    return fresh.length;
  }

  play(at) {
    const hit = this.#hits[at];
    if (!hit) return;
    while (this.#shown <= at) this.#append();
    this.#button(this.#current)?.removeAttribute("aria-current");
    this.#current = at;
    this.#button(at).setAttribute("aria-current", "true");
    this.#onPlay(hit);
  }

  // The next hit in the list, or the previous one.
  step(by) {
    const at = this.#current + by;
    if (at < 0 || at >= this.#hits.length) return;
    this.play(at);
    this.#button(at).focus({ preventScroll: true });
    this.#button(at).scrollIntoView({ block: "nearest" });
  }

  #button(at) {
    return one("hits").children[at]?.firstElementChild;
  }

  // An observer reports only what comes into sight or leaves it. Where the end stays in sight, it has to begin again.
  #watch() {
    this.#observer.unobserve(one("hits-end"));
    this.#observer.observe(one("hits-end"));
  }

  // In pieces, so that each leaves time for a frame.
  #grow() {
    if (this.#shown < this.#hits.length) {
      this.#append();
      this.#watch();
    } else if (this.#shown) {
      this.#onEnd();
    }
  }

  #append() {
    const next = this.#hits.slice(this.#shown, this.#shown + STEP);
    one("hits").append(...next.map((hit, k) => make("li", {}, this.#entry(hit, this.#shown + k))));
    const isFirst = this.#shown === 0;
    this.#shown += next.length;
    if (isFirst) this.#updateTabStop();
  }

  #entry(hit, at) {
    const picture = make("img", {
      src: thumbnailAddress(hit.video_id, (hit.start_s + hit.end_s) / 2), alt: "", loading: "lazy", width: 128, height: 72,
    });
    picture.addEventListener("error", () => picture.classList.add("missing"));
    const unclear = hit.clear_match === false;
    const fill = make("span", { class: "fill" });
    fill.style.width = `${(100 * Math.min(Math.max(hit.score, 0), 1)).toFixed(1)}%`;
    return make(
      "button", { type: "button", class: unclear ? "hit unclear" : "hit", tabindex: "-1", "data-at": at },
      make("span", { class: "hit-picture" }, picture),
      make("span", { class: "hit-name", title: hit.name }, breakable(hit.name)),
      make("span", { class: "when" }, `${timecode(hit.start_s)} – ${timecode(hit.end_s)}`),
      make(
        "span", { class: "score", title: unclear ? "No clear match" : "How well it matches, from 0 to 1" },
        make("span", { class: "meter" }, fill), make("span", { class: "unseen" }, unclear ? " no clear match, score " : " score "),
        hit.score.toFixed(2),
      ),
    );
  }
}

const nameOf = (hit) => `${hit.video_id} ${hit.start_s} ${hit.end_s}`;

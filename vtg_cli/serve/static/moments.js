// The moments found, best first, a list for each search; and which searches the chart shows.

import { isolated, make, one, rove } from "./dom.js";
import { counted, letter, look, timecode } from "./format.js";
import { marked } from "./marked.js";

export class Moments {
  #results = [];
  #hidden = new Set();
  #onPlay;
  #onToggle;
  #pictureOf;
  #nothing;
  #updateTabStop;
  #buttons = [];

  // `pictureOf(query, at)` is the address of a moment's picture, if there is one; `nothing` stands for an empty list.
  constructor({ onPlay, onToggle, pictureOf, nothing }) {
    this.#onPlay = onPlay;
    this.#onToggle = onToggle;
    this.#pictureOf = pictureOf;
    this.#nothing = nothing;
    this.#updateTabStop = rove(one("answers"), "button.moment");
    one("answers").addEventListener("click", (event) => {
      const button = event.target.closest("button.moment");
      if (button) this.play(Number(button.dataset.query), Number(button.dataset.rank) - 1);
    });
  }

  clear({ waiting = 0 } = {}) {
    this.#results = [];
    this.#buttons = [];
    one("legend").replaceChildren();
    one("answers").replaceChildren(...Array.from({ length: waiting }, () => make("div", { class: "skeleton" })));
  }

  show(results) {
    this.#results = results;
    this.#hidden.clear();
    const several = results.length > 1;
    one("answers").replaceChildren(...results.map((result, number) => this.#answer(result, number, several)));
    one("legend").replaceChildren(...(several ? results.map((result, number) => this.#key(result, number)) : []));
    this.#buttons = [...one("answers").querySelectorAll("button.moment")];
    this.#updateTabStop();
  }

  play(number, at) {
    const { start_s: start, end_s: end } = this.#results[number].moments[at];
    this.#onPlay(start, end);
  }

  setTime(time) {
    for (const button of this.#buttons) {
      const { start_s: start, end_s: end } = this.#moment(button);
      const inside = time >= start && time < end;
      if (inside === button.hasAttribute("aria-current")) continue;
      if (inside) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  // The next or the previous start in the video, over all searches that are shown.
  neighbour(time, step) {
    const starts = this.#results.flatMap((result, number) => (this.#hidden.has(number) ? [] : result.moments))
      .map((moment) => moment.start_s).sort((a, b) => a - b);
    return step > 0 ? starts.find((start) => start > time + 0.05) : starts.findLast((start) => start < time - 0.5);
  }

  // Of the first search that is shown and has so many.
  buttonOfRank(rank) {
    return this.#buttons.find((button) => button.dataset.rank === rank && !this.#hidden.has(Number(button.dataset.query)));
  }

  summary() {
    return counted(this.#results.reduce((sum, result) => sum + result.moments.length, 0), "moment");
  }

  #moment(button) {
    return this.#results[Number(button.dataset.query)].moments[Number(button.dataset.rank) - 1];
  }

  #answer(result, number, several) {
    const badge = several ? [make("span", { class: "badge" }, letter(number))] : [];
    const title = make("h3", {}, ...badge, isolated(result.query));
    const items = result.moments.map((moment, at) => make("li", {}, this.#button(moment, number, at)));
    const body = items.length ? make("ol", {}, ...items) : make("p", { class: "hint" }, this.#nothing);
    return make("section", { class: `answer ${look(number)}`, "data-query": number }, title, body);
  }

  #button(moment, number, at) {
    const picture = make("img", { src: this.#pictureOf(number, at), alt: "", loading: "lazy", width: 72, height: 41 });
    if (!picture.hasAttribute("src")) picture.classList.add("missing");
    picture.addEventListener("error", () => picture.classList.add("missing"));
    const fill = make("span", { class: "fill" });
    const unclear = moment.clear_match === false;
    fill.style.width = `${(100 * Math.min(Math.max(moment.score, 0), 1)).toFixed(1)}%`;
    // The words that it was found by, if it was.
    const quote = moment.text === undefined ? [] : [make(
      "span", { class: "quote", title: moment.stream }, make("bdi", {}, ...marked(moment.text, this.#results[number].query)),
    )];
    return make(
      "button",
      {
        type: "button", class: unclear ? "moment unclear" : "moment", tabindex: "-1", "data-query": number, "data-rank": at + 1,
        "data-start": moment.start_s, "data-end": moment.end_s,
      },
      make("span", { class: "rank-number" }, make("span", { class: "unseen" }, "Moment "), String(at + 1)),
      picture,
      make(
        "span", { class: "when" }, `${timecode(moment.start_s)} – ${timecode(moment.end_s)}`,
        make("span", { class: "length" }, `${(moment.end_s - moment.start_s).toFixed(1)} s`),
      ),
      ...quote,
      make(
        "span", { class: "score", title: unclear ? "No clear match" : "How well it matches, from 0 to 1" },
        make("span", { class: "meter" }, fill), make("span", { class: "unseen" }, unclear ? " no clear match, score " : " score "),
        moment.score.toFixed(2),
      ),
    );
  }

  #key(result, number) {
    const swatch = make("span", { class: "badge" }, letter(number));
    const key = make("button", { type: "button", class: look(number), "aria-pressed": "true", title: result.query },
      swatch, make("span", { class: "key-text" }, isolated(result.query)));
    key.addEventListener("click", () => {
      const shown = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(shown));
      if (shown) this.#hidden.delete(number);
      else this.#hidden.add(number);
      this.#onToggle(number, shown);
    });
    return key;
  }
}

// The moments found, best first, a list a search; and which searches the chart shows.

import { exportAddress, thumbnailAddress } from "./api.js";
import { isolated, make, one, rove } from "./dom.js";
import { counted, letter, look, timecode } from "./format.js";
import { keep, recall } from "./memory.js";

const DISMISSED = "vtg-dismissed"; // what was said of the model, and was read

export class Moments {
  #results = [];
  #hidden = new Set();
  #onPlay;
  #onToggle;
  #settle;
  #formats = [];
  #buttons = [];

  constructor({ onPlay, onToggle }) {
    this.#onPlay = onPlay;
    this.#onToggle = onToggle;
    this.#settle = rove(one("answers"), "button.moment");
    one("answers").addEventListener("click", (event) => {
      const button = event.target.closest("button.moment");
      if (button) this.play(Number(button.dataset.query), Number(button.dataset.at));
    });
    const menu = one("save-button");
    menu.addEventListener("click", () => this.#openMenu(one("save-list").hidden));
    one("save").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || one("save-list").hidden) return;
      event.stopPropagation();
      this.#openMenu(false);
      menu.focus();
    });
    document.addEventListener("pointerdown", (event) => {
      if (!one("save").contains(event.target)) this.#openMenu(false);
    });
    one("save").addEventListener("focusout", (event) => {
      if (event.relatedTarget && !one("save").contains(event.relatedTarget)) this.#openMenu(false);
    });
    rove(one("save-list"), "a");
    one("about-close").addEventListener("click", () => {
      keep(DISMISSED, one("about-text").textContent);
      one("about").hidden = true;
      one("answers").querySelector("button.moment[tabindex='0']")?.focus();
    });
  }

  setFormats(formats) {
    this.#formats = formats;
  }

  // With nothing found yet, or while a search runs.
  clear(hint, { waiting = 0 } = {}) {
    this.#results = [];
    this.#buttons = [];
    one("save").hidden = true;
    one("work").classList.remove("found");
    one("results-hint").hidden = false;
    one("results-hint").textContent = hint;
    one("notes").replaceChildren();
    one("about").hidden = true;
    one("legend").replaceChildren();
    one("answers").replaceChildren(...Array.from({ length: waiting }, () => make("div", { class: "skeleton" })));
  }

  show(job) {
    this.#results = job.results;
    this.#hidden.clear();
    one("results-hint").hidden = true;
    one("work").classList.add("found");
    one("notes").replaceChildren(...job.notes.map((text) => make("p", { class: "note" }, text)));
    this.#tellAbout(job);
    const several = this.#results.length > 1;
    one("answers").replaceChildren(...this.#results.map((result, number) => this.#answer(job, result, number, several)));
    one("legend").replaceChildren(...(several ? this.#results.map((result, number) => this.#key(result, number)) : []));
    this.#buttons = [...one("answers").querySelectorAll("button.moment")];
    this.#settle();
    one("save").hidden = !this.#formats.length;
    one("save-list").replaceChildren(...this.#formats.map((format) => this.#link(job, format)));
  }

  // What holds for every answer of the model takes one line, and none once it has been dismissed.
  #tellAbout(job) {
    const text = job.model_notes.join(" ");
    one("about").hidden = !text || recall(DISMISSED) === text;
    one("about-title").textContent = `Found with ${job.results[0].features.join(" + ")} features`;
    one("about-text").textContent = text;
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

  summary() {
    return counted(this.#results.reduce((sum, result) => sum + result.moments.length, 0), "moment");
  }

  #moment(button) {
    return this.#results[Number(button.dataset.query)].moments[Number(button.dataset.at)];
  }

  #answer(job, result, number, several) {
    const badge = several ? [make("span", { class: "badge" }, letter(number))] : [];
    const title = make("h3", {}, ...badge, isolated(result.query));
    const items = result.moments.map((moment, at) => make("li", {}, this.#button(job, moment, number, at)));
    const body = items.length
      ? make("ol", {}, ...items)
      : make("p", { class: "hint" }, "Nothing scores that high. Lower the score under Options, or say it differently.");
    return make("section", { class: `answer ${look(number)}` }, title, body);
  }

  #button(job, moment, number, at) {
    const picture = make("img", {
      src: thumbnailAddress(job.video_id, (moment.start_s + moment.end_s) / 2), alt: "", loading: "lazy", width: 72, height: 41,
    });
    picture.addEventListener("error", () => picture.classList.add("missing"));
    const fill = make("span", { class: "fill" });
    fill.style.width = `${(100 * Math.min(Math.max(moment.score, 0), 1)).toFixed(1)}%`;
    const button = make(
      "button", { type: "button", class: "moment", tabindex: "-1" },
      make("span", { class: "rank-number" }, make("span", { class: "unseen" }, "Moment "), String(at + 1)),
      picture,
      make(
        "span", { class: "when" }, `${timecode(moment.start_s)} – ${timecode(moment.end_s)}`,
        make("span", { class: "length" }, `${(moment.end_s - moment.start_s).toFixed(1)} s`),
      ),
      make(
        "span", { class: "score", title: "How well it matches, from 0 to 1" },
        make("span", { class: "meter" }, fill), make("span", { class: "unseen" }, " score "), moment.score.toFixed(2),
      ),
    );
    button.dataset.query = number;
    button.dataset.at = at;
    button.dataset.start = moment.start_s;
    button.dataset.end = moment.end_s;
    return button;
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

  #link(job, format) {
    const link = make(
      "a", { href: exportAddress(job.id, format.name), download: true, tabindex: "-1" },
      make("span", {}, format.label), make("span", { class: "ending" }, format.ending),
    );
    link.dataset.format = format.name;
    return make("li", {}, link);
  }

  #openMenu(open) {
    one("save-list").hidden = !open;
    one("save-button").setAttribute("aria-expanded", String(open));
    if (!open) return;
    const links = [...one("save-list").querySelectorAll("a")];
    links.forEach((link, at) => (link.tabIndex = at === 0 ? 0 : -1));
    links[0]?.focus();
  }
}

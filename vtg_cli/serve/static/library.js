// The list of videos: choosing, filtering, and sending new ones.

import { thumbnailAddress, upload } from "./api.js";
import { breakable, isolated, make, one } from "./dom.js";
import { clock, counted } from "./format.js";
import { Rows } from "./rows.js";

const FILTER_FROM = 8; // videos

export class Library {
  #videos = [];
  #rows;
  #onChoose;
  #onUploaded;
  #onError;
  #queue = Promise.resolve();

  constructor({ onChoose, onUploaded, onError }) {
    this.#onChoose = onChoose;
    this.#onUploaded = onUploaded;
    this.#onError = onError;
    this.#rows = new Rows(one("video-list"), {
      scroller: one("videos"), entry: (video) => this.#entry(video), keyOf: (video) => video.id,
    });
    one("filter").addEventListener("input", () => {
      one("videos").scrollTop = 0;
      this.#filter();
    });
    this.#listenToKeys();
    one("videos").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.#onChoose(button.dataset.id);
    });
    const file = one("file");
    for (const id of ["choose", "choose-first"]) one(id).addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.add(file.files);
      file.value = "";
    });
    one("library-toggle").addEventListener("click", () => this.collapse(!one("library").classList.contains("collapsed")));
    this.#listenToDrops();
    one("video-list").replaceChildren(...Array.from({ length: 3 }, () => make("li", { class: "skeleton" })));
  }

  show(videos) {
    this.#videos = videos;
    one("count").textContent = videos.length || "";
    one("filter").hidden = videos.length < FILTER_FROM;
    this.#filter({ still: true });
  }

  mark(id) {
    this.#rows.mark(id);
  }

  // On phones the list makes room for the video once one is chosen.
  collapse(collapsed) {
    const focused = one("library-body").contains(document.activeElement);
    one("library").classList.toggle("collapsed", collapsed);
    one("library-toggle").setAttribute("aria-expanded", String(!collapsed));
    one("library-toggle").textContent = collapsed ? "Show all" : "Hide";
    // Where there is no toggle, the list stays, and so does the focus.
    if (focused && collapsed) one("library-toggle").focus();
  }

  add(files) {
    const batch = { isFirst: true };
    for (const file of files) {
      const card = new Upload(file);
      one("uploads").append(card.node);
      // One after the other: each gets the whole line, and a failure stops none of the rest.
      this.#queue = this.#queue.then(() => this.#send(file, card, batch));
    }
  }

  async #send(file, card, batch) {
    try {
      const sent = await card.send(file);
      if (!sent) return;
      const { isFirst } = batch;
      batch.isFirst = false;
      await this.#onUploaded(sent.video, { isNew: sent.isNew, isFirst });
    } catch (error) {
      if (error.message) this.#onError(`${file.name} was not added. ${error.message}`);
    } finally {
      card.node.remove();
    }
  }

  #entry(video) {
    const picture = make("img", {
      src: thumbnailAddress(video.id, Math.min(video.duration_s / 10, 30)), alt: "", loading: "lazy", width: 80, height: 45,
    });
    // An empty frame says more than a broken picture.
    picture.addEventListener("error", () => picture.classList.add("missing"));
    const name = make("span", { class: "video-name", title: video.name }, breakable(video.name));
    const length = make("span", { class: "length" }, clock(video.duration_s));
    const button = make("button", { type: "button", tabindex: "-1" }, name, make("span", { class: "picture" }, picture, length));
    button.dataset.id = video.id;
    return button;
  }

  #filter(options) {
    const words = one("filter").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const left = this.#videos.filter(({ name }) => words.every((word) => name.toLocaleLowerCase().includes(word)));
    this.#rows.show(left, options);
    const hint = one("library-hint");
    hint.hidden = left.length > 0 || !this.#videos.length;
    hint.textContent = `None of ${counted(this.#videos.length, "video")} is called that.`;
  }

  #listenToKeys() {
    const filter = one("filter");
    filter.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "ArrowDown"].includes(event.key) || !this.#rows.count) return;
      event.preventDefault();
      if (event.key === "Enter") this.#onChoose(this.#rows.button(0).dataset.id);
      else this.#rows.focus(0);
    });
    // Before the list hears of it.
    one("videos").addEventListener("keydown", (event) => {
      if (event.key !== "ArrowUp" || this.#rows.indexOf(event.target) !== 0 || filter.hidden) return;
      event.preventDefault();
      event.stopPropagation();
      filter.focus();
    }, { capture: true });
  }

  #listenToDrops() {
    const shade = one("drop");
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0; // the pointer enters and leaves every element on its way
    window.addEventListener("dragenter", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      depth += 1;
      shade.hidden = false;
    });
    window.addEventListener("dragover", (event) => {
      if (carries(event)) event.preventDefault();
    });
    window.addEventListener("dragleave", () => {
      depth = Math.max(depth - 1, 0);
      shade.hidden = depth === 0;
    });
    window.addEventListener("drop", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      depth = 0;
      shade.hidden = true;
      this.add(event.dataTransfer.files);
    });
  }
}

class Upload {
  #bar = make("progress", { max: 1, value: 0 });
  #state = make("span", {}, "Waiting");
  #abort = make("button", { type: "button", class: "quiet" }, "Stop");
  #sending = null;
  #stopped = false;

  constructor(file) {
    this.#bar.setAttribute("aria-label", `Adding ${file.name}`);
    this.#abort.setAttribute("aria-label", `Stop adding ${file.name}`);
    this.#abort.addEventListener("click", () => {
      this.#stopped = true;
      if (this.#sending) this.#sending.abort();
      else this.node.remove();
    });
    this.node = make(
      "li", {}, make("span", { class: "video-name" }, isolated(file.name)), this.#bar,
      make("span", { class: "upload-state" }, this.#state, this.#abort),
    );
  }

  async send(file) {
    if (this.#stopped) return null;
    this.#sending = upload(file, (share) => {
      this.#bar.value = share;
      this.#state.textContent = share < 1 ? `${Math.floor(100 * share)} %` : "Checking the video";
    });
    return this.#sending.done;
  }
}

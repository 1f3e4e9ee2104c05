// The list of videos: choosing, filtering, and sending new ones.

import { thumbnailAddress, upload } from "./api.js";
import { breakable, isolated, make, one, rove } from "./dom.js";
import { clock, counted } from "./format.js";

const FILTER_FROM = 8; // videos

export class Library {
  #videos = [];
  #items = new Map(); // of the list, by what they show
  #current = null;
  #onChoose;
  #onUploaded;
  #onError;
  #updateTabStop;
  #queue = Promise.resolve();

  constructor({ onChoose, onUploaded, onError }) {
    this.#onChoose = onChoose;
    this.#onUploaded = onUploaded;
    this.#onError = onError;
    this.#updateTabStop = rove(one("videos"), "button");
    one("filter").addEventListener("input", () => this.#filter());
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
    one("videos").replaceChildren(...Array.from({ length: 3 }, () => make("li", { class: "skeleton" })));
  }

  show(videos) {
    if (JSON.stringify(videos) === JSON.stringify(this.#videos) && !one("videos").querySelector(".skeleton")) return;
    const list = one("videos");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const stay = this.#holdStill();
    const before = this.#items;
    this.#items = new Map(videos.map((video) => {
      const key = JSON.stringify(video);
      return [key, before.get(key) ?? make("li", {}, this.#entry(video))];
    }));
    this.#videos = videos;
    one("count").textContent = videos.length || "";
    one("filter").hidden = videos.length < FILTER_FROM;
    // Only what comes or goes is touched, so that the rest stays under the finger that is on it.
    const kept = new Set(this.#items.values());
    for (const item of [...list.children]) if (!kept.has(item)) item.remove();
    let next = list.firstElementChild;
    for (const item of kept) {
      if (item === next) next = next.nextElementSibling;
      else list.insertBefore(item, next);
    }
    this.mark(this.#current);
    this.#filter();
    stay();
    if (focused && !list.contains(document.activeElement)) {
      (list.querySelector(`[data-id="${CSS.escape(focused)}"]`) ?? list.querySelector("[tabindex='0']"))?.focus();
    }
  }

  // Keeps the videos that are in sight where they are, whatever comes or goes above them.
  #holdStill() {
    const list = one("videos"), top = list.getBoundingClientRect().top;
    const seen = [...list.children].filter((item) => item.getBoundingClientRect().bottom > top).slice(0, 20)
      .map((item) => [item, item.getBoundingClientRect().top]);
    return () => {
      const [item, before] = seen.find(([other]) => other.isConnected && !other.hidden) ?? [];
      if (item && list.scrollTop > 0) list.scrollTop += item.getBoundingClientRect().top - before;
    };
  }

  mark(id) {
    this.#current = id;
    for (const button of one("videos").querySelectorAll("button")) {
      if (button.dataset.id === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.#updateTabStop();
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

  #filter() {
    const words = one("filter").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    [...one("videos").children].forEach((item, at) => {
      const name = this.#videos[at].name.toLocaleLowerCase();
      item.hidden = !words.every((word) => name.includes(word));
      if (!item.hidden) left += 1;
    });
    const hint = one("library-hint");
    hint.hidden = left > 0 || !this.#videos.length;
    hint.textContent = `None of ${counted(this.#videos.length, "video")} is called that.`;
    this.#updateTabStop();
  }

  #listenToKeys() {
    const filter = one("filter"), list = one("videos");
    const first = () => list.querySelector("li:not([hidden]) button");
    filter.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "ArrowDown"].includes(event.key) || !first()) return;
      event.preventDefault();
      if (event.key === "Enter") this.#onChoose(first().dataset.id);
      else first().focus();
    });
    list.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowUp" || event.target !== first() || filter.hidden) return;
      event.preventDefault();
      event.stopPropagation();
      filter.focus();
    });
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

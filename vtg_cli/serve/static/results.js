// What stands around the moments of a finished search: notes, a word on the model, and the menu of files to save.

import { exportAddress } from "./api.js";
import { make, one, rove } from "./dom.js";
import { keep, recall } from "./memory.js";

const DISMISSED = "vtg-dismissed"; // what was said of the model, and was read

export class Results {
  #formats = [];

  constructor() {
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

  // With nothing found yet, or while a search runs; no hint is shown then.
  clear(hint = "") {
    one("save").hidden = true;
    one("work").classList.remove("found");
    one("results-hint").hidden = !hint;
    one("results-hint").textContent = hint;
    one("notes").replaceChildren();
    one("about").hidden = true;
  }

  show(job) {
    one("results-hint").hidden = true;
    one("work").classList.add("found");
    one("notes").replaceChildren(...job.notes.map((text) => make("p", { class: "note" }, text)));
    // What holds for every answer of the model takes one line, and none once it has been dismissed.
    const text = job.model_notes.join(" ");
    one("about").hidden = !text || recall(DISMISSED) === text;
    one("about-title").textContent = `Found with ${job.results[0].features.join(" + ")} features`;
    one("about-text").textContent = text;
    one("save").hidden = !this.#formats.length;
    one("save-list").replaceChildren(...this.#formats.map((format) => this.#link(job, format)));
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

// What to look for, a row a search, and how far the search is.

import { make, one } from "./dom.js";

const MOST = 20, LONGEST = 500;
const EXAMPLE = "a cat looks into the camera";
const STAGES = {
  waiting: "Waiting for its turn",
  extracting: "Watching the video, which is needed only once",
  grounding: "Looking for moments",
  done: "Ready",
};

export class Find {
  constructor({ onFind, onCancel }) {
    const form = one("form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (one("find").getAttribute("aria-disabled") === "true") return;
      const request = this.#read();
      if (request) onFind(request);
    });
    one("add").addEventListener("click", () => this.#append("").focus());
    one("clear").addEventListener("click", () => {
      this.fill([""]);
      this.focus();
    });
    one("cancel").addEventListener("click", () => {
      one("cancel").textContent = "Cancelling…";
      onCancel();
    });
    this.fill([""]);
  }

  fill(queries) {
    one("rows").replaceChildren();
    for (const query of queries) this.#append(query);
    this.#complain("");
  }

  isBlank() {
    return this.#inputs().every((input) => !input.value.trim());
  }

  hasFocus() {
    return one("rows").contains(document.activeElement);
  }

  focus() {
    const first = this.#inputs()[0];
    first.focus();
    first.select();
  }

  // Where the search stands; null when none runs.
  progress(job) {
    const running = job !== null;
    one("progress").hidden = !running;
    one("find").setAttribute("aria-disabled", String(running));
    one("find").textContent = running ? "Finding…" : "Find";
    if (!running) {
      one("cancel").textContent = "Cancel";
      return;
    }
    const stage = STAGES[job.state === "queued" ? "waiting" : job.stage] ?? "Working";
    if (one("stage").textContent !== stage) one("stage").textContent = stage;
    one("percent").textContent = job.state === "queued" ? "" : `${Math.round(100 * job.progress)} %`;
    one("bar").value = job.progress;
    return stage;
  }

  #inputs() {
    return [...one("rows").querySelectorAll("input")];
  }

  #read() {
    const queries = this.#inputs().map((input) => input.value.trim()).filter(Boolean);
    if (!queries.length) {
      this.#complain("Say what to look for first.");
      this.focus();
      return null;
    }
    const topK = one("top-k"), threshold = one("threshold");
    for (const field of [topK, threshold]) {
      if (field.checkValidity() && field.value !== "") continue;
      field.closest("details").open = true;
      field.focus();
      this.#complain(
        field === topK ? "Moments for each search: a whole number from 1 to 100." : "Leave out scores below: a number from 0 to 1.",
      );
      return null;
    }
    this.#complain("");
    return { queries, top_k: Number(topK.value), threshold: Number(threshold.value) };
  }

  #complain(text) {
    const problem = one("problem");
    problem.hidden = !text;
    problem.textContent = text;
    for (const input of this.#inputs()) {
      if (text && !input.value.trim()) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }

  #append(query, after = null) {
    const input = make("input", {
      type: "text", maxlength: LONGEST, autocomplete: "off", dir: "auto", enterkeyhint: "search",
      "aria-describedby": "problem", placeholder: this.#inputs().length ? "" : EXAMPLE,
    });
    input.value = query;
    const remove = make("button", { type: "button", class: "quiet icon" }, "×");
    const row = make("div", { class: "query-row" }, input, remove);
    remove.addEventListener("click", () => {
      const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("input");
      row.remove();
      this.#number();
      next?.focus();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#append("", row)?.focus();
    });
    input.addEventListener("paste", (event) => {
      const lines = event.clipboardData.getData("text").split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
      if (lines.length < 2) return;
      event.preventDefault();
      if (!input.value.trim()) input.value = lines.shift().slice(0, LONGEST);
      let last = row;
      for (const line of lines) {
        const added = this.#append(line.slice(0, LONGEST), last);
        if (!added) break;
        last = added.closest(".query-row");
      }
    });
    if (this.#inputs().length >= MOST) return null;
    if (after) after.after(row);
    else one("rows").append(row);
    this.#number();
    return input;
  }

  #number() {
    const inputs = this.#inputs();
    inputs.forEach((input, at) => {
      const remove = input.nextElementSibling;
      input.setAttribute("aria-label", inputs.length > 1 ? `Search ${at + 1}` : "What to look for");
      remove.setAttribute("aria-label", `Remove search ${at + 1}`);
      remove.hidden = inputs.length === 1;
    });
    one("add").hidden = inputs.length >= MOST;
    one("clear").hidden = inputs.length === 1;
  }
}

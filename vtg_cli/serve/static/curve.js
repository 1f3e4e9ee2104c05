// The chart under the player: how well each part of the video matches each search, the moments, and the position.

import { draw, make } from "./dom.js";
import { clock, letter, look, timecode } from "./format.js";

const HEIGHT = 128, LANE = 18, MOST_LANES = 4, AXIS = 22; // pixels
const UNITS = 10000; // of the drawing, across
const STEPS = 2000; // points a line has at most, whatever the video's length
const TICKS_S = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
];

export class Curve {
  #root;
  #onSeek;
  #onMoment;
  #duration = 1;
  #results = [];
  #hint = "";
  #hidden = new Set();
  #time = 0;
  #playhead = make("div", { class: "playhead" });
  #cross = make("div", { class: "cross", hidden: true });
  #readout = make("div", { class: "readout", hidden: true });

  constructor(root, { onSeek, onMoment }) {
    this.#root = root;
    this.#onSeek = onSeek;
    this.#onMoment = onMoment;
    this.#listen();
    let width = 0;
    new ResizeObserver(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      this.#redraw();
    }).observe(root);
  }

  show(duration, results = [], hint = "How well each part matches will show here") {
    this.#duration = Math.max(duration, 0.001);
    this.#results = results;
    this.#hint = hint;
    this.#hidden.clear();
    this.#root.setAttribute("aria-valuemax", duration.toFixed(1));
    this.#redraw();
  }

  toggle(number, shown) {
    if (shown) this.#hidden.delete(number);
    else this.#hidden.add(number);
    this.#redraw();
  }

  setTime(time) {
    this.#time = time;
    this.#playhead.style.left = this.#across(time);
    this.#root.setAttribute("aria-valuenow", time.toFixed(1));
    this.#root.setAttribute("aria-valuetext", timecode(time));
  }

  #across(time) {
    return `${(100 * Math.min(Math.max(time / this.#duration, 0), 1)).toFixed(3)}%`;
  }

  #shown() {
    return this.#results.map((result, number) => ({ result, number })).filter(({ number }) => !this.#hidden.has(number));
  }

  #redraw() {
    const shown = this.#shown();
    const range = scoreRange(shown.map(({ result }) => result.saliency.scores));
    const rows = shown.map(({ result }) => lanes(result.moments, this.#duration));
    let bottom = HEIGHT + 4;
    const tops = rows.map((of) => {
      const top = bottom;
      bottom += of.length ? (Math.max(...of) + 1) * LANE : 0;
      return top;
    });
    const picture = draw("svg", { width: "100%", height: bottom + AXIS, "aria-hidden": "true" });
    for (const share of [0, 0.5, 1]) {
      const y = HEIGHT - share * (HEIGHT - 8) - 0.5;
      picture.append(draw("line", { class: share ? "grid" : "axis", x1: 0, x2: "100%", y1: y, y2: y }));
    }
    for (const { result, number } of shown) picture.append(this.#bands(result, number));
    for (const [start, end] of this.#results[0]?.damaged_s ?? []) {
      const place = this.#place({ start_s: start, end_s: end });
      picture.append(draw("rect", { class: "damage", ...place, y: HEIGHT - 5, height: 5 }));
    }
    for (const { result, number } of shown) picture.append(this.#line(result, number, range, shown.length === 1));
    if (this.#results.length > 1) picture.append(...this.#letters(shown, range));
    shown.forEach(({ result, number }, at) => picture.append(this.#bars(result, number, rows[at], tops[at])));
    picture.append(...this.#ticks(bottom + AXIS - 6));
    this.#playhead.style.height = `${bottom}px`;
    this.#cross.style.height = `${HEIGHT}px`;
    const parts = [picture, this.#playhead, this.#cross, this.#readout];
    if (!this.#results.length) parts.push(make("p", { class: "chart-hint" }, this.#hint));
    this.#root.replaceChildren(...parts);
    this.setTime(this.#time);
  }

  #bands(result, number) {
    const group = draw("g", { class: look(number) });
    for (const moment of result.moments) {
      // Fainter the worse: five bands of equal weight would hide which one counts.
      const weight = 0.03 + 0.13 * Math.min(Math.max(moment.score, 0), 1);
      const band = draw("rect", { class: "band", ...this.#place(moment), y: 0, height: HEIGHT });
      band.setAttribute("fill-opacity", weight.toFixed(3));
      group.append(band);
    }
    return group;
  }

  #place(moment) {
    return { x: this.#across(moment.start_s), width: this.#across(moment.end_s - moment.start_s) };
  }

  #line(result, number, range, alone) {
    const points = path(result, this.#duration, range);
    const stretched = draw("svg", {
      class: look(number), width: "100%", height: HEIGHT, viewBox: `0 0 ${UNITS} ${HEIGHT}`, preserveAspectRatio: "none",
    });
    if (!points.length) return stretched;
    const line = points.map(([x, y]) => `${x} ${y}`).join("L");
    if (alone) {
      stretched.append(draw("path", { class: "under", d: `M${points[0][0]} ${HEIGHT}L${line}L${points.at(-1)[0]} ${HEIGHT}Z` }));
    }
    stretched.append(draw("path", { class: "line", d: `M${line}` }));
    return stretched;
  }

  // At the peak of each line its letter, moved aside where another stands already.
  #letters(shown, range) {
    const taken = [];
    const width = this.#root.clientWidth || 600;
    return shown.filter(({ result }) => result.saliency.scores.length).map(({ result, number }) => {
      const points = path(result, this.#duration, range);
      const [x, y] = points.reduce((best, point) => (point[1] < best[1] ? point : best));
      const place = { x: Math.min(Math.max((x / UNITS) * width, 9), width - 9), y: Math.max(y - 1, 9) };
      const meets = () => taken.some((other) => Math.abs(other.x - place.x) < 18 && Math.abs(other.y - place.y) < 17);
      while (meets() && place.y < HEIGHT - 10) place.y += 17;
      taken.push(place);
      const at = `${(100 * place.x) / width}%`;
      return draw(
        "g", { class: look(number) },
        draw("circle", { class: "tag", cx: at, cy: place.y, r: 8 }),
        draw("text", { class: "tag-letter", x: at, y: place.y + 3.5, "text-anchor": "middle" }, letter(number)),
      );
    });
  }

  #bars(result, number, rows, top) {
    const group = draw("g", { class: look(number) });
    // Best last, so that it lies on top where more overlap than there are lanes.
    for (let at = result.moments.length - 1; at >= 0; at -= 1) {
      const moment = result.moments[at], unclear = moment.clear_match === false;
      const best = at === 0 && !unclear ? " best" : "";
      const y = top + rows[at] * LANE;
      const name = this.#results.length > 1 ? `${letter(number)}${at + 1}` : `${at + 1}`;
      const bar = draw("rect", { class: `bar${best}${unclear ? " unclear" : ""}`, ...this.#place(moment), y: y + 1, height: LANE - 3, rx: 3 });
      bar.dataset.query = number;
      bar.dataset.rank = at + 1;
      group.append(bar, draw("text", { class: `rank${best}`, x: this.#across(moment.start_s), dx: 4, y: y + 12.5 }, name));
    }
    return group;
  }

  #ticks(y) {
    const most = (this.#root.clientWidth || 600) < 500 ? 5 : 10;
    const step = TICKS_S.find((seconds) => this.#duration / seconds <= most) ?? this.#duration / most;
    const texts = [];
    for (let time = 0, k = 0; time <= this.#duration * (1 + 1e-6); k += 1, time = k * step) {
      const anchor = time === 0 ? "start" : time > 0.95 * this.#duration ? "end" : "middle";
      const label = step < 1 ? timecode(time) : clock(time);
      texts.push(draw("text", { class: "tick", x: this.#across(time), y, "text-anchor": anchor }, label));
    }
    return texts;
  }

  #listen() {
    const root = this.#root;
    let dragging = false;
    const under = (event) => {
      const box = root.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.#duration;
    };
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const bar = event.target.closest(".bar");
      if (bar) {
        this.#onMoment(Number(bar.dataset.query), Number(bar.dataset.rank) - 1);
        return;
      }
      dragging = true;
      root.setPointerCapture(event.pointerId);
      this.#onSeek(under(event));
    });
    root.addEventListener("pointermove", (event) => {
      const time = under(event);
      if (dragging) this.#onSeek(time);
      if (event.pointerType === "mouse") this.#read(time);
    });
    for (const kind of ["pointerup", "pointercancel"]) root.addEventListener(kind, () => (dragging = false));
    root.addEventListener("pointerleave", () => {
      this.#cross.hidden = true;
      this.#readout.hidden = true;
    });
    root.addEventListener("keydown", (event) => {
      const steps = {
        ArrowLeft: this.#time - 5, ArrowRight: this.#time + 5, ArrowDown: this.#time - 1, ArrowUp: this.#time + 1,
        PageDown: this.#time - this.#duration / 10, PageUp: this.#time + this.#duration / 10,
        Home: 0, End: this.#duration,
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(steps, event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      this.#onSeek(steps[event.key]);
    });
  }

  // What the lines say at the pointer.
  #read(time) {
    const lines = this.#shown().filter(({ result }) => result.saliency.scores.length).map(({ result, number }) => {
      const { scores, clip_length_s: length } = result.saliency;
      const score = scores[Math.min(Math.floor(time / length), scores.length - 1)];
      const name = this.#results.length > 1 ? `${letter(number)} ` : "match ";
      return make("span", { class: look(number) }, name, make("b", {}, score.toFixed(2)));
    });
    this.#readout.replaceChildren(make("span", {}, timecode(time)), ...lines);
    this.#cross.hidden = false;
    this.#readout.hidden = false;
    this.#cross.style.left = this.#across(time);
    const share = time / this.#duration, width = this.#readout.offsetWidth, whole = this.#root.clientWidth;
    this.#readout.style.left = `${Math.min(Math.max(share * whole - width / 2, 0), Math.max(whole - width, 0))}px`;
  }
}

// 0 and 1 if all scores lie between them, else their minimum and maximum; one scale, so that lines can be compared.
function scoreRange(curves) {
  let low = 0, high = 1;
  const all = curves.filter((scores) => scores.length);
  if (all.some((scores) => scores.some((score) => score < 0 || score > 1))) {
    low = Math.min(...all.map((scores) => scores.reduce((a, b) => Math.min(a, b))));
    high = Math.max(...all.map((scores) => scores.reduce((a, b) => Math.max(a, b))));
  }
  return { low, high: high > low ? high : low + 1 };
}

// Points of a line: the middle of each clip; of a long curve, the highest of several clips.
function path(result, duration, { low, high }) {
  const { scores, clip_length_s: length } = result.saliency;
  const stride = Math.ceil(scores.length / STEPS) || 1;
  const points = [];
  for (let at = 0; at < scores.length; at += stride) {
    const clips = scores.slice(at, at + stride);
    const share = (Math.max(...clips) - low) / (high - low);
    const middle = Math.min(((at + clips.length / 2) * length) / duration, 1);
    points.push([Math.round(UNITS * middle), Number((HEIGHT - 0.5 - share * (HEIGHT - 8)).toFixed(1))]);
  }
  if (!points.length) return points;
  return [[0, points[0][1]], ...points, [UNITS, points.at(-1)[1]]];
}

// The row in which each moment is marked, so that none hides another: the first where it overlaps no better one.
function lanes(moments, duration) {
  const taken = Array.from({ length: MOST_LANES }, () => []);
  return moments.map((moment) => {
    const start = moment.start_s, end = Math.max(moment.end_s, start + duration / 25);
    const free = taken.findIndex((spans) => spans.every(([a, b]) => end <= a || b <= start));
    const row = free < 0 ? MOST_LANES - 1 : free;
    taken[row].push([start, end]);
    return row;
  });
}

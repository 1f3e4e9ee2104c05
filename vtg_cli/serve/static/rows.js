// A long list whose rows are all of one height. Only those near what is in sight are on the page, so that neither
// scrolling nor a change takes longer where there are more. Each stands at its place by its index, and says which of how
// many it is. The list is one stop of the Tab key; arrows, Home and End go on from row to row.

import { make } from "./dom.js";

const AROUND = 40; // rows on either side of those in sight
const AT_ONCE = 8; // rows out of sight that are made for one frame

export class Rows {
  #list;
  #scroller;
  #entry;
  #keyOf;
  #onSight;
  #items = [];
  #places = new Map(); // indices, by the key of the item
  #shown = new Map(); // what is on the page, by the same
  #current = null; // the key of the item that is chosen
  #stop = null; // that of the item which the Tab key enters
  #frame = 0;

  // `entry` makes the button of an item, and `keyOf` tells items apart. `onSight` is given the index of the last row in
  // sight. Without a `scroller` the list scrolls with the page.
  constructor(list, { scroller = null, entry, keyOf, onSight = () => {} }) {
    this.#list = list;
    this.#scroller = scroller;
    this.#entry = entry;
    this.#keyOf = keyOf;
    this.#onSight = onSight;
    const later = () => this.#later();
    (scroller ?? window).addEventListener("scroll", later, { passive: true });
    window.addEventListener("resize", later);
    new ResizeObserver(later).observe(scroller ?? list);
    list.addEventListener("focusin", (event) => this.#enter(event.target.closest("button")));
    list.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = this.indexOf(event.target);
      const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.#items.length - 1 }[event.key];
      if (at < 0 || next === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.focus(next);
    });
  }

  get count() {
    return this.#items.length;
  }

  // The index of the row that an element of the page belongs to; -1 if it is none.
  indexOf(element) {
    return Number(element?.closest("button[data-at]")?.dataset.at ?? -1);
  }

  // Shows other items. With `still`, the rows in sight stay where they are, whatever comes or goes above them.
  show(items, { still = false } = {}) {
    const focused = this.indexOf(this.#list.querySelector(":focus"));
    const key = focused < 0 ? null : this.#keyOf(this.#items[focused]);
    const stay = still ? this.#holdStill() : () => {};
    this.#items = items;
    this.#places = new Map(items.map((item, at) => [this.#keyOf(item), at]));
    this.#list.style.setProperty("--count", items.length);
    if (!this.#places.has(this.#stop)) this.#stop = null;
    for (const other of this.#list.querySelectorAll(".skeleton")) other.remove();
    stay();
    this.#render();
    if (key !== null && !this.#list.querySelector(":focus")) {
      this.focus(this.#places.get(key) ?? Math.min(focused, items.length - 1));
    }
  }

  // Chooses the item with a key; null for none.
  mark(key) {
    this.#current = key;
    this.#stop = key;
    this.#render();
  }

  // The button at an index; it is put on the page if need be.
  button(at) {
    const key = this.#items[at] && this.#keyOf(this.#items[at]);
    if (key === undefined) return null;
    if (!this.#shown.has(key)) {
      this.#stop = key;
      this.#render();
    }
    return this.#shown.get(key).row.firstElementChild;
  }

  focus(at, options) {
    this.button(at)?.focus(options);
  }

  #enter(button) {
    if (!button) return;
    this.#stop = this.#keyOf(this.#items[this.indexOf(button)]);
    this.#markStop();
  }

  #markStop() {
    const entered = this.#entered();
    for (const { row, at } of this.#shown.values()) row.firstElementChild.tabIndex = at === entered ? 0 : -1;
  }

  // The index of the row that the Tab key enters.
  #entered() {
    return this.#places.get(this.#stop) ?? this.#places.get(this.#current) ?? 0;
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  // The height of a row, and the first and the last index in sight. What is hidden shows its beginning as soon as it is seen.
  #inSight() {
    const most = this.#items.length - 1;
    const { top, height } = this.#list.getBoundingClientRect();
    const row = height / this.#items.length;
    if (!(row > 0)) return [0, 0, 0];
    const view = this.#scroller?.getBoundingClientRect() ?? { top: 0, bottom: innerHeight };
    const index = (y) => Math.min(Math.max(Math.floor((y - top) / row), 0), most);
    return [row, index(Math.max(view.top, 0)), index(Math.min(view.bottom, innerHeight))];
  }

  #holdStill() {
    const [row, first] = this.#inSight();
    const seen = this.#items.slice(first, first + AROUND).map((item, k) => [this.#keyOf(item), first + k]);
    return () => {
      const [key, before] = seen.find(([other]) => this.#places.has(other)) ?? [];
      if (key !== undefined && this.#scroller.scrollTop > 0) this.#scroller.scrollTop += (this.#places.get(key) - before) * row;
    };
  }

  #render() {
    const [height, first, last] = this.#inSight();
    const wanted = this.#wanted(first, last);
    const kept = new Set(wanted.map((at) => this.#keyOf(this.#items[at])));
    for (const [key, { row, item }] of this.#shown) {
      if (!kept.has(key) || !alike(item, this.#items[this.#places.get(key)])) this.#takeAway(key, row);
    }
    let next = this.#list.firstElementChild;
    for (const at of wanted) {
      const row = this.#row(at);
      if (row === next) next = next.nextElementSibling;
      else this.#list.insertBefore(row, next);
    }
    this.#markStop();
    if (height > 0) this.#onSight(last);
  }

  // Indices of the rows that have to be on the page now, in order: those in sight, those the keys go to, and those near,
  // which come little by little.
  #wanted(first, last) {
    const found = new Set([this.#entered(), this.#places.get(this.#current) ?? -1, this.indexOf(this.#list.querySelector(":focus"))]);
    for (let at = first; at <= last; at += 1) found.add(at);
    let made = 0;
    for (let step = 1; step <= AROUND; step += 1) {
      for (const at of [last + step, first - step]) {
        if (at < 0 || at >= this.#items.length || (!this.#shown.has(this.#keyOf(this.#items[at])) && (made += 1) > AT_ONCE)) continue;
        found.add(at);
      }
    }
    if (made > AT_ONCE) this.#later();
    return [...found].filter((at) => at >= 0 && at < this.#items.length).sort((a, b) => a - b);
  }

  #row(at) {
    const item = this.#items[at], key = this.#keyOf(item);
    const shown = this.#shown.get(key) ?? { row: make("li", {}, this.#entry(item)), at: -1, item };
    const { row } = shown, button = row.firstElementChild;
    this.#shown.set(key, shown);
    if (shown.at !== at) {
      shown.at = at;
      button.dataset.at = at;
      row.style.setProperty("--at", at);
      row.setAttribute("aria-posinset", at + 1);
    }
    row.setAttribute("aria-setsize", this.#items.length);
    if (key === this.#current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    return row;
  }

  #takeAway(key, row) {
    // Pictures that nobody will see are not waited for.
    for (const picture of row.querySelectorAll("img")) if (!picture.complete) picture.removeAttribute("src");
    row.remove();
    this.#shown.delete(key);
  }
}

const alike = (one, other) => one === other || JSON.stringify(one) === JSON.stringify(other);

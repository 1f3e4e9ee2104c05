// Making and finding elements. Text goes in as text: nothing that comes from a server or a person is ever markup.

export const one = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// Names and queries may run from right to left; what stands around them does not.
export const isolated = (text) => make("bdi", {}, text);

// A name of a file, broken over lines where its parts end, and inside of a word only where that alone fills a line.
export function breakable(name) {
  const parts = name.replace(/[\s_\-,;&+()[\]]+|\p{Ll}(?=\p{Lu})|\.(?=.*\.)/gu, "$&\0").split("\0");
  return make("bdi", {}, ...parts.flatMap((part, at) => (at ? [make("wbr"), part] : [part])));
}

// A list is one stop of the Tab key; arrows go on from item to item.
export function rove(container, selector) {
  const items = () => [...container.querySelectorAll(selector)].filter((item) => !item.closest("[hidden]"));
  const enter = (item) => {
    for (const other of container.querySelectorAll(`${selector}[tabindex="0"]`)) other.tabIndex = -1;
    item.tabIndex = 0;
  };
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) enter(item);
  });
  container.addEventListener("keydown", (event) => {
    const item = event.target.closest(selector);
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = items(), at = all.indexOf(item);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    all[next]?.focus();
  });
  return () => {
    const all = items();
    const entry = all.find((item) => item.hasAttribute("aria-current")) ?? all[0];
    for (const item of all) item.tabIndex = item === entry ? 0 : -1;
  };
}

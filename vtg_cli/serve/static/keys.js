// Keys that work anywhere on a page, where nothing else takes them.

// `actions()` are functions by the name of their key.
export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    // Text fields are left alone; the player and buttons handle their keys.
    if (target.closest("input, textarea, select")) return;
    if (target.matches("video") && event.key.startsWith("Arrow")) return;
    if (event.key === " " && target.closest("button, a, summary, video")) return;
    const known = actions();
    if (!Object.hasOwn(known, event.key)) return;
    event.preventDefault();
    known[event.key]();
  });
}

export function playerKeys(player, moments) {
  const go = (step) => () => {
    const start = moments.neighbour(player.now(), step);
    if (start !== undefined) player.seek(start);
  };
  return {
    " ": () => player.toggle(),
    n: go(1),
    p: go(-1),
    ArrowLeft: () => player.seek(player.now() - 5),
    ArrowRight: () => player.seek(player.now() + 5),
  };
}

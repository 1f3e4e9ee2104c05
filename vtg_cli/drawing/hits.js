// The page of a search that is written to a file: a click on a moment plays it, in whichever video it is.

import { one, rove } from "./dom.js";
import { Player } from "./player.js";

const buttons = [...one("answers").querySelectorAll("button.moment")];
let current = null;

const player = new Player(one("video"), {
  onTime: () => {},
  onTrouble: () => {
    const { name, source } = current.dataset;
    one("trouble").textContent = `This browser cannot play ${name}: it is not at ${source}, as seen from this page, or its format is not known.`;
    show(false);
  },
});

// Where the video cannot play, the picture of the moment stands in its place.
function show(isPlayable) {
  one("trouble").hidden = isPlayable;
  one("video").hidden = !isPlayable;
  one("still").hidden = isPlayable;
  const picture = current.querySelector("img");
  if (!isPlayable && picture.hasAttribute("src")) one("still").src = picture.src;
}

function choose(button) {
  const isOther = current?.dataset.source !== button.dataset.source;
  current?.removeAttribute("aria-current");
  current = button;
  current.setAttribute("aria-current", "true");
  one("playing").textContent = button.dataset.name;
  if (isOther) {
    show(true);
    player.load(button.dataset.source, Number(button.dataset.duration));
  } else if (!player.isPlayable) {
    show(false);
  }
}

one("answers").addEventListener("click", (event) => {
  const button = event.target.closest("button.moment");
  if (!button) return;
  choose(button);
  player.playMoment(Number(button.dataset.start), Number(button.dataset.end));
});
for (const button of buttons) button.querySelector(".fill").style.width = `${100 * button.dataset.score}%`;
rove(one("answers"), "button.moment")();
if (buttons.length) {
  choose(buttons[0]);
  player.seek(Number(buttons[0].dataset.start));
}

// The page that is written to a file: the answers, their curves, and the video beside it or inside of it.

import { CueTracks } from "./cues.js";
import { Curve } from "./curve.js";
import { one } from "./dom.js";
import { timecode } from "./format.js";
import { listenToKeys, playerKeys } from "./keys.js";
import { Moments } from "./moments.js";
import { Player } from "./player.js";

const CHARACTERS = 1 << 20; // of base64 decoded at a time

const read = (id) => JSON.parse(one(id).textContent);
const answers = read("results").results;
const pictures = read("pictures"); // of each query, of each of its moments
const duration = answers[0].duration_s;

const player = new Player(one("video"), {
  onTime: (time) => {
    curve.setTime(time);
    moments.setTime(time);
    cues.setTime(time);
    if (!player.isPlayable) showStill(time);
  },
  onTrouble: () => {
    one("trouble").hidden = false;
    one("video").hidden = true;
    one("still").hidden = false;
    showStill(player.now());
  },
});
const curve = new Curve(one("chart"), {
  onSeek: (time) => player.seek(time),
  onMoment: (number, at) => moments.play(number, at),
});
const moments = new Moments({
  onPlay: (start) => player.seek(start),
  onToggle: (number, shown) => {
    curve.toggle(number, shown);
    one("answers").children[number].hidden = !shown;
  },
  pictureOf: (number, at) => pictures[number][at],
  nothing: "no moment scores as high as the threshold",
});
const cues = new CueTracks(one("cues"), {
  onPlay: (start, end) => player.playMoment(start, end),
  onSeek: (time) => player.seek(time),
});

// Where the video cannot play: the picture of the moment that the position is in, or the nearest in the strip.
function showStill(time) {
  const strip = one("strip").children;
  const button = one("answers").querySelector("button.moment[aria-current]:has(img[src])");
  const nearest = strip[Math.min(Math.floor((time / duration) * strip.length), strip.length - 1)];
  one("still").src = (button?.querySelector("img") ?? nearest).src;
  one("still").alt = button ? `A picture of the moment at ${timecode(Number(button.dataset.start))}` : nearest.alt;
}

// The address of the video; that of one that is inside of the page is made here.
function source() {
  const packed = one("packed");
  if (!packed) return one("video").getAttribute("src");
  const text = packed.textContent, parts = [];
  for (let at = 0; at < text.length; at += CHARACTERS) {
    parts.push(Uint8Array.from(atob(text.slice(at, at + CHARACTERS)), (character) => character.charCodeAt(0)));
  }
  packed.remove();
  return URL.createObjectURL(new Blob(parts, { type: one("video").dataset.type }));
}

function goToRank(rank) {
  const button = moments.buttonOfRank(rank);
  button?.focus();
  button?.click();
}

curve.show(duration, answers);
moments.show(answers);
cues.show(duration, read("tracks"));
player.load(source(), duration);
listenToKeys(() => ({
  ...playerKeys(player, moments),
  k: () => player.toggle(),
  ...Object.fromEntries([..."123456789"].map((rank) => [rank, () => goToRank(rank)])),
}));

// Numbers as people read them.

// `1:02.5` or `1:00:02.5`: hours if there are any, minutes, seconds to a tenth.
export function timecode(seconds) {
  const tenths = Math.round(seconds * 10);
  const hours = Math.floor(tenths / 36000), minutes = Math.floor(tenths / 600) % 60;
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const clock = (seconds) => timecode(Math.round(seconds)).slice(0, -2);

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0, value = count;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit > 1 && value < 10 ? 1 : 0)} ${units[unit]}`;
}

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function since(date) {
  const seconds = (new Date(date) - Date.now()) / 1000;
  if (seconds > -60) return "just now";
  if (seconds > -3600) return ago.format(Math.ceil(seconds / 60), "minute");
  if (seconds > -86400) return ago.format(Math.ceil(seconds / 3600), "hour");
  return ago.format(Math.ceil(seconds / 86400), "day");
}

// Marks that distinguish searches: a letter, and a colour with a dash pattern.
const COLOURS = 6, DASHES = 6;

export const letter = (number) => String.fromCharCode(65 + (number % 26));

export const look = (number) =>
  `q${(number % COLOURS) + 1} dash${(number + Math.floor(number / COLOURS)) % DASHES}`;

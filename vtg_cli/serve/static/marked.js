// A text with the words of a query marked in it.

import { make } from "./dom.js";

// Words that are in all texts, as where the server looks for words.
const COMMON = new Set(
  ("a about an and any are as at be by can d did do does for from had has have he her him his how i if in into is it its ll m me my " +
    "no not of on or our re s she so t that the their them there they this to us ve was we were what when where which who why will with " +
    "would you your").split(" "),
);
const WORDS = /[\p{L}\p{N}\p{M}]+/gu;

const folded = (word) => word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

// Roughly what all forms of an English word have in common.
const stem = (word) => (word.length > 3 ? word.replace(/(?:ies|ied|ing|ed|es|er|s|y|e)$/, "") : word);

// Nodes: the words that stand in the query, in nearly any form, inside of `mark`; and what is between them.
export function marked(text, query) {
  const all = [...query.matchAll(WORDS)].map(([word]) => folded(word));
  const rare = all.filter((word) => !COMMON.has(word));
  const sought = new Set((rare.length ? rare : all).map(stem));
  const nodes = [];
  let done = 0;
  for (const { 0: word, index } of text.matchAll(WORDS)) {
    if (!sought.has(stem(folded(word)))) continue;
    nodes.push(text.slice(done, index), make("mark", {}, word));
    done = index + word.length;
  }
  return [...nodes, text.slice(done)];
}

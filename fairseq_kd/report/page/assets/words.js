// Words of a translation beside the words of another text.

// A letter of a script without spaces is a word; so is a run of other letters and digits, and each other sign.
const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}]\p{M}*|[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}\p{N}]+)*|[^\s]/gu;
// Longer texts than this are shown without marks: comparing them would take too long.
const LONGEST = 2000;

/** The words of a text, each with its place: {text, start, end}. */
function wordsOf(text) {
  return Array.from(text.matchAll(WORD), (found) => ({
    text: found[0], start: found.index, end: found.index + found[0].length,
  }));
}

/** Lengths of the longest common subsequences of the words from (i, j) on, in rows of other.length + 1. */
function commonLengths(own, other) {
  const width = other.length + 1;
  const lengths = new Uint16Array((own.length + 1) * width);
  for (let i = own.length - 1; i >= 0; i--) {
    for (let j = other.length - 1; j >= 0; j--) {
      const at = i * width + j;
      lengths[at] = own[i].text === other[j].text
        ? lengths[at + width + 1] + 1
        : Math.max(lengths[at + width], lengths[at + 1]);
    }
  }
  return lengths;
}

/**
 * Runs of a text beside another: [kind, the space before it, its words], where the kind is "same", "added" or "missing".
 *
 * "added" words stand only in `text`; "missing" words stand only in `beside`. Without the missing runs, spaces and words give
 * `text` again, but for spaces at its end.
 */
function wordRuns(text, beside) {
  const [own, other] = [wordsOf(text), wordsOf(beside)];
  if (own.length > LONGEST || other.length > LONGEST) return [["same", "", text]];
  const lengths = commonLengths(own, other);
  const width = other.length + 1;
  const runs = [];
  const add = (kind, words, whole, place) => {
    const last = runs[runs.length - 1];
    const gap = whole.slice(place > 0 ? words[place - 1].end : 0, words[place].start);
    if (last && last[0] === kind) last[2] += gap + words[place].text;
    else runs.push([kind, gap, words[place].text]);
  };
  let [i, j] = [0, 0];
  while (i < own.length || j < other.length) {
    const same = i < own.length && j < other.length && own[i].text === other[j].text;
    if (same) {
      add("same", own, text, i++);
      j++;
    } else if (i < own.length && (j === other.length || lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      add("added", own, text, i++);
    } else add("missing", other, beside, j++);
  }
  return runs;
}

/** A text whose differences to `beside` are marked; a null `beside` marks nothing. */
function markedText(text, beside, missing, language) {
  const shown = element("span", { class: "words", dir: "auto", lang: language });
  if (beside === null) shown.append(text);
  else {
    const runs = wordRuns(text, beside).filter(([kind]) => missing || kind !== "missing");
    runs.forEach(([kind, gap, words], place) => {
      // The first word of a text has no space before it, but here another run may stand there.
      const first = place > 0 && gap === "" && (kind === "missing") !== (runs[place - 1][0] === "missing");
      shown.append(first && /^[\p{L}\p{N}]/u.test(words) ? " " : gap);
      shown.append(kind === "same" ? words : element(kind === "added" ? "ins" : "del", {}, words));
    });
  }
  if (!text.trim()) shown.append(element("em", {}, "(empty)"));
  return shown;
}

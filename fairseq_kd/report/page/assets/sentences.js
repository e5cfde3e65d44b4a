// The sentences: source, reference and each row's translation, ordered and filtered.

const AT_ONCE = 20;

/** A generator of numbers from 0 to 1 that a seed determines (mulberry32). */
function randomFrom(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let value = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}

/** 0 to `size` - 1 in a random order. */
function shuffled(size, seed) {
  const random = randomFrom(seed);
  const order = Array.from({ length: size }, (_, place) => place);
  for (let last = size - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

/** What the reader has chosen, and the sentences that follow from it. */
class Sentences {
  constructor(report) {
    this.names = report.names;
    this.texts = report.sentences;
    const beams = Object.keys(this.texts.beams);
    const rows = [...new Set(this.texts.results.map((result) => result.row))].sort((a, b) => a - b);
    this.rows = rows;
    this.teacher = rows.includes(report.teacher) ? report.teacher : rows[0];
    this.state = {
      beam: beams[beams.length - 1], order: "set", search: "", seed: 1, of: "all", against: this.teacher,
      beside: "reference", missing: true, shown: new Set(rows), training: "first",
    };
  }

  /** The result of a row: that of the chosen training seed, or its first. */
  resultOf(row) {
    const own = this.texts.results.map((result, place) => [result, place]).filter(([result]) => result.row === row);
    const chosen = own.find(([result]) => String(result.seed) === this.state.training);
    return (chosen || own[0])[1];
  }

  /** The seed that is shown of a row that lacks the chosen one, in words; "" for all other rows. */
  otherSeed(row) {
    const seed = String(this.texts.results[this.resultOf(row)].seed);
    if (["first", seed].includes(this.state.training)) return "";
    return seed === "null" ? "seed not recorded, " : `seed ${seed}, `;
  }

  /** A row's translation of a sentence. */
  text(row, sentence) {
    return this.texts.beams[this.state.beam].texts[sentence][this.resultOf(row)];
  }

  /** A row's chrF of a sentence, in percent. */
  chrf(row, sentence) {
    return this.texts.beams[this.state.beam].chrf[this.resultOf(row)][sentence];
  }

  /** By how many points of chrF a sentence is worse than that of the row it is measured against. */
  loss(sentence) {
    const { of, against } = this.state;
    const rows = of === "all" ? this.rows.filter((row) => row !== against) : [of];
    if (!rows.length) return 0;
    const mean = rows.reduce((sum, row) => sum + this.chrf(row, sentence), 0) / rows.length;
    return this.chrf(against, sentence) - mean;
  }

  /** How long a sentence is: the letters of its source, or of its reference. */
  length(sentence) {
    return (this.texts.source || this.texts.reference)[sentence].length;
  }

  /** Whether the word searched for stands in the source, the reference or a shown translation. */
  holds(sentence, word) {
    const texts = [this.texts.reference[sentence], ...[...this.state.shown].map((row) => this.text(row, sentence))];
    if (this.texts.source) texts.push(this.texts.source[sentence]);
    return texts.some((text) => text.toLocaleLowerCase().includes(word));
  }

  /** The sentences to show, in their order. */
  found() {
    const size = this.texts.reference.length;
    const { order, search, seed } = this.state;
    let places = order === "random" ? shuffled(size, seed) : Array.from({ length: size }, (_, place) => place);
    const word = search.trim().toLocaleLowerCase();
    if (word) places = places.filter((sentence) => this.holds(sentence, word));
    const value = { loss: (one) => this.loss(one), longest: (one) => this.length(one) }[order];
    if (value) {
      const values = new Map(places.map((sentence) => [sentence, value(sentence)]));
      places.sort((a, b) => values.get(b) - values.get(a) || a - b);
    }
    return places;
  }
}

/** One sentence: a list of its texts. */
function sentenceCard(model, sentence) {
  const { texts, state, names } = model;
  const [from, to] = texts.languages;
  const reference = texts.reference[sentence];
  const lines = element("dl");
  const line = (kind, name, score, text) =>
    lines.append(element("div", { class: kind }, element("dt", {}, name, score === null ? null : element("small", {}, score)), element("dd", {}, text)));
  if (texts.source) line("source", "Source", null, markedText(texts.source[sentence], null, false, from));
  line("reference", "Reference", null, markedText(reference, null, false, to));
  for (const row of model.rows.filter((one) => state.shown.has(one))) {
    const text = model.text(row, sentence);
    const beside = state.beside === "reference" ? reference : state.beside === "none" || Number(state.beside) === row ? null : model.text(Number(state.beside), sentence);
    line("row", names[row], `${model.otherSeed(row)}chrF ${model.chrf(row, sentence).toFixed(1)}`, markedText(text, beside, state.missing, to));
  }
  const loss = state.order === "loss" ? ` · loses ${model.loss(sentence).toFixed(1)} chrF` : "";
  return element("article", { "data-sentence": sentence }, element("h3", {}, `Sentence ${sentence + 1}${loss}`), lines);
}

/** The controls above the sentences; `draw` shows what follows from them. */
function sentenceControls(model, draw) {
  const { state, names, rows, texts } = model;
  const set = (key, read = (value) => value) => (value) => {
    state[key] = read(value);
    draw();
  };
  const named = rows.map((row) => [row, names[row]]);
  const search = element("input", { type: "search", id: "search", placeholder: "a word", oninput: () => set("search")(search.value) });
  const again = element("button", { type: "button", id: "again", onclick: () => set("seed")(state.seed + 1) }, "other random ones");
  const missing = element("input", { type: "checkbox", id: "missing", checked: true, onchange: () => set("missing")(missing.checked) });
  const orders = [["set", "as in the test set"], ["loss", "largest loss first"], ["longest", "longest first"], ["random", "random"]];
  const trainings = [...new Set(texts.results.map((result) => String(result.seed)))];
  const chips = element("div", { class: "chips", role: "group", "aria-label": "rows shown" });
  for (const row of rows) {
    chips.append(chip(names[row], null, null, true, (on) => {
      if (on) state.shown.add(row);
      else state.shown.delete(row);
      draw();
    }));
  }
  const controls = element("div", { class: "controls" },
    element("label", { class: "control" }, element("span", {}, "search"), search),
    choice("order", "order", orders, state.order, set("order")),
    again,
    choice("loss of", "of", [["all", "all other rows, mean"], ...named], state.of, set("of", (value) => (value === "all" ? value : Number(value)))),
    choice("against", "against", named, state.against, set("against", Number)),
    choice("beam", "beam", Object.keys(texts.beams).map((beam) => [beam, beam]), state.beam, set("beam")),
    trainings.length > 1 ? choice("seed", "training", [["first", "first of each row"], ...trainings.map((seed) => [seed, seed])], state.training, set("training")) : null,
    choice("mark words that differ from", "beside", [["reference", "the reference"], ...named, ["none", "nothing"]], state.beside, set("beside")),
    element("label", { class: "control check" }, missing, element("span", {}, "also show missing words")));
  return element("div", {}, controls, chips);
}

/** The section of the sentences. */
function sentenceSection(page, report) {
  if (!report.sentences) return;
  const model = new Sentences(report);
  const list = element("div", { id: "sentence-list" });
  const count = element("p", { id: "count", class: "note", role: "status" });
  const more = element("button", { type: "button", id: "more" });
  let [places, shown] = [[], 0];
  const extend = () => {
    for (const sentence of places.slice(shown, shown + AT_ONCE)) list.append(sentenceCard(model, sentence));
    shown = Math.min(places.length, shown + AT_ONCE);
    more.textContent = `show ${Math.min(AT_ONCE, places.length - shown)} more`;
    more.hidden = shown === places.length;
  };
  const draw = () => {
    list.replaceChildren();
    [places, shown] = [model.found(), 0];
    const all = report.sentences.reference.length.toLocaleString("en");
    count.textContent = `${places.length.toLocaleString("en")} of ${all} sentences`;
    document.getElementById("again").hidden = model.state.order !== "random";
    for (const id of ["of", "against"]) document.getElementById(id).parentNode.hidden = model.state.order !== "loss";
    extend();
  };
  more.addEventListener("click", extend);
  const key = element("p", { class: "note" }, "Marks: ", element("ins", {}, "only here"), ", ", element("del", {}, "only in the text compared with"), ". chrF is of the sentence, in percent.");
  const source = report.sentences.source ? null : element("p", { class: "note" }, "No sources: give the files of evaluate --save-outputs to see them.");
  section(page, "sentences", "Sentences", sentenceControls(model, draw), source, key, count, list, more);
  draw();
}

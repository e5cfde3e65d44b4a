// Tables that a click on a heading sorts. A cell is [value to sort by, text, smaller text]; a cell without a value is last.

/** Compare two cells: 1 for ascending, -1 for descending. */
function compareCells(one, other, direction) {
  const [a, b] = [one[0], other[0]];
  if (a === null || b === null) return (a === null) - (b === null);
  return direction * (typeof a === "string" ? a.localeCompare(b) : a - b);
}

/** The cells of a table's body, in the order of the sorted column. */
function tableBody(rows, sorted, marked) {
  const order = rows.map((_, place) => place);
  if (sorted) order.sort((a, b) => compareCells(rows[a][sorted.column], rows[b][sorted.column], sorted.direction) || a - b);
  const body = element("tbody");
  for (const place of order) {
    const line = element("tr", { class: marked(place) });
    rows[place].forEach((cell, column) => {
      const small = cell[2] ? element("small", {}, cell[2]) : null;
      const kind = typeof cell[0] === "string" ? "text" : "number";
      line.append(element(column === 0 ? "th" : "td", { class: kind, scope: column === 0 ? "row" : null }, cell[1], small));
    });
    body.append(line);
  }
  return body;
}

/**
 * A table whose headings are buttons. Returns the element, and a function that draws it again.
 *
 * `rows` gives the cells, so that a table can change while its order stays; `marked` gives a row's class.
 */
function sortableTable(title, columns, rows, marked = () => "") {
  let sorted = null;
  const table = element("table", { class: "sortable" });
  const draw = () => {
    const head = element("tr");
    columns.forEach((column, place) => {
      const direction = sorted && sorted.column === place ? sorted.direction : 0;
      const sort = direction === 0 ? "none" : direction > 0 ? "ascending" : "descending";
      const button = element("button", { type: "button", title: column.hint || null }, column.label);
      button.addEventListener("click", () => {
        const first = rows().some((row) => typeof row[place][0] === "string") ? 1 : -1;
        sorted = { column: place, direction: direction === 0 ? first : -direction };
        draw();
        table.tHead.rows[0].cells[place].firstChild.focus({ preventScroll: true });
      });
      head.append(element("th", { scope: "col", "aria-sort": sort }, button));
    });
    const caption = element("caption", {}, title);
    table.replaceChildren(caption, element("thead", {}, head), tableBody(rows(), sorted, marked));
  };
  draw();
  return [element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, table), draw];
}

/** A row's difference in BLEU to the baseline and the p of it, as a cell. */
function difference(report, row, baseline, beam) {
  if (row === baseline) return [null, "baseline"];
  for (const [one, other, size, delta, p] of report.pairs) {
    if (size !== beam) continue;
    const sign = one === row && other === baseline ? 1 : one === baseline && other === row ? -1 : 0;
    if (sign) return [sign * delta, signed(sign * delta), `p = ${p.toFixed(3)}`];
  }
  const delta = report.means[beam][row] - report.means[beam][baseline];
  return [delta, signed(delta), "not tested"];
}

/** A number with its sign and two digits. */
function signed(value) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
}

/** The table of scores, with a choice of the baseline above. */
function scoreSection(page, report) {
  const [scores, ...others] = report.tables;
  let baseline = report.baseline;
  const rows = () =>
    scores.rows.map((cells, row) =>
      cells.map((cell, place) => {
        const column = scores.columns[place];
        return column.kind === "delta" ? difference(report, row, baseline, column.beam) : cell;
      }),
    );
  const marked = (row) => (row === baseline ? "baseline" : row === report.teacher ? "teacher" : "");
  const [table, draw] = sortableTable(scores.title, scores.columns, rows, marked);
  const options = report.names.map((name, place) => [place, name]);
  const pick = choice("compare with", "baseline", options, baseline, (value) => {
    baseline = Number(value);
    draw();
  });
  const note = "± is half the width of a 95 % bootstrap interval. p is from a paired bootstrap over the sentences; " +
    "with several seeds it draws sentences and seeds together. It is not corrected for the number of comparisons.";
  const below = (notes) => notes.map((text) => element("p", { class: "note" }, text));
  section(page, "scores", scores.title, element("div", { class: "controls" }, pick), table, ...below([note, ...scores.notes]));
  for (const one of others) {
    const [other] = sortableTable(one.title, one.columns, () => one.rows);
    section(page, one.title.toLowerCase().replace(/[^a-z]+/g, "-"), one.title, other, ...below(one.notes));
  }
}

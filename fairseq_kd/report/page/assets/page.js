// The page: unpack the report and draw its sections.

/** The report in the page, which is JSON, gzipped and in base64. */
async function unpack() {
  const packed = document.getElementById("data").textContent;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Draw all sections. */
function drawReport(report) {
  const page = document.getElementById("page");
  page.replaceChildren(element("h1", {}, report.title), element("nav", { "aria-label": "sections" }));
  if (report.tables.length) scoreSection(page, report);
  pictureSection(page, "speed", "Quality against speed", report.speed);
  pictureSection(page, "gates", "Gates", report.gates);
  pictureSection(page, "risks", "Risks", report.risks);
  report.studies.forEach((study, number) => pictureSection(page, `study-${number + 1}`, study.title, study.pictures));
  sentenceSection(page, report);
  const facts = element("dl", { class: "facts" });
  for (const [label, text] of report.facts) facts.append(element("div", {}, element("dt", {}, label), element("dd", {}, text)));
  section(page, "provenance", "What made this report", facts);
  document.body.dataset.ready = "yes";
}

/** Say in the page why it cannot be drawn. */
function tell(error) {
  const words = typeof DecompressionStream === "undefined" ? "This page needs a browser of 2023 or later." : `The report cannot be drawn: ${error}`;
  document.getElementById("page").append(element("p", { class: "error" }, words));
}

unpack().then(drawReport).catch(tell);

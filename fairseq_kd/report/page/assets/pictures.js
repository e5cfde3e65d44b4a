// Bokeh's pictures, each drawn when it is first shown, with a legend whose names hide and show what they stand for.

/** Hide or show renderers of Bokeh by their ids. */
function setVisible(ids, visible) {
  for (const drawn of Bokeh.documents) {
    for (const id of ids) {
      const model = drawn.get_model_by_id(id);
      if (model) model.visible = visible;
    }
  }
}

/** A picture with its legend and note. */
function drawPicture(place, picture, id) {
  const target = element("div", { id, class: "picture" });
  const legend = element("div", { class: "chips legend", role: "group", "aria-label": "shown in the picture" });
  for (const entry of picture.legend) {
    legend.append(chip(entry.name, entry.marker, entry.colour, true, (on) => setVisible(entry.ids, on)));
  }
  place.replaceChildren(target, legend, element("p", { class: "note" }, picture.note));
  return Bokeh.embed.embed_item(picture.item, id).then((drawn) => {
    target.dataset.drawn = "yes";
    return drawn;
  });
}

/** A section of one or more pictures, and a choice among several. */
function pictureSection(page, id, title, pictures) {
  if (!pictures.length) return;
  const place = element("div");
  let drawn = 0;
  const show = (number) => drawPicture(place, pictures[number], `${id}-picture-${drawn++}`);
  const options = pictures.map((picture, number) => [number, picture.label]);
  const label = { speed: "against", gates: "show" }[id] || "show";
  const pick = choice(label, `${id}-choice`, options, 0, (value) => show(Number(value)));
  section(page, id, title, pictures.length > 1 ? element("div", { class: "controls" }, pick) : null, place);
  show(0);
}

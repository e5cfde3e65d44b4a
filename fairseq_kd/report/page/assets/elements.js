"use strict";
// Elements of the page. Text always enters as a text node: whatever a corpus holds, the browser never reads it as HTML.

/** An element with attributes and children; a child is an element, a text, or null for none. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

/** A labelled choice; `options` are pairs of a value and a text. */
function choice(label, id, options, chosen, changed) {
  const select = element("select", { id, onchange: () => changed(select.value) });
  for (const [value, text] of options) {
    select.append(element("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return element("label", { class: "control" }, element("span", {}, label), select);
}

/** A button that is on or off; `changed` gets its new state. With `marker`, a sign of that shape and colour stands before it. */
function chip(name, marker, colour, on, changed) {
  const mark = marker === null ? null : element("span", { class: `swatch ${marker}`, style: `background:${colour}` });
  const made = element("button", { type: "button", class: "chip", "aria-pressed": String(on) }, mark, name);
  made.addEventListener("click", () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    changed(now);
  });
  return made;
}

/** A section of the page with a heading, and a link to it in the menu. */
function section(page, id, title, ...children) {
  page.append(element("section", { id }, element("h2", {}, title), ...children));
  document.querySelector("nav").append(element("a", { href: `#${id}` }, title));
}

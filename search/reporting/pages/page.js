"use strict";
const source = document.getElementById("figures").textContent;
const paper = {width: 640, scale: 0.8};  // of a figure on a printed page, A4 or letter: pixels, and share of its height
const finePointer = matchMedia("(pointer: fine)").matches;  // a finger scrolls the page, never zooms a figure
let waiting = [];  // figures that are yet to be drawn
let called = false;
function put(id, figure, printed) {
  const place = document.getElementById(id);
  figure.layout.dragmode = finePointer ? "zoom" : false;
  if (printed) {  // its place still has the size that it has on the screen
    figure.layout.width = paper.width;
    figure.layout.height = paper.scale * parseInt(place.style.getPropertyValue("--height"));
  }
  Plotly.react(place, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "resetScale2d"]],
    toImageButtonOptions: {format: "svg", filename: id},
  });
}
function isShown([id]) {
  const box = document.getElementById(id).getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}
function putNext() {  // one at a time, those in the window first: the page can be read and scrolled from the first on
  called = false;
  const [next] = waiting.splice(Math.max(0, waiting.findIndex(isShown)), 1);
  if (next) put(...next);
  if (waiting.length) callSoon();
}
function callSoon() {
  if (!called) setTimeout(putNext);
  called = true;
}
function draw(printed) {
  const style = getComputedStyle(document.documentElement);
  const coloured = source.replace(/"var\((--[a-z0-9-]+)\)"/g, (_, name) =>
    JSON.stringify(style.getPropertyValue(name).trim()));
  const figures = Object.entries(JSON.parse(coloured));
  waiting = printed ? [] : figures;
  if (printed) figures.forEach(([id, figure]) => put(id, figure, true));
  else callSoon();
}
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
matchMedia("print").addEventListener("change", (event) => draw(event.matches));

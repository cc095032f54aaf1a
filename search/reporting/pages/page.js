"use strict";
const source = document.getElementById("figures").textContent;
const paper = {width: 640, scale: 0.8};  // of a figure on a printed page, A4 or letter: pixels, and share of its height
const finePointer = matchMedia("(pointer: fine)").matches;  // a finger scrolls the page, never zooms a figure
function draw(printed) {
  const style = getComputedStyle(document.documentElement);
  const coloured = source.replace(/"var\((--[a-z0-9-]+)\)"/g, (_, name) =>
    JSON.stringify(style.getPropertyValue(name).trim()));
  for (const [id, figure] of Object.entries(JSON.parse(coloured))) {
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
}
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
matchMedia("print").addEventListener("change", (event) => draw(event.matches));

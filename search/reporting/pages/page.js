"use strict";
const source = document.getElementById("figures").textContent;
const finePointer = matchMedia("(pointer: fine)").matches;  // a finger scrolls the page, never zooms a figure
function draw() {
  const style = getComputedStyle(document.documentElement);
  const coloured = source.replace(/"var\((--[a-z0-9-]+)\)"/g, (_, name) =>
    JSON.stringify(style.getPropertyValue(name).trim()));
  for (const [id, figure] of Object.entries(JSON.parse(coloured))) {
    figure.layout.dragmode = finePointer ? "zoom" : false;
    Plotly.react(document.getElementById(id), figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["toImage", "resetScale2d"]],
      toImageButtonOptions: {format: "svg", filename: id},
    });
  }
}
draw();
for (const query of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(query).addEventListener("change", draw);
}

"use strict";

const config = { displayModeBar: false, responsive: true };

for (const place of document.querySelectorAll(".plot")) {
  const { data, layout } = JSON.parse(document.getElementById(place.dataset.plot).textContent);
  Plotly.newPlot(place, data, layout, config);
}

// Paper is narrower than most windows, and when it is measured there is no time to draw again.
const paper = 680; // pixels between the margins, on A4 and on Letter
const relayout = (change) => {
  for (const place of document.querySelectorAll(".plot")) Plotly.relayout(place, change);
};
window.addEventListener("beforeprint", () => relayout({ autosize: false, width: paper }));
window.addEventListener("afterprint", () => relayout({ autosize: true, width: null }));

function compare(one, other) {
  const keys = [one.dataset.key, other.dataset.key];
  if (keys[0] !== undefined && keys[1] !== undefined) return keys[0] - keys[1];
  return one.textContent.localeCompare(other.textContent);
}

function sort(table, head) {
  const column = [...head.parentNode.children].indexOf(head);
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, other) => {
    const cells = [one.cells[column], other.cells[column]];
    // What is missing stays last, whichever way.
    const missing = cells.map((cell) => cell.textContent === "");
    if (missing[0] !== missing[1]) return missing[0] - missing[1];
    return falling ? compare(cells[1], cells[0]) : compare(cells[0], cells[1]);
  });
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    head.querySelector("button").addEventListener("click", () => sort(table, head));
  }
}

"use strict";
// A click on a column's heading sorts the table by this column, and a second click reverses the order. Without scripts, the
// tables keep their order.
function key(cell, number) {
  const text = cell.textContent.trim();
  if (!number) return text;
  const found = text.replaceAll(",", "").replaceAll("−", "-").match(/-?\d+(\.\d+)?(e[+-]?\d+)?/);
  return found ? Number(found[0]) * (text.startsWith("<") ? 0.99 : 1) : NaN;
}
function sort(table, column, descending) {
  const number = table.tHead.rows[0].cells[column].classList.contains("number");
  const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column], number), row]);
  rows.sort(([a], [b]) => {
    if (number && (isNaN(a) || isNaN(b))) return isNaN(a) - isNaN(b); // missing values stay last
    const order = number ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return descending ? -order : order;
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, column, descending);
    });
  });
}
// All that is folded is opened for printing.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
// A click on a figure enlarges it, and a second one makes it fit the page again.
for (const picture of document.querySelectorAll(".picture")) {
  picture.addEventListener("click", () => picture.classList.toggle("large"));
}

// Sorting and filtering of the table of cases. Without it the page shows the same, in the order of the list.
"use strict";
(() => {
  const table = document.querySelector(".cases table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const filters = document.querySelector(".filters");
  const count = document.getElementById("count");
  const search = document.getElementById("search");
  const choices = Array.from(filters.querySelectorAll("select"));
  const texts = rows.map((row) => row.textContent.toLowerCase());

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
  };

  // Numbers by size, words as people sort them; what is not known comes last either way.
  const compare = (one, other, down) => {
    if (one === "" || other === "") return (one === "") - (other === "");
    const a = Number(one), b = Number(other);
    const order = Number.isNaN(a) || Number.isNaN(b)
      ? one.localeCompare(other, undefined, { numeric: true }) : a - b;
    return down ? -order : order;
  };

  const sort = (heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = heading.cellIndex;
    const keys = new Map(rows.map((row, place) => [row, [value(row, column), place]]));
    rows.slice().sort((a, b) => {
      const [one, first] = keys.get(a), [other, second] = keys.get(b);
      return compare(one, other, down) || first - second;
    }).forEach((row) => body.appendChild(row));
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      const fits = words.every((word) => texts[place].includes(word))
        && choices.every((one) => one.value === "" || row.dataset[one.dataset.key] === one.value);
      row.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} of ${rows.length} cases`;
  };

  for (const button of table.tHead.querySelectorAll("button")) {
    button.disabled = false;
    button.addEventListener("click", () => sort(button.closest("th")));
  }
  search.addEventListener("input", filter);
  choices.forEach((one) => one.addEventListener("change", filter));
  for (const link of document.querySelectorAll("a[data-filter]")) {
    link.addEventListener("click", () => {
      choices.forEach((one) => { one.value = one.dataset.key === link.dataset.filter ? link.dataset.value : ""; });
      search.value = "";
      filter();
    });
  }
  filters.hidden = false;
  filter();
})();

"use strict";
const table = document.querySelector("#board table");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];

const isYardstick = (row) => row.dataset.tags.split(" ").includes("yardstick");

// A button in each head sorts by that column; yardsticks stay first, and what was not measured last.
heads.forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.v;
    const numeric = head.classList.contains("r");
    const rows = [...body.rows].sort((a, b) => {
      if (isYardstick(a) || isYardstick(b)) return isYardstick(b) - isYardstick(a);
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return up ? order : -order;
    });
    body.append(...rows);
  });
});

// A row is shown when it has every ticked tag and the typed part of a name; yardsticks always are.
const form = document.querySelector(".filters");
const find = document.getElementById("find");
const shown = document.getElementById("shown");
function choose() {
  const wanted = [...form.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);
  const typed = find.value.trim().toLowerCase();
  let count = 0;
  let all = 0;
  for (const row of body.rows) {
    const tags = row.dataset.tags.split(" ");
    const fits = wanted.every((tag) => tags.includes(tag)) && row.cells[0].dataset.v.toLowerCase().includes(typed);
    row.hidden = !(isYardstick(row) || fits);
    if (isYardstick(row)) continue;
    all += 1;
    if (fits) count += 1;
  }
  shown.value = `${count} of ${all} models, beside the yardsticks`;
}
form.addEventListener("input", choose);
form.addEventListener("reset", () => setTimeout(choose));
form.addEventListener("submit", (event) => event.preventDefault());
choose();

// A table wider than its box says so.
const box = document.getElementById("board");
const cue = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 4);
box.addEventListener("scroll", cue, { passive: true });
new ResizeObserver(cue).observe(box);

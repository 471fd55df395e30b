"use strict";
// Everything from the data reaches the page through textContent: never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
function el(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
function num(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size === 0 || size >= 0.5 * 10 ** -digits) return value.toFixed(digits);
  const oneDigit = value.toExponential(0);
  return size >= 1e-6 ? value.toFixed(-Number(oneDigit.split("e")[1])) : oneDigit;
}

// ---- tables: a button in each head sorts by that column; missing values stay last
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = el("button", "", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("r"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.v;
      const numeric = head.classList.contains("r");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numeric ? Number(x) - Number(y) || 0 : x.localeCompare(y, undefined, { numeric: true });
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}

// ---- charts: the legend hides lines, "zoom" swaps the drawing, pointer or arrow keys read the values at one k
for (const chart of document.querySelectorAll(".chart")) {
  for (const box of chart.querySelectorAll("input[data-series]")) {
    box.addEventListener("change", () => {
      for (const series of chart.querySelectorAll(".series")) {
        if (series.dataset.label === box.dataset.series) series.classList.toggle("off", !box.checked);
      }
    });
  }
  const drawings = { zoom: "zoomed", log: "logged" }; // one of them at a time
  for (const box of chart.querySelectorAll("input.zoom, input.log")) {
    box.closest("label").hidden = false;
    box.addEventListener("change", () => {
      for (const other of chart.querySelectorAll("input.zoom, input.log")) {
        if (other !== box) other.checked = false;
        chart.classList.toggle(drawings[other.className], other.checked);
      }
    });
  }
  readout(chart);
}

function readout(chart) {
  const table = chart.querySelector(".numbers table");
  if (!table) return; // the ladder's figure has its table below it
  const columns = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.k);
  const tip = chart.querySelector(".tip");
  const drawings = [...chart.querySelectorAll("svg[data-read]")];
  const hide = () => {
    tip.hidden = true;
    chart.querySelectorAll(".hit.on").forEach((hit) => hit.classList.remove("on"));
  };
  const show = (hit) => {
    hide();
    hit.classList.add("on");
    const column = columns.indexOf(hit.dataset.k);
    const hidden = new Set([...chart.querySelectorAll("input[data-series]")].filter((box) => !box.checked).map((box) => box.dataset.series));
    const rows = [...table.tBodies[0].rows]
      .map((row) => [row.cells[0].textContent.trim(), row.cells[column].dataset.v, row.cells[column]])
      .filter(([name, value]) => value && !hidden.has(name))
      .sort((a, b) => Number(b[1]) - Number(a[1]));
    tip.replaceChildren(el("b", "", hit.dataset.k === "greedy" ? "greedy" : `k = ${Number(hit.dataset.k).toLocaleString("en")}`));
    for (const [name, , cell] of rows) {
      const line = el("div", "", `${name} `);
      line.append(...[...cell.children].map((part) => part.cloneNode(true)));
      tip.append(line);
    }
    tip.hidden = false;
    const [box, spot] = [chart.getBoundingClientRect(), hit.getBoundingClientRect()];
    const middle = spot.left + spot.width / 2 - box.left;
    const left = middle > box.width / 2 ? middle - tip.offsetWidth - 14 : middle + 14;
    tip.style.left = `${Math.max(0, Math.min(left, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${spot.top - box.top + 8}px`;
  };
  for (const svg of drawings) {
    const hits = [...svg.querySelectorAll(".hit")];
    hits.forEach((hit) => hit.addEventListener("pointerenter", () => show(hit)));
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step || !hits.length) return;
      event.preventDefault();
      const now = hits.findIndex((hit) => hit.classList.contains("on"));
      show(hits[now < 0 ? (step > 0 ? 0 : hits.length - 1) : Math.min(Math.max(now + step, 0), hits.length - 1)]);
    });
  }
}

// ---- tables wider than the screen say so
for (const box of document.querySelectorAll(".scroll")) {
  const cue = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 4);
  box.addEventListener("scroll", cue, { passive: true });
  new ResizeObserver(cue).observe(box);
}

// ---- what is folded on the screen is open on paper
addEventListener("beforeprint", () => document.querySelectorAll("details.plain-words, .verdict details").forEach((part) => (part.open = true)));

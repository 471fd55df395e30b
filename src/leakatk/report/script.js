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
  const zoom = chart.querySelector("input.zoom");
  if (zoom) {
    zoom.closest("label").hidden = false;
    zoom.addEventListener("change", () => chart.classList.toggle("zoomed", zoom.checked));
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

// ---- prompts
const PAGE = 50; // prompts shown at a time
const TEXTS = 12; // texts of a prompt shown at a time
if ($("list")) prompts();

function prompts() {
  const all = data.prompts;
  const haystack = new Map(); // made on the first search, prompt by prompt
  let found = [];
  let shown = 0;
  let wanted = "";

  data.models.forEach((name, i) => $("model").append(new Option(name || "the model", String(i))));
  if (data.models.length > 1) $("model").append(new Option("all models", "all"));
  $("model-box").hidden = data.models.length < 2;
  document.querySelectorAll(".controls, .columns").forEach((part) => (part.hidden = false));

  function matches(p) {
    if (!wanted) return true;
    let hay = haystack.get(p);
    if (hay === undefined) {
      hay = [p.id, p.q, p.a, p.greedy, ...p.groups.map((g) => g[0])].join("\n").toLowerCase();
      haystack.set(p, hay);
    }
    return hay.includes(wanted);
  }
  const greedyLeaks = (p) => p.gs !== null && p.gs >= data.threshold;
  const filters = {
    all: () => true,
    leak: (p) => p.hits > 0,
    clean: (p) => p.hits === 0,
    greedy: greedyLeaks,
    hidden: (p) => p.hits > 0 && !greedyLeaks(p),
  };
  const byText = (a, b) => a.localeCompare(b, undefined, { numeric: true });
  const leakOf = (p) => (p.leak === null ? -1 : p.leak);
  const orders = {
    leak: (a, b) => leakOf(b) - leakOf(a) || b.hits - a.hits || byText(a.id, b.id),
    "-leak": (a, b) => leakOf(a) - leakOf(b) || a.hits - b.hits || byText(a.id, b.id),
    id: (a, b) => byText(a.id, b.id) || a.m - b.m,
    q: (a, b) => byText(a.q, b.q) || a.m - b.m,
  };

  function update() {
    wanted = $("q").value.trim().toLowerCase();
    const model = $("model").value;
    const keep = filters[$("show").value];
    found = all.filter((p) => (model === "all" || p.m === Number(model)) && keep(p) && matches(p)).sort(orders[$("sort").value]);
    shown = 0;
    $("list").replaceChildren();
    more();
    let text = `${found.length.toLocaleString("en")} prompt${found.length === 1 ? "" : "s"}`;
    if (data.omitted) text += ` (${data.omitted.toLocaleString("en")} more are not in this file)`;
    $("count").textContent = text;
  }

  function more() {
    const next = found.slice(shown, shown + PAGE);
    $("list").append(...next.map(view));
    shown += next.length;
    $("more").hidden = shown >= found.length;
    $("more").textContent = `Show more prompts (${(found.length - shown).toLocaleString("en")} left)`;
  }

  function view(p) {
    const box = el("details", "prompt");
    const head = el("summary");
    const leak = el("span", p.leak ? "value" : "value zero", num(p.leak));
    leak.title = `leak@${data.k}`;
    const hits = el("span", "hits", `${p.hits} of ${p.n}`);
    hits.title = "samples that leak";
    const question = el("span", "qtext", p.q);
    question.dir = "auto";
    if ($("model").value === "all") question.append(el("span", "tag", data.models[p.m]));
    head.append(leak, hits, question);
    box.append(head);
    box.fill = () => {
      if (box.childElementCount === 1) box.append(body(p));
    };
    box.addEventListener("toggle", () => box.open && box.fill());
    return box;
  }

  function body(p) {
    const marker = pattern(p);
    const box = el("div", "body");
    const pairs = el("dl", "pair");
    const add = (name, node) => pairs.append(el("dt", "", name), node);
    add("id", el("dd", "", p.id + (data.models.length > 1 ? ` · ${data.models[p.m]}` : "")));
    add("true answer", marked("dd", p.a, marker));
    if (p.greedy || p.gs !== null) {
      const greedy = marked("dd", p.greedy, marker);
      if (p.gs !== null) greedy.firstChild.append(el("span", "tag", `score ${num(p.gs, 2)}`));
      add("greedy", greedy);
    }
    const others = all.filter((o) => o.id === p.id && o !== p);
    if (others.length) add("elsewhere", el("dd", "", others.map((o) => `${data.models[o.m]} ${num(o.leak)}`).join(" · ")));
    box.append(pairs);
    if (!p.groups.length) return box;
    const table = el("table", "groups");
    const row = table.createTHead().insertRow();
    for (const name of ["drawn", "score", "probability", "text"]) {
      const th = el("th", "", name);
      th.scope = "col";
      row.append(th);
    }
    const rows = table.createTBody();
    box.append(table);
    const button = el("button", "morex");
    button.type = "button";
    let done = 0;
    const fill = () => {
      for (const [text, count, score, logprob] of p.groups.slice(done, done + TEXTS)) {
        const tr = rows.insertRow();
        const leaking = score !== null && score >= data.threshold;
        if (leaking) tr.className = "leaking";
        tr.append(el("td", "", `${count}×`), el("td", "", num(score, 2)));
        tr.append(el("td", "", logprob === null ? "–" : num(Math.exp(logprob), 3)));
        const cell = marked("td", text, marker);
        if (leaking) cell.setAttribute("aria-label", `leaks: ${text}`);
        tr.append(cell);
      }
      done = Math.min(done + TEXTS, p.groups.length);
      button.textContent = `Show more texts (${p.groups.length - done} left)`;
      button.hidden = done >= p.groups.length;
    };
    button.addEventListener("click", fill);
    fill();
    box.append(button);
    if (p.distinct > p.groups.length) {
      box.append(el("p", "dim", `${p.distinct - p.groups.length} of ${p.distinct} distinct texts are left out here to keep this file small; the run directory has them all.`));
    }
    return box;
  }

  // What to mark: the facts; without them, words of the answer that are not in the question (softly: a hint, no verdict).
  function pattern(p) {
    const escape = (s) => s.replace(/[.*+?^${}()|[\]\\\/-]/g, "\\$&").replace(/\s+/g, "\\s+");
    let parts = p.facts.filter((f) => f.trim());
    const soft = parts.length === 0;
    if (soft) {
      const known = new Set(p.q.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []);
      parts = [...new Set(p.a.match(/[\p{L}\p{N}]{4,}/gu) || [])].filter((w) => !known.has(w.toLowerCase())).slice(0, 60);
    }
    if (!parts.length) return null;
    parts.sort((a, b) => b.length - a.length);
    const edge = soft ? "(?![\\p{L}\\p{N}])" : "";
    const front = soft ? "(?<![\\p{L}\\p{N}])" : "";
    try {
      return { regex: new RegExp(`${front}(?:${parts.map(escape).join("|")})${edge}`, "giu"), soft };
    } catch {
      return null;
    }
  }

  function marked(tag, text, marker) {
    const node = el(tag);
    const inner = el("div", "text clip");
    inner.dir = "auto";
    node.append(inner);
    if (!text) {
      inner.append(el("span", "dim", "(empty)"));
      return node;
    }
    let last = 0;
    if (marker) {
      for (const hit of text.matchAll(marker.regex)) {
        if (!hit[0]) continue;
        inner.append(text.slice(last, hit.index), el("mark", marker.soft ? "soft" : "", hit[0]));
        last = hit.index + hit[0].length;
      }
    }
    inner.append(text.slice(last));
    return node;
  }

  let timer = 0;
  $("q").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(update, 120);
  });
  for (const id of ["model", "show", "sort"]) $(id).addEventListener("change", update);
  $("more").addEventListener("click", more);
  const openWorst = (count) => {
    for (const box of [...$("list").children].slice(0, count)) {
      box.fill(); // at once: the toggle event comes too late for printing
      box.open = true;
    }
  };
  addEventListener("beforeprint", () => openWorst(5));
  update();
  openWorst(1);
}

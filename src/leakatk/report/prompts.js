// ---- prompts: searched, filtered, by model and way of asking, one model alone or all side by side
const PAGE = 50; // prompts shown at a time
const TEXTS = 12; // texts of a prompt shown at a time
const SIDE = "side";
if ($("list")) prompts();

function prompts() {
  const all = data.prompts;
  const haystack = new Map(); // made on the first search, prompt by prompt
  let found = []; // rows, each a list of prompts: one, or the same one of every model
  let shown = 0;
  let wanted = "";

  data.models.forEach((name, i) => $("model").append(new Option(name || "the model", String(i))));
  if (data.models.length > 1) $("model").append(new Option("all models", "all"), new Option("side by side", SIDE));
  $("model-box").hidden = data.models.length < 2;
  data.probes.forEach((name, i) => $("asked").append(new Option(name || "as they stand", String(i))));
  if (data.probes.length > 1) $("asked").append(new Option("in any way", "all"));
  $("asked-box").hidden = data.probes.length < 2;
  document.querySelectorAll(".controls, .columns").forEach((part) => (part.hidden = false));

  function matches(p) {
    if (!wanted) return true;
    let hay = haystack.get(p);
    if (hay === undefined) {
      const texts = p.groups.flatMap((g) => (g.length > 4 ? [g[0], g[4]] : [g[0]]));
      hay = [p.id, p.mark, p.q, p.a, p.greedy, ...texts].join("\n").toLowerCase();
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

  // Side by side: a row a prompt and way of asking, placed by the first model that is kept of it.
  function together(rows) {
    const same = new Map();
    for (const p of all) {
      const key = `${p.w} ${p.id}`;
      if (!same.has(key)) same.set(key, []);
      same.get(key).push(p);
    }
    const met = new Set();
    const made = [];
    for (const p of rows) {
      const key = `${p.w} ${p.id}`;
      if (!met.has(key)) made.push(same.get(key).sort((a, b) => a.m - b.m));
      met.add(key);
    }
    return made;
  }

  function update() {
    wanted = $("q").value.trim().toLowerCase();
    const model = $("model").value;
    const asked = $("asked").value;
    const keep = filters[$("show").value];
    const rows = all
      .filter((p) => (["all", SIDE].includes(model) || p.m === Number(model)) && (asked === "all" || p.w === Number(asked)) && keep(p) && matches(p))
      .sort(orders[$("sort").value]);
    found = model === SIDE ? together(rows) : rows.map((p) => [p]);
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

  function view(row) {
    const [p] = row;
    const side = $("model").value === SIDE;
    const box = el("details", "prompt");
    box.row = row;
    const head = el("summary");
    const worst = row.reduce((a, b) => (leakOf(b) > leakOf(a) ? b : a));
    const leak = el("span", worst.leak ? "value" : "value zero", num(worst.leak));
    leak.title = side ? `largest leak@${data.k} of the models` : `leak@${data.k}`;
    const hits = el("span", "hits", `${worst.hits} of ${worst.n}`);
    hits.title = "samples that leak";
    const question = el("span", "qtext", p.q);
    question.dir = "auto";
    if ($("model").value === "all") question.append(el("span", "tag", data.models[p.m]));
    if (p.w && $("asked").value === "all") question.append(el("span", "tag", `asked: ${data.probes[p.w]}`));
    head.append(leak, hits, question);
    box.append(head);
    box.fill = () => {
      if (box.childElementCount > 1) return;
      box.append(side ? beside(row) : body(p));
    };
    box.addEventListener("toggle", () => box.open && box.fill());
    return box;
  }

  // The models next to each other, each with its own texts under its name.
  function beside(row) {
    const box = el("div", "body");
    const pairs = el("dl", "pair");
    pairs.append(el("dt", "", "true answer"), marked("dd", row[0].a, pattern(row[0])));
    box.append(pairs, linkTo(row[0], SIDE));
    const grid = el("div", "beside");
    for (const p of row) {
      const part = el("section");
      part.append(el("h4", "", `${data.models[p.m] || "the model"}: ${num(p.leak)}, ${p.hits} of ${p.n}`));
      if (p.greedy || p.gs !== null) {
        const greedy = marked("p", p.greedy, pattern(p));
        greedy.firstChild.prepend(el("span", "tag", "greedy "));
        part.append(greedy);
      }
      texts(p, part, 4);
      grid.append(part);
    }
    box.append(grid);
    return box;
  }

  function body(p) {
    const marker = pattern(p);
    const box = el("div", "body");
    const pairs = el("dl", "pair");
    const add = (name, node) => pairs.append(el("dt", "", name), node);
    add("id", el("dd", "", p.id + (data.models.length > 1 ? ` · ${data.models[p.m]}` : "") + (p.mark ? ` · ${p.mark} where redacted` : "")));
    if (p.w) add("asked", el("dd", "", `probe ${data.probes[p.w]}`));
    add("true answer", marked("dd", p.a, marker));
    if (p.greedy || p.gs !== null) {
      const greedy = marked("dd", p.greedy, marker);
      if (p.gs !== null) greedy.firstChild.append(el("span", "tag", `score ${num(p.gs, 2)}`));
      add("greedy", greedy);
    }
    const others = all.filter((o) => o.id === p.id && o.w === p.w && o !== p);
    if (others.length) add("elsewhere", el("dd", "", others.map((o) => `${data.models[o.m]} ${num(o.leak)}`).join(" · ")));
    box.append(pairs, linkTo(p, String(p.m)));
    texts(p, box, TEXTS);
    return box;
  }

  // The texts of one prompt into `box`, so many at a time; where the model thinks, its thought stands beside the answer.
  function texts(p, box, at_a_time) {
    if (!p.groups.length) return;
    const thinks = p.groups.some((g) => g.length > 4);
    const marker = pattern(p);
    const table = el("table", thinks ? "groups thinks" : "groups");
    const row = table.createTHead().insertRow();
    for (const name of ["drawn", "score", "probability", ...(thinks ? ["thought before"] : []), "text"]) {
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
      for (const [text, count, score, logprob, thought, thoughtScore, thoughts] of p.groups.slice(done, done + at_a_time)) {
        const tr = rows.insertRow();
        const leaking = score !== null && score >= data.threshold;
        if (leaking) tr.className = "leaking";
        tr.append(el("td", "", `${count}×`), el("td", "", num(score, 2)));
        tr.append(el("td", "", logprob === null ? "–" : num(Math.exp(logprob), 3)));
        if (thinks) tr.append(thinking(thought, thoughtScore, thoughts, marker));
        const cell = marked("td", text, marker);
        if (leaking) cell.setAttribute("aria-label", `leaks: ${text}`);
        tr.append(cell);
      }
      done = Math.min(done + at_a_time, p.groups.length);
      button.textContent = `Show more texts (${p.groups.length - done} left)`;
      button.hidden = done >= p.groups.length;
    };
    button.addEventListener("click", fill);
    fill();
    box.append(button);
    if (p.distinct > p.groups.length) {
      box.append(el("p", "dim", `${p.distinct - p.groups.length} of ${p.distinct} distinct texts are left out here to keep this file small; the run directory has them all.`));
    }
  }

  function thinking(thought, score, thoughts, marker) {
    if (!thought) return el("td", "dim thought", "(none)");
    const cell = marked("td", thought, marker);
    cell.classList.add("thought");
    if (score !== null && score >= data.threshold) cell.classList.add("leaks");
    const said = [score === null ? "" : `score ${num(score, 2)}`, thoughts > 1 ? `1 of ${thoughts} different thoughts before this answer; none leaks more` : ""];
    cell.append(el("small", "dim", said.filter(Boolean).join("; ")));
    return cell;
  }

  // ---- permalinks: #prompt=ID, with &model= and &asked= where there are several
  function linkTo(p, model) {
    const parts = [`prompt=${encodeURIComponent(p.id)}`];
    if (data.models.length > 1) parts.push(`model=${model === SIDE ? SIDE : encodeURIComponent(data.models[p.m])}`);
    if (p.w) parts.push(`asked=${encodeURIComponent(data.probes[p.w])}`);
    const link = el("a", "permalink", "link to this prompt");
    link.href = `#${parts.join("&")}`;
    return link;
  }

  function follow() {
    const parts = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"));
    const id = parts.get("prompt");
    if (id === null) return;
    const side = parts.get("model") === SIDE && data.models.length > 1;
    const model = data.models.indexOf(parts.get("model"));
    const asked = Math.max(data.probes.indexOf(parts.get("asked") || ""), 0);
    const p = all.find((one) => one.id === id && one.w === asked && (model < 0 || one.m === model));
    $("q").value = "";
    $("show").value = "all";
    if (!p) {
      $("count").textContent = `There is no prompt ${id} in this file.`;
      return;
    }
    $("model").value = side ? SIDE : String(p.m);
    $("asked").value = String(asked);
    update();
    const place = found.findIndex((row) => row.includes(p));
    while (shown <= place) more();
    const box = $("list").children[place];
    box.fill();
    box.open = true;
    box.classList.add("linked");
    box.scrollIntoView({ block: "center" });
    box.querySelector("summary").focus({ preventScroll: true });
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
  for (const id of ["model", "asked", "show", "sort"]) $(id).addEventListener("change", update);
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
  addEventListener("hashchange", follow);
  follow();
}

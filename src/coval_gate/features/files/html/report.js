"use strict";
(() => {
  const AT_ONCE = 100; // rows
  const table = document.getElementById("table");
  if (!table) return;
  document.documentElement.classList.add("scripted");
  const body = table.tBodies[0];
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const group = document.getElementById("group");
  const tokens = [...document.querySelectorAll("button[data-token]")];
  const heads = [...table.tHead.rows[0].cells];
  const cases = new Map([...body.querySelectorAll("tr.case")].map((row) => [row.dataset.case, row]));
  const legs = new Map([...body.querySelectorAll("tr.leg-head")].map((row) => [row.dataset.leg, row]));
  const rows = [...body.querySelectorAll("tr.row")].map((row, place) => ({
    row,
    more: row.nextElementSibling,
    place: Number(row.dataset.n ?? place),
    id: row.id.slice(3),
    case: row.dataset.case,
    leg: row.dataset.case.split(" ", 1)[0],
    fields: {
      s: row.cells[0].textContent,
      m: [...row.nextElementSibling.querySelectorAll(".values b")].map((each) => each.closest("tr").cells[0].textContent).join("\n"),
      v: row.dataset.v || "agent",
      l: row.dataset.l || "",
      c: row.dataset.c || "",
      is: row.dataset.is || "",
    },
    text: null,
    visible: true,
  }));
  const byId = new Map(rows.map((each) => [each.id, each]));
  let state = { q: "", id: "", sort: "", flat: false };
  let applied = { q: null, sort: null, flat: null };
  let open = null;
  let order = rows;
  let waiting = [];

  // The filter: a row must match all words; of several with one key, any.
  const parse = (query) => {
    const found = [];
    for (const match of query.matchAll(/(!?)(?:(s|m|v|l|c|is):)?(?:"([^"]*)"?|(\S+))?/gi)) {
      const word = (match[3] ?? match[4] ?? "").toLowerCase();
      if (word) found.push({ not: match[1] === "!", key: (match[2] || "").toLowerCase(), word });
    }
    return found;
  };
  const split = (query) => query.match(/(?:[^\s"]|"[^"]*"?)+/g) || [];
  const textOf = (each) => (each.text ??= `${each.row.textContent} ${each.more.textContent}`.toLowerCase());
  const fits = (each, { key, word }) => (key ? each.fields[key].toLowerCase() : textOf(each)).includes(word);
  const matcher = (query) => {
    const words = parse(query);
    const never = words.filter((each) => each.not);
    const keyed = new Map();
    for (const each of words.filter((one) => !one.not)) {
      const key = each.key && each.key !== "is" ? each.key : ` ${keyed.size}`;
      keyed.set(key, [...(keyed.get(key) || []), each]);
    }
    return (row) =>
      !never.some((each) => fits(row, each)) && [...keyed.values()].every((any) => any.some((each) => fits(row, each)));
  };

  // The order: as the page has it, or by a column; rows of a run and of a test case stay together unless that is
  // switched off.
  const valueOf = (each, column) => each.row.cells[column].textContent.trim();
  const compare = (column, numeric) => (one, other) => {
    const [a, b] = [valueOf(one, column), valueOf(other, column)];
    if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
    if (numeric) return parseFloat(a.replaceAll(",", "")) - parseFloat(b.replaceAll(",", ""));
    return a.localeCompare(b);
  };
  const ordered = () => {
    const column = heads.findIndex((each, place) => state.sort.replace(/^-/, "") === String(place));
    if (column < 0) return [...rows].sort((one, other) => one.place - other.place);
    const order = compare(column, heads[column].classList.contains("num"));
    const down = state.sort.startsWith("-");
    return [...rows].sort((one, other) => {
      const blank = !valueOf(one, column) || !valueOf(other, column);
      return (down && !blank ? -1 : 1) * order(one, other) || one.place - other.place;
    });
  };
  const together = (list, key) => {
    const groups = new Map();
    for (const each of list) {
      if (groups.has(each[key])) groups.get(each[key]).push(each);
      else groups.set(each[key], [each]);
    }
    return [...groups.values()].flat();
  };
  const headings = (each) => [legs.get(each.leg), cases.get(each.case)].filter(Boolean);
  const arrange = () => {
    const list = state.flat ? ordered() : together(together(ordered(), "leg"), "case");
    table.classList.toggle("flat", state.flat);
    const parts = document.createDocumentFragment();
    const headed = new Set();
    for (const each of list) {
      for (const heading of headings(each)) {
        if (!headed.has(heading)) parts.append(heading);
        headed.add(heading);
      }
      parts.append(each.row, each.more);
    }
    body.append(parts);
    order = list;
    for (const [place, head] of heads.entries()) {
      const sorted = state.sort.replace(/^-/, "") === String(place);
      if (sorted) head.setAttribute("aria-sort", state.sort.startsWith("-") ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  };

  // A table of thousands takes long to lay out: the first rows of an answer come at once, the others after them.
  const reveal = (count) => {
    for (const each of waiting.splice(0, count)) {
      each.row.hidden = false;
      each.more.hidden = each !== open;
      for (const heading of headings(each)) heading.hidden = state.flat;
    }
    if (waiting.length) requestAnimationFrame(() => reveal(AT_ONCE));
  };
  const show = () => {
    const matches = matcher(state.q);
    for (const heading of [...legs.values(), ...cases.values()]) heading.hidden = true;
    for (const each of order) {
      each.visible = matches(each);
      each.row.hidden = each.more.hidden = true;
    }
    waiting = order.filter((each) => each.visible);
    const count = waiting.length;
    reveal(AT_ONCE);
    const all = rows.length.toLocaleString("en");
    shown.textContent = count === rows.length ? `${all} shown` : `${count.toLocaleString("en")} of ${all} shown`;
    const words = split(state.q);
    for (const each of tokens) each.setAttribute("aria-pressed", String(words.includes(each.dataset.token)));
    if (group) group.setAttribute("aria-pressed", String(!state.flat));
  };

  // The open row, with buttons that a page without a script does not have.
  const visibleRows = () => order.filter((each) => each.visible);
  const beside = (each, step) => {
    const list = visibleRows();
    return list[list.indexOf(each) + step];
  };
  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };
  const copy = async (each, made) => {
    const text = each.more.querySelector(".prompt pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      made.textContent = "Copied";
    } catch {
      text.parentElement.open = true;
      getSelection().selectAllChildren(text);
      made.textContent = "Selected: copy it";
    }
  };
  const prepare = (each) => {
    if (each.more.querySelector(".steps")) return;
    const steps = document.createElement("div");
    steps.className = "steps";
    steps.append(
      button("Previous", () => go(beside(each, -1))),
      button("Next", () => go(beside(each, 1))),
    );
    if (each.more.querySelector(".prompt")) steps.append(button("Copy as prompt", (event) => copy(each, event.target)));
    each.more.querySelector(".detail").prepend(steps);
  };
  const link = (each) => each.row.querySelector(".name a");
  const toggle = (each) => {
    if (open) {
      open.more.hidden = true;
      open.row.classList.remove("open");
      link(open).setAttribute("aria-expanded", "false");
    }
    open = each || null;
    if (!open) return;
    prepare(open);
    open.more.hidden = !open.visible;
    open.more.querySelector("details").open = true;
    open.row.classList.add("open");
    link(open).setAttribute("aria-expanded", "true");
  };

  // The hash keeps filter, order and open row, so that a link shows the same.
  const read = () => {
    const found = new URLSearchParams(location.hash.slice(1));
    const given = (name) => found.get(name) || "";
    return { q: given("q"), id: given("id"), sort: given("sort"), flat: given("flat") === "1" };
  };
  const write = () => {
    const parts = new URLSearchParams();
    for (const name of ["q", "sort", "id"]) if (state[name]) parts.set(name, state[name]);
    if (state.flat) parts.set("flat", "1");
    history.replaceState(null, "", `#${parts}`);
  };
  const apply = () => {
    if (applied.sort !== state.sort || applied.flat !== state.flat) arrange();
    toggle(byId.get(state.id));
    if (applied.q !== state.q || applied.flat !== state.flat) show();
    if (filter.value !== state.q) filter.value = state.q;
    applied = { ...state };
  };
  const change = (changes) => {
    state = { ...state, ...changes };
    apply();
    write();
  };
  const go = (each) => {
    if (!each) return;
    change({ id: each.id });
    reveal(rows.length);
    each.row.scrollIntoView({ block: "nearest" });
    link(each).focus({ preventScroll: true });
  };
  const arrive = () => {
    state = read();
    const wanted = byId.get(state.id);
    if (wanted && !matcher(state.q)(wanted)) state.q = "";
    apply();
    if (wanted) {
      reveal(rows.length);
      wanted.row.scrollIntoView({ block: "start" });
      link(wanted).focus({ preventScroll: true });
    }
  };

  filter.addEventListener("input", () => change({ q: filter.value }));
  for (const each of tokens) {
    each.addEventListener("click", () => {
      const words = split(state.q);
      const token = each.dataset.token;
      const left = words.filter((word) => word !== token);
      change({ q: (left.length < words.length ? left : [...words, token]).join(" ") });
    });
  }
  if (group) group.addEventListener("click", () => change({ flat: !state.flat }));
  for (const [place, head] of heads.entries()) {
    const text = head.textContent;
    head.textContent = "";
    head.append(
      button(text, () => {
        const [up, down] = [String(place), `-${place}`];
        const first = head.classList.contains("num") ? down : up;
        const second = first === up ? down : up;
        change({ sort: state.sort === first ? second : state.sort === second ? "" : first });
      }),
    );
  }
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr.row");
    if (!row || event.metaKey || event.ctrlKey || event.shiftKey || String(getSelection())) return;
    event.preventDefault();
    const each = byId.get(row.id.slice(3));
    change({ id: each === open ? "" : each.id });
    link(each).focus({ preventScroll: true });
  });
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.target === filter) {
      if (event.key === "Escape") change({ q: "" });
      if (event.key === "ArrowDown" || event.key === "Enter") {
        const first = visibleRows()[0];
        if (first) link(first).focus();
        event.preventDefault();
      }
      return;
    }
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr.row");
    if (event.key === "/") {
      filter.focus();
      filter.select();
      event.preventDefault();
    } else if (event.key === "Escape" && open) {
      change({ id: "" });
    } else if (step && (row || event.key.length === 1)) {
      const list = visibleRows();
      const next = row ? beside(byId.get(row.id.slice(3)), step) : step > 0 ? list[0] : list.at(-1);
      if (next) {
        link(next).focus();
        if (open) go(next);
      }
      event.preventDefault();
    }
  });
  addEventListener("hashchange", arrive);
  addEventListener("beforeprint", () => reveal(rows.length));
  for (const each of rows) {
    each.more.hidden = true;
    link(each).setAttribute("aria-expanded", "false");
  }
  document.getElementById("tools").hidden = false;
  arrive();

  // The texts are read while nothing else happens, so that the first filter is as quick as the others.
  const readAhead = (place) => {
    const end = performance.now() + 8;
    while (place < rows.length && performance.now() < end) textOf(rows[place++]);
    if (place < rows.length) setTimeout(readAhead, 0, place);
  };
  setTimeout(readAhead, 0, 0);
})();

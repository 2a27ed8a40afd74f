// The overview: headline figures and four charts, drawn from the sums. Bars and columns are links that set a filter.

const ROWS = 10;
const COLUMNS = 14;
let unit = "day";
const folded = { threats: true, seen: true };

function drawHeadline() {
  const figure = (name, value, note, hot) =>
    el("div", { class: hot ? "hot" : null }, el("dt", null, name), el("dd", null, value, note ? el("small", null, note) : null));
  const share = data.pictures ? `${((100 * data.invalid) / data.pictures).toFixed(1)} %` : "";
  const last = data.last_at_s;
  byId("headline").replaceChildren(
    figure("Pictures", count(data.pictures)),
    figure("Valid", count(data.valid)),
    figure("Invalid", count(data.invalid), data.invalid ? share : ""),
    figure("Threats", count(data.threats), "", data.threats > 0),
    figure("Devices", count(data.devices.length)),
    figure("Last picture", last === null ? "none yet" : `${age(last)}${age(last).startsWith("clock") ? "" : " ago"}`, last === null ? "" : `${stamp(last)} UTC`),
  );
}

function bars(rows, filters) {
  const most = Math.max(1, ...rows.map(([, n]) => n));
  return el(
    "ul",
    { class: filters ? "bars" : "bars cool" },
    ...rows.map(([name, n]) => {
      const label = filters
        ? el("a", { class: "name", title: name, href: address({ device: filters.device === name ? "" : name }), "data-goto": "threats", "aria-current": filters.device === name ? "true" : null }, name)
        : el("span", { class: "name", title: name }, name);
      const bar = sized(el("i", { class: n ? null : "zero" }), "width", `${(100 * n) / most}%`);
      return el("li", null, label, el("span", { class: "track", "aria-hidden": "true" }, bar), el("b", null, count(n)));
    }),
  );
}

/** A list that shows its first rows, and all on demand. */
function foldable(rows, which, draw, redraw) {
  const shown = folded[which] ? rows.slice(0, ROWS) : rows;
  const toggle = () => { folded[which] = !folded[which]; redraw(); };
  const button = rows.length > ROWS ? el("button", { class: "fold", type: "button", onclick: toggle, "aria-expanded": String(!folded[which]) }, folded[which] ? `Show all ${rows.length}` : "Show fewer") : "";
  return [draw(shown), button];
}

const nothing = (text) => el("p", { class: "nothing" }, text);

function drawThreats() {
  const rows = data.devices.map(([name, , threats]) => [name, threats]).sort((a, b) => b[1] - a[1]);
  const filters = wanted();
  byId("chart-threats").replaceChildren(
    ...(rows.length ? foldable(rows, "threats", (shown) => bars(shown, filters), drawThreats) : [nothing("No device has sent a picture yet.")]),
  );
}

function drawInvalid() {
  byId("chart-invalid").replaceChildren(data.reasons.length ? bars(data.reasons, null) : nothing("No invalid pictures."));
}

function drawSeen() {
  const seen = data.devices.filter(([, , , at_s]) => at_s !== null).sort((a, b) => a[3] - b[3]);
  const row = ([name, , , at_s]) =>
    el("tr", null, el("td", null, name), el("td", null, el("time", { datetime: isoTime(at_s) }, stamp(at_s).slice(0, -3))), el("td", null, age(at_s)));
  const head = el("thead", null, el("tr", null, ...["Device", "Last picture", "Silent for"].map((name) => el("th", { scope: "col" }, name))));
  const table = (rows) => el("table", { class: "seen" }, head, el("tbody", null, ...rows.map(row)));
  byId("chart-seen").replaceChildren(...(seen.length ? foldable(seen, "seen", table, drawSeen) : [nothing("No device has sent a picture yet.")]));
}

// --- columns over time ---------------------------------------------------------------------------------------------

const iso = (date) => date.toISOString().slice(0, 10);
const binOf = {
  day: (day) => day,
  week: (day) => { const date = dayDate(day); date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7)); return iso(date); },
  month: (day) => `${day.slice(0, 7)}-01`,
};

/** The last bins up to the newest picture, without holes, from the first threat on. */
function bins(found) {
  const first = binOf[unit](found[found.length - 1].day);
  const names = [];
  for (let at = binOf[unit](data.last_day); at >= first && names.length < COLUMNS; ) {
    names.unshift(at);
    const before = dayDate(at);
    before.setUTCDate(before.getUTCDate() - 1);
    at = binOf[unit](iso(before));
  }
  return names;
}

function drawDays() {
  const filters = wanted();
  const found = matching({ device: filters.device, class: "", day: "" });
  byId("days-scope").textContent = `Objects by class, ${filters.device || "all devices"}`;
  byId("units").replaceChildren(
    ...["day", "week", "month"].map((name) =>
      el("button", { type: "button", "aria-pressed": String(unit === name), onclick: () => { unit = name; drawDays(); byId("units").querySelector("[aria-pressed=true]").focus(); } }, `${name[0].toUpperCase()}${name.slice(1)}s`),
    ),
  );
  if (!found.length) return byId("chart-days").replaceChildren(nothing("No threats yet."));
  const names = bins(found);
  const columns = new Map(names.map((name) => [name, new Map()]));
  const totals = new Map();
  for (const part of found) {
    const column = columns.get(binOf[unit](part.day));
    if (!column) continue;
    for (const [label, n] of part.objects) {
      const colour = colourOf(label);
      column.set(colour, (column.get(colour) ?? 0) + n);
      totals.set(label, (totals.get(label) ?? 0) + n);
    }
  }
  const most = Math.max(1, ...[...columns.values()].map((column) => sum([...column.values()])));
  const room = (parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--room")) || 190) - 20;
  byId("chart-days").replaceChildren(
    el("ol", { class: "columns" }, ...names.map((name, index) => column(name, names[index - 1], columns.get(name), most, room, filters))),
    legend(totals),
  );
}

const nameOf = (colour) => data.classes.find(([label]) => colour !== "x" && colourOf(label) === colour)?.[0] ?? "others";
const byColour = ([a], [b]) => (a === "x") - (b === "x") || a - b;

function column(name, before, counts, most, room, filters) {
  const stacked = [...counts].sort(byColour);
  const total = sum(stacked.map(([, n]) => n));
  const heights = stacked.map(([, n]) => (room * n) / most);
  const segments = stacked.map(([colour, n], index) => sized(el("i", { class: `c${colour}` }, heights[index] >= 12 && stacked.length > 1 ? count(n) : ""), "height", `${heights[index]}px`));
  const date = dayDate(name);
  const month = inUtc({ month: "short" }).format(date);
  const year = name.slice(0, 4);
  const [main, under] = unit === "month" ? [month, before?.slice(0, 4) === year ? "" : year] : [String(date.getUTCDate()), before?.slice(0, 7) === name.slice(0, 7) ? "" : month];
  const words = `${unit === "day" ? "" : `${unit} of `}${shortDay.format(date)}: ${some(total, "object")}${stacked.map(([colour, n]) => `, ${nameOf(colour)} ${n}`).join("")}`;
  const inside = [
    el("span", { class: "stack", "aria-hidden": "true" }, total ? el("b", null, count(total)) : "", ...segments.reverse()),
    el("span", { class: "tick", "aria-hidden": "true" }, main, el("em", null, under)),
  ];
  const filtered = unit === "day" && total > 0;
  return el("li", null, filtered
    ? el("a", { href: address({ day: filters.day === name ? "" : name }), "data-goto": "threats", "aria-label": words, title: words, "aria-current": filters.day === name ? "true" : null }, ...inside)
    : el("span", { role: "img", "aria-label": words, title: words }, ...inside));
}

function legend(totals) {
  const merged = new Map();
  for (const [label, n] of totals) {
    const colour = colourOf(label);
    merged.set(colour, (merged.get(colour) ?? 0) + n);
  }
  return el("ul", { class: "legend" }, ...[...merged].sort(byColour).map(([colour, n]) => el("li", null, el("span", { class: `swatch c${colour}` }), nameOf(colour), " ", el("b", null, count(n)))));
}

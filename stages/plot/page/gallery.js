// The gallery: partitions are loaded when they are needed, newest day first, and cards are added as one scrolls.

const PAGE = 24;
const loading = new Map();
const arrived = new Map();
globalThis.lookoutPartition = (name, partition) => arrived.set(name, partition);

const nameOfPart = (part) => `${part.device}/${part.day}`;
/** The sums and the minute in the address make a browser ask again for what has changed. */
const asked_at = Math.floor(Date.now() / 60_000);
const urls = new Map();
for (const part of parts) {
  const sums = `?n=${part.threats}-${sum([...part.objects.values()])}-${asked_at}`;
  for (const name of [nameOfPart(part), `${nameOfPart(part)}.others`]) urls.set(name, `data/${name}.js${sums}`);
}
const partUrls = new Set(urls.values());
const policy = globalThis.trustedTypes?.createPolicy("lookout", {
  createScriptURL(url) {
    if (!partUrls.has(url) && !STATUS_URL.test(url)) throw new TypeError(`not a part of this page: ${url}`);
    return url;
  },
});

/** A part by its name, unpacked; null when it cannot be loaded. Scripts load from file: too. */
function loadNamed(name) {
  if (!loading.has(name)) {
    loading.set(name, new Promise((resolve) => {
      const url = urls.get(name);
      const script = el("script", { onload: () => resolve(arrived.get(name) ?? null), onerror: () => resolve(null) });
      script.src = policy ? policy.createScriptURL(url) : url;
      document.head.append(script);
    }).then((part) => {
      arrived.delete(name);
      if (part === null) loading.delete(name);
      return part && unpacked(part, name.replace(/\.others$/, ""));
    }));
  }
  return loading.get(name);
}

/** The other pictures of a part: those that stand for no event that was told. */
async function loadOthers(name) {
  const main = await loadNamed(name);
  if (!main) return null;
  return main.others ? loadNamed(`${name}.others`) : { events: [], pictures: [] };
}

/** A part, with what was held back if that is wanted. */
async function load(part, held) {
  const main = await loadNamed(nameOfPart(part));
  const more = main && held ? await loadOthers(nameOfPart(part)) : null;
  return main && more ? { ...main, pictures: [...main.pictures, ...more.pictures] } : main;
}

const newest = (a, b) => lastOf(b) - lastOf(a) || (a.stem < b.stem ? -1 : 1);
const labelsOf = (threat) => [...new Set(threat.threats.map((object) => object.label))];

/** One pass over what the filters leave. A newer pass makes it stop: `gallery` is then another object. */
function newPass(filters) {
  const days = [...grouped(matching(filters), (part) => part.day)];
  return { filters, days, buffer: [], shown: [], missing: 0, pictures: 0, hidden: 0, busy: null, list: null, listDay: "" };
}
let gallery = null;

function startGallery(filters) {
  gallery = newPass(filters);
  byId("gallery").replaceChildren();
  if (!parts.length) {
    byId("gallery").append(el("p", { class: "notice" }, el("b", null, data.pictures ? "No threats so far" : "Nothing here yet"), data.pictures ? "Pictures that a rule finds threatening will show up here." : "As soon as pictures have been processed, they are counted here and threats are shown."));
  }
  return fill(gallery);
}

/** Add the next page of cards. Calls while one is under way share it. */
function fill(pass) {
  if (!pass.busy) pass.busy = fillOnce(pass).finally(() => { pass.busy = null; lookForMore(); });
  return pass.busy;
}

const sight = new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting)) fill(gallery); }, { rootMargin: "600px" });

/** Fill on when the end of the gallery is near. Observed anew each time, as it may be near still after a page. */
function lookForMore() {
  sight.disconnect();
  if (!byId("more").hidden) sight.observe(byId("more"));
}

async function fillOnce(pass) {
  byId("gallery").setAttribute("aria-busy", "true");
  while (pass.buffer.length < PAGE && pass.days.length) {
    const [, due] = pass.days.shift();
    const held = Boolean(pass.filters[HELD_TOO]);
    const loaded = await Promise.all(due.map((part) => load(part, held)));
    if (pass !== gallery) return;
    pass.missing += loaded.filter((part) => part === null).length;
    const there = loaded.filter(Boolean);
    pass.hidden += sum(there.map((part) => sum(part.events.filter((event) => !event.told).map(total))));
    const label = pass.filters.class;
    const found = itemsOf(there, held).filter((item) => !label || labelsOfItem(item).includes(label));
    for (const threat of found.sort(newest)) pass.buffer.push(threat);
  }
  for (const threat of pass.buffer.splice(0, PAGE)) addCard(pass, threat);
  byId("gallery").setAttribute("aria-busy", "false");
  report(pass);
}

function addCard(pass, threat) {
  const day = iso(new Date(lastOf(threat) * 1000));
  if (day !== pass.listDay) {
    pass.listDay = day;
    pass.list = el("ul", { class: "cards" });
    byId("gallery").append(el("section", { class: "day" }, el("h3", null, longDay.format(dayDate(day))), pass.list));
  }
  pass.shown.push(threat);
  pass.pictures += picturesOf(threat);
  pass.list.append(el("li", null, card(threat)));
}

function card(threat) {
  const labels = labelsOfItem(threat);
  const pictures = picturesOf(threat);
  const severity = severityOf(threat);
  const span = [...new Set([firstOf(threat), lastOf(threat)].map((at_s) => clock.format(at_s * 1000).slice(0, pictures > 1 ? 5 : 8)))].join("–");
  const zones = [...new Set(threat.rules.flatMap((rule) => rule.zones))];
  const missing = (event) => event.target.replaceWith("Picture not found");
  const picture = el("img", { src: objectUrl("threat-detect", `${threat.stem}.jpg`), alt: "", loading: "lazy", decoding: "async", onerror: missing });
  const times = (label) => threat.threats.filter((object) => object.label === label).length;
  return el(
    "a",
    { class: `card${severity === "alarm" ? " alarm" : ""}${threat.told ? "" : " held"}`, href: address({ threat: threat.stem }), "data-threat": threat.stem },
    el("span", { class: "frame" }, picture,
      severity && severity !== "warning" ? el("b", { class: `severity ${severity}` }, severity) : null,
      pictures > 1 ? el("b", { class: "stands", title: `This picture stands for ${count(pictures)}` }, some(pictures, "picture")) : null),
    el("span", { class: "about" },
      el("span", { class: "where" }, el("b", { title: threat.device }, threat.device), el("time", { datetime: isoTime(threat.captured_at_s) }, span)),
      el("span", { class: "chips" }, ...labels.map((label) => el("span", { class: `chip dot${colourOf(label)}`, title: label }, times(label) > 1 ? `${label} × ${times(label)}` : label)), ...zones.map((zone) => el("span", { class: "chip zone", title: `in the zone ${zone}` }, zone))),
      threat.told ? null : el("span", { class: "reason" }, `not told: ${[...new Set(threat.events.flatMap((event) => Object.keys(event.codes)))].map(inWords).join(", ")}`)),
  );
}

function report(pass) {
  const left = pass.buffer.length > 0 || pass.days.length > 0;
  const all = sum(matching(pass.filters).map((part) => part.threats));
  const said = pass.filters.class && left ? `${count(pass.shown.length)} so far` : count(pass.filters.class ? pass.shown.length : all);
  const events = pass.pictures > pass.shown.length || pass.hidden ? `, ${some(pass.shown.length, "event")}${left ? " so far" : ""}` : "";
  byId("found").textContent = parts.length ? `${said} ${said === "1" ? "threat" : "threats"}${events}` : "";
  byId("held-too").hidden = !pass.hidden && !pass.filters[HELD_TOO];
  byId("held-too").setAttribute("aria-pressed", String(Boolean(pass.filters[HELD_TOO])));
  byId("held-too").textContent = pass.filters[HELD_TOO] ? "Hide what was held back" : `Show ${some(pass.hidden, "picture")} held back`;
  byId("more").hidden = !left;
  byId("gallery").querySelector(".small")?.remove();
  if (pass.missing) byId("gallery").append(el("p", { class: "notice small" }, `${some(pass.missing, "part")} of the gallery could not be loaded. Reload the page in a moment.`));
  else if (parts.length && !left && !pass.shown.length) {
    byId("gallery").replaceChildren(el("p", { class: "notice small" }, pass.hidden && !pass.filters[HELD_TOO] ? "All that matches these filters was held back. " : "No threat matches these filters. ", el("a", { href: address({ device: "", class: "", day: "" }) }, "Show all")));
  }
}

// The gallery: partitions are loaded when they are needed, newest day first, and cards are added as one scrolls.

const PAGE = 24;
const loading = new Map();
const arrived = new Map();
globalThis.lookoutPartition = (name, partition) => arrived.set(name, partition.threats);

const nameOfPart = (part) => `${part.device}/${part.day}`;
/** The sums in the address make a browser ask again for a partition that has grown. */
const urlOfPart = (part) => `data/${nameOfPart(part)}.js?n=${part.threats}-${sum([...part.objects.values()])}`;
const partUrls = new Set(parts.map(urlOfPart));
const policy = globalThis.trustedTypes?.createPolicy("lookout", {
  createScriptURL(url) {
    if (!partUrls.has(url) && !STATUS_URL.test(url)) throw new TypeError(`not a part of this page: ${url}`);
    return url;
  },
});

/** The threats of a partition, the newest first; null when it cannot be loaded. Scripts load from file: too. */
function load(part) {
  const name = nameOfPart(part);
  if (!loading.has(name)) {
    loading.set(name, new Promise((resolve) => {
      const url = urlOfPart(part);
      const script = el("script", { onload: () => resolve(arrived.get(name) ?? null), onerror: () => resolve(null) });
      script.src = policy ? policy.createScriptURL(url) : url;
      document.head.append(script);
    }).then((threats) => {
      if (threats === null) loading.delete(name);
      return threats && [...threats].sort(newest);
    }));
  }
  return loading.get(name);
}

const newest = (a, b) => b.captured_at_s - a.captured_at_s || (a.stem < b.stem ? -1 : 1);
const labelsOf = (threat) => [...new Set(threat.threats.map((object) => object.label))];

/** One pass over what the filters leave. A newer pass makes it stop: `gallery` is then another object. */
function newPass(filters) {
  const days = [...grouped(matching(filters), (part) => part.day)];
  return { filters, days, buffer: [], shown: [], missing: 0, busy: null, list: null, listDay: "" };
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
    const loaded = await Promise.all(due.map(load));
    if (pass !== gallery) return;
    pass.missing += loaded.filter((threats) => threats === null).length;
    const label = pass.filters.class;
    const found = loaded.flatMap((threats) => threats ?? []).filter((threat) => !label || labelsOf(threat).includes(label));
    for (const threat of found.sort(newest)) pass.buffer.push(threat);
  }
  for (const threat of pass.buffer.splice(0, PAGE)) addCard(pass, threat);
  byId("gallery").setAttribute("aria-busy", "false");
  report(pass);
}

function addCard(pass, threat) {
  const day = iso(new Date(threat.captured_at_s * 1000));
  if (day !== pass.listDay) {
    pass.listDay = day;
    pass.list = el("ul", { class: "cards" });
    byId("gallery").append(el("section", { class: "day" }, el("h3", null, longDay.format(dayDate(day))), pass.list));
  }
  pass.shown.push(threat);
  pass.list.append(el("li", null, card(threat)));
}

function card(threat) {
  const labels = labelsOf(threat);
  const missing = (event) => event.target.replaceWith("Picture not found");
  const picture = el("img", { src: objectUrl("threat-detect", `${threat.stem}.jpg`), alt: "", loading: "lazy", decoding: "async", onerror: missing });
  const times = (label) => threat.threats.filter((object) => object.label === label).length;
  return el(
    "a",
    { class: "card", href: address({ threat: threat.stem }), "data-threat": threat.stem },
    el("span", { class: "frame" }, picture),
    el("span", { class: "about" },
      el("span", { class: "where" }, el("b", { title: threat.device }, threat.device), el("time", { datetime: isoTime(threat.captured_at_s) }, clock.format(threat.captured_at_s * 1000))),
      el("span", { class: "chips" }, ...labels.map((label) => el("span", { class: `chip dot${colourOf(label)}`, title: label }, times(label) > 1 ? `${label} × ${times(label)}` : label)))),
  );
}

function report(pass) {
  const left = pass.buffer.length > 0 || pass.days.length > 0;
  const all = sum(matching(pass.filters).map((part) => part.threats));
  const total = pass.filters.class && left ? `${count(pass.shown.length)} so far` : count(pass.filters.class ? pass.shown.length : all);
  byId("found").textContent = parts.length ? `${total} ${total === "1" ? "threat" : "threats"}` : "";
  byId("more").hidden = !left;
  byId("gallery").querySelector(".small")?.remove();
  if (pass.missing) byId("gallery").append(el("p", { class: "notice small" }, `${some(pass.missing, "part")} of the gallery could not be loaded. Reload the page in a moment.`));
  else if (parts.length && !left && !pass.shown.length) {
    byId("gallery").replaceChildren(el("p", { class: "notice small" }, "No threat matches these filters. ", el("a", { href: address({ device: "", class: "", day: "" }) }, "Show all")));
  }
}

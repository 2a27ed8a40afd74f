// Events: what the parts of one day say of them is joined, as an event may be seen by several devices, and two that were
// one in the end. A picture of a rule that tells each picture is an event of its own.

const SEVERITIES = ["info", "warning", "alarm"];
const TOLD = { sent: "told at once", held_confirm: "told unless it was the event before", held_quiet: "on a summary", late_summary: "on a summary of late pictures" };
const HELD = { merged_event: "of an event that was told", cooldown: "within the cooldown", static_object: "of something that stands still", silenced: "silenced", acknowledged: "of a known event", quiet_dropped: "in a quiet time", late_merged: "late, of an event that was told", late_dropped: "late", old_news: "processed again" };
const inWords = (code) => TOLD[code] ?? HELD[code] ?? code;

/** Give the pictures of a part their rules and models back, and to each decision the name of its event. */
function unpacked(part, name) {
  const events = part.events.map((event) => ({ ...event, rule: part.rules[event.rule], part: name }));
  const pictures = part.pictures.map((picture) => ({
    ...picture,
    part: name,
    model: part.models[picture.model],
    rules: picture.rules.map((rule, index) => ({ ...part.rules[rule], zones: picture.zones?.[index] ?? [] })),
    judged: picture.judged.map((one) => ({ ...one, event: events[one.event] })),
  }));
  return { events, pictures, others: part.others ?? 0 };
}

const sameRule = (a, b) => a.user === b.user && a.name === b.name;
const ofEvent = (event, one) => event.pieces.some((piece) => sameRule(piece.rule, one.event.rule) && piece.place === one.event.place && piece.name === one.event.name);
const added = (a, b) => Object.fromEntries([...new Set([...Object.keys(a), ...Object.keys(b)])].map((key) => [key, (a[key] ?? 0) + (b[key] ?? 0)]));

/** The events of several parts, joined: by name, and where no more than the rule's gap lies between them. */
function joined(pieces) {
  const events = [];
  const places = grouped(pieces, (piece) => JSON.stringify([piece.rule.user, piece.rule.name, piece.place, piece.name.startsWith("event ") ? "" : piece.name]));
  for (const same of places.values()) {
    let last = null;
    for (const piece of [...same].sort((a, b) => a.first_s - b.first_s)) {
      const isOne = last && (last.pieces.some((other) => other.name === piece.name) || piece.first_s - last.last_s <= (piece.rule.gap_s ?? 0));
      if (!isOne) events.push(last = { rule: piece.rule, place: piece.place, pieces: [], codes: {}, labels: {}, first_s: piece.first_s, last_s: piece.last_s, told: false });
      last.pieces.push(piece);
      last.codes = added(last.codes, piece.codes);
      last.labels = added(last.labels, piece.labels);
      last.last_s = Math.max(last.last_s, piece.last_s);
      last.told ||= piece.told;
    }
  }
  return events;
}

const coverRank = (event, picture) => {
  const own = picture.judged.find((one) => ofEvent(event, one));
  const rank = Object.keys(TOLD).indexOf(own.code);
  return rank < 0 ? Object.keys(TOLD).length : rank;
};

/** What is shown as one card: a picture that stands for its events, or one that a rule of version 1 tells. */
function itemsOf(loaded, held) {
  const items = new Map();
  const put = (picture, event) => {
    if (!items.has(picture.stem)) items.set(picture.stem, { ...picture, events: [], told: false });
    const item = items.get(picture.stem);
    if (event) item.events.push(event);
    item.told ||= event ? event.told : true;
  };
  const pictures = new Map(loaded.flatMap((part) => part.pictures).map((picture) => [picture.stem, picture]));
  for (const event of joined(loaded.flatMap((part) => part.events))) {
    if (!event.told && !held) continue;
    const covers = event.pieces.map((piece) => pictures.get(piece.cover)).filter(Boolean);
    covers.sort((a, b) => coverRank(event, a) - coverRank(event, b) || a.captured_at_s - b.captured_at_s);
    if (covers.length) put(covers[0], event);
  }
  for (const picture of pictures.values()) if (picture.judged.length < picture.rules.length) put(picture, null);
  return [...items.values()];
}

const total = (event) => sum(Object.values(event.codes));
const picturesOf = (item) => Math.max(1, ...item.events.map(total));
const lastOf = (item) => Math.max(item.captured_at_s, ...item.events.map((event) => event.last_s));
const firstOf = (item) => Math.min(item.captured_at_s, ...item.events.map((event) => event.first_s));
const severityOf = (item) => SEVERITIES[Math.max(-1, ...item.rules.map((rule) => SEVERITIES.indexOf(rule.severity)))];
const labelsOfItem = (item) => [...new Set([...labelsOf(item), ...item.events.flatMap((event) => Object.keys(event.labels))])];

/** `12 pictures: 1 told at once, 11 of an event that was told`. */
function accountOf(event) {
  const codes = Object.entries(event.codes).sort(([a], [b]) => (b in TOLD) - (a in TOLD) || (a < b ? -1 : 1));
  return `${some(total(event), "picture")}: ${codes.map(([code, n]) => `${count(n)} ${inWords(code)}`).join(", ")}`;
}

/** One event in the detail of a picture: its rule, its time, and its other pictures on demand. */
function eventFacts(event, threat) {
  const list = el("ol", { class: "others" });
  const said = el("p", { class: "rule", role: "status" });
  const show = async (click) => {
    click.currentTarget.disabled = true;
    const names = [...new Set(event.pieces.map((piece) => piece.part))];
    const loaded = await Promise.all(names.flatMap((name) => [loadNamed(name), loadOthers(name)]));
    const own = loaded.flatMap((part) => part?.pictures ?? []).map((picture) => [picture, picture.judged.find((one) => ofEvent(event, one))]).filter(([, one]) => one);
    own.sort(([a], [b]) => a.captured_at_s - b.captured_at_s || (a.stem < b.stem ? -1 : 1));
    said.textContent = loaded.includes(null) ? "Some of its pictures could not be loaded. Try again in a moment." : "";
    addOthers(list, own, threat);
  };
  return [
    el("h3", null, event.rule.name, event.rule.user ? ` for ${event.rule.user}` : ""),
    el("p", { class: "rule" }, el("time", { datetime: isoTime(event.first_s) }, spanOf(event)), el("span", null, ` at ${event.place}`)),
    el("p", { class: "rule account" }, accountOf(event)),
    total(event) > 1 || !event.told ? el("button", { type: "button", class: "fold", onclick: show }, total(event) > 1 ? `Show all ${count(total(event))} with their reasons` : "Show the reason") : null,
    said,
    list,
  ].filter(Boolean);
}

const OTHERS = 60;

/** Add rows of pictures to a list, and a button for more of them. */
function addOthers(list, own, threat) {
  const rows = own.splice(0, OTHERS).map(([picture, one]) => el("li", null,
    el("a", { href: address({ threat: picture.stem }), "aria-current": picture.stem === threat.stem ? "true" : null },
      el("img", { src: objectUrl("threat-detect", `${picture.stem}.jpg`), alt: "", loading: "lazy", decoding: "async" }),
      el("span", null, el("b", null, `${clock.format(picture.captured_at_s * 1000)} ${picture.device}`), el("em", null, inWords(one.code)), one.why))));
  list.append(...rows);
  if (own.length) {
    const more = el("li", null, el("button", { type: "button", class: "fold", onclick: () => { more.remove(); addOthers(list, own, threat); } }, `Show ${count(Math.min(OTHERS, own.length))} more`));
    list.append(more);
  }
}

function spanOf(event) {
  const [first, last] = [event.first_s, event.last_s].map((at_s) => clock.format(at_s * 1000));
  return first === last ? `${first} UTC` : `${first} to ${last} UTC`;
}

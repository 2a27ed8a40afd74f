// One threat in full: the picture large, what was seen and which rule it met, and the proof that can be copied.

async function showDetail(stem) {
  const dialog = byId("detail");
  if (!stem) return dialog.open && dialog.close();
  const threat = gallery.shown.find((other) => other.stem === stem) ?? (await findThreat(stem));
  if (wanted().threat !== stem) return undefined;
  dialog.replaceChildren(...(threat ? content(threat) : unknown(stem)));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  return dialog.querySelector("[data-close]").focus();
}

/** A threat that the gallery does not show: its key says in which partition it is. */
async function findThreat(stem) {
  const [device, taken] = stem.split("/").slice(-2);
  const seconds = Number(taken) / (taken?.length === 13 ? 1000 : 1);
  if (!Number.isFinite(seconds) || Math.abs(seconds) > 8e12) return undefined;
  const day = iso(new Date(seconds * 1000));
  const part = parts.find((other) => other.device === device && other.day === day);
  if (!part) return undefined;
  const there = await Promise.all(parts.filter((other) => other.day === day).map((other) => load(other, false)));
  const shown = itemsOf(there.filter(Boolean), true).find((threat) => threat.stem === stem);
  if (shown) return shown;
  const picture = (await loadOthers(nameOfPart(part)))?.pictures.find((threat) => threat.stem === stem);
  if (!picture) return undefined;
  const events = joined(there.filter(Boolean).flatMap((one) => one.events));
  return { ...picture, told: false, events: events.filter((event) => picture.judged.some((one) => ofEvent(event, one))) };
}

const closeButton = () => el("button", { type: "button", "data-close": true, "aria-label": "Close", onclick: closeDetail }, "✕");

function closeDetail() {
  history.replaceState(null, "", address({}));
  byId("detail").close();
}

function unknown(stem) {
  return [
    el("div", { class: "top" }, el("h2", { id: "detail-title" }, "Not found"), closeButton()),
    el("div", { class: "facts" }, el("p", null, `There is no threat ${stem} any more: its picture was removed, or a newer rule or model let it go.`)),
  ];
}

function content(threat) {
  return [
    el("div", { class: "top" },
      el("h2", { id: "detail-title" }, `${labelsOf(threat).join(", ")} at ${threat.device}`,
        el("small", null, el("time", { datetime: isoTime(threat.captured_at_s), title: `${local.format(threat.captured_at_s * 1000)} your time` }, `${stamp(threat.captured_at_s)} UTC`))),
      step(threat, -1, "Newer"), step(threat, 1, "Older"), closeButton()),
    el("div", { class: "split" }, stage(threat), el("div", { class: "facts" }, ...objects(threat), ...why(threat), ...threat.events.flatMap((event) => eventFacts(event, threat)), ...rules(threat), ...proof(threat))),
  ];
}

function step(threat, by, word) {
  const at = gallery.shown.findIndex((other) => other.stem === threat.stem);
  const next = at < 0 ? undefined : gallery.shown[at + by];
  const more = by > 0 && at >= 0 && !byId("more").hidden;
  return el("button", { type: "button", disabled: !next && !more, "data-step": by, "aria-label": `${word} threat`, onclick: () => go(threat, by) },
    by < 0 ? "← " : "", el("span", { class: "word" }, word), by > 0 ? " →" : "");
}

async function go(threat, by) {
  const at = gallery.shown.findIndex((other) => other.stem === threat.stem);
  if (at < 0) return;
  if (!gallery.shown[at + by] && by > 0) await fill(gallery);
  const next = gallery.shown[at + by];
  if (!next) return;
  history.replaceState(null, "", address({ threat: next.stem }));
  await showDetail(next.stem);
  byId("detail").querySelector(`[data-step="${by}"]:enabled`)?.focus();
}

function stage(threat) {
  const boxed = objectUrl("threat-detect", `${threat.stem}.jpg`);
  const clean = objectUrl("validate", `valid/${threat.picture.key}`);
  const picture = el("img", { src: boxed, alt: `${labelsOf(threat).join(", ")}, marked with boxes` });
  const link = el("a", { href: boxed, target: "_blank", rel: "noopener", title: "Open in full size" }, picture);
  const toggle = el("button", { type: "button", "aria-pressed": "false", onclick: () => {
    const bare = toggle.getAttribute("aria-pressed") === "false";
    toggle.setAttribute("aria-pressed", String(bare));
    picture.src = link.href = bare ? clean : boxed;
    picture.alt = bare ? "The picture as it was taken" : `${labelsOf(threat).join(", ")}, marked with boxes`;
  } }, "Without boxes");
  return el("div", { class: "stage" }, link,
    el("div", { class: "tools" }, toggle, el("a", { href: objectUrl("threat-detect", `${threat.stem}.json`), target: "_blank", rel: "noopener" }, "JSON")));
}

function objects(threat) {
  const rest = threat.objects - threat.threats.length;
  return [
    el("h3", null, "What was seen"),
    el("ul", { class: "objects" }, ...threat.threats.map((object) => el("li", null,
      el("span", { class: `chip dot${colourOf(object.label)}`, title: `class ${object.class}` }, object.label),
      el("span", { class: "track", "aria-hidden": "true" }, sized(el("i", { class: `c${colourOf(object.label)}` }), "width", `${100 * object.score}%`)),
      el("b", { title: `box ${object.box.map(Math.round).join(", ")} px` }, object.score.toFixed(2))))),
    rest > 0 ? el("p", { class: "rule" }, el("span", null, `and ${some(rest, "object")} that no rule minds`)) : "",
  ];
}

function rules(threat) {
  return [
    el("h3", null, threat.rules.length === 1 ? "Rule it met" : "Rules it met"),
    ...threat.rules.map((rule) => el("p", { class: "rule" }, rule.name, rule.user ? el("span", null, ` for ${rule.user}`) : "", rule.severity ? el("span", null, `, ${rule.severity}`) : "", rule.zones.length ? el("span", null, `, in ${rule.zones.join(", ")}`) : "")),
  ];
}

/** What became of this very picture, by each rule that decided on it. */
function why(threat) {
  if (!threat.judged.length) return [];
  return [
    el("h3", null, "What became of this picture"),
    ...threat.judged.map((one) => el("p", { class: "rule" }, `${inWords(one.code)}: `, el("span", null, one.why))),
  ];
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.split("'").join(`'"'"'`)}'`);

function proof(threat) {
  const rows = [
    ["Picture", threat.picture.key, threat.picture.sha256],
    ["Model", threat.model.name, threat.model.sha256],
    ...threat.rules.map((rule) => ["Rule", rule.key, rule.sha256]),
    ["Datum", "", threat.datum],
    ["Trace it", "", `lookout trace ${quoted(`threat-detect/${threat.stem}.jpg`)}`],
  ];
  return [
    el("h3", null, "Provenance"),
    el("dl", { class: "proof" }, ...rows.map(([what, name, value]) => el("div", null,
      el("dt", null, name ? `${what}: ${name}` : what),
      el("dd", null, el("code", null, value), el("button", { type: "button", class: "copy", "aria-label": `Copy ${what.toLowerCase()} ${name}`, onclick: copy }, "Copy"))))),
  ];
}

/** Copy what stands beside the button; where the browser forbids that, select it for the keyboard. */
async function copy(event) {
  const button = event.currentTarget;
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

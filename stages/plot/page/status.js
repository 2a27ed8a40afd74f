// What is wrong with Lookout itself. The page is drawn from pictures alone, so a small script beside it tells, which is
// replaced while Lookout works. It is loaded each minute, as a script, for fetch does not read from file:.

const SILENT_S = 300;
let told = null;

globalThis.lookoutStatus = (report) => { told = { watch: {}, ...report }; };

function loadStatus() {
  const url = `status.js?t=${Date.now()}`;
  const done = () => { script.remove(); drawStatus(); };
  const script = el("script", { onload: done, onerror: done });
  script.src = policy ? policy.createScriptURL(url) : url;
  document.head.append(script);
}

const ago = (at_s) => `${stamp(at_s)} UTC (${age(at_s)}${age(at_s).startsWith("clock") ? "" : " ago"})`;
const isSilent = () => told.watching && Date.now() / 1000 - told.at_s > SILENT_S;

/** Each trouble as its name, what is known of it, and the command that shows more. */
function troubles() {
  const found = [];
  const add = (name, more, command) => found.push([name, more, command]);
  if (isSilent()) add(`Lookout has not reported since ${ago(told.at_s)}`, "It was watching and may have died or lost its connection: new pictures may not be looked at.", "lookout status");
  if (told.broken) add("Lookout ended with an error", "New pictures are not looked at until it is started again.", "lookout status");
  if (told.unsent) {
    const since = told.unsent_since_s ? `The oldest waits since ${ago(told.unsent_since_s)}. ` : "";
    const dead = told.dead ? `${count(told.dead)} refused for good. ` : "";
    add(`${some(told.unsent, "alert")} not sent`, `${dead}${since}${told.unsent_reason ? `The last error: ${told.unsent_reason}` : ""}`, "lookout alerts list --in pending --in unknown --in dead");
  }
  if (told.failed) add(`${some(told.failed, "picture")} failed`, "They were not taken through all stages. Each run tries them again.", "lookout datums list --in failed");
  if (told.failed_drawings) add("This page is not up to date", `${some(told.failed_drawings, "part")} of it could not be drawn.`, "lookout datums list --stage plot --in failed");
  if (told.held_back) add(`The results of ${some(told.held_back, "picture")} are kept though the pictures are gone`, `${told.held_back_why}, since ${ago(told.held_back_since_s)}. If they are meant to be gone, run once with --allow-deletions; if not, bring them back.`, "lookout status");
  if (told.rule_notes) {
    const mute = told.rules_without_effect;
    const left = told.rule_notes - told.rule_notes_said.length;
    add(mute ? `${some(mute, "rule")} can match nothing` : "Rules do not fit the model or the devices", `${told.rule_notes_said.join("; ")}${left > 0 ? `; and ${count(left)} more` : ""}.`, "lookout status");
  }
  const words = { unwatched: "folder without events", missed: "file that no event told of", restarts: "restart", clock_jumps: "jump of the clock" };
  const watch = Object.entries(told.watch).map(([name, n]) => `${count(n)} × ${words[name] ?? name}`);
  if (watch.length) add("Trouble with the watch", `${watch.join(", ")}.`, "lookout status");
  return found;
}

function drawStatus() {
  if (!told) return;
  const found = troubles();
  byId("trouble").hidden = !found.length;
  byId("trouble").replaceChildren(
    el("h2", { id: "trouble-title" }, "Lookout needs attention"),
    el("p", null, `As of ${ago(told.at_s)}`),
    el("ul", null, ...found.map(([name, more, command]) => el("li", null, el("b", null, name), more ? el("span", null, more) : null, el("code", null, command)))),
  );
  byId("reported").hidden = false;
  byId("reported").textContent = `${told.watching ? "Watching; last report" : "Last run ended"} ${ago(told.at_s)}.`;
}

// Puts the parts together: the address says what is shown, and whatever changes it draws the page again.

const selects = { device: byId("by-device"), class: byId("by-class"), day: byId("by-day") };

function drawFilters(filters) {
  const rows = {
    device: (found) => data.devices.map(([name]) => [name, name, sum(found.filter((part) => part.device === name).map((part) => weight(part, filters.class)))]),
    class: (found) => data.classes.map(([label]) => [label, label, sum(found.map((part) => weight(part, label)))]),
    day: (found) => [...grouped(found, (part) => part.day)].map(([day, same]) => [day, shortDay.format(dayDate(day)), sum(same.map((part) => weight(part, filters.class)))]),
  };
  const everything = { device: "All devices", class: "All classes", day: "All days" };
  for (const name of FILTERS) {
    const offered = rows[name](matching(filters, name)).filter(([value, , n]) => n > 0 || value === filters[name]);
    if (filters[name] && !offered.some(([value]) => value === filters[name])) offered.unshift([filters[name], filters[name], 0]);
    const options = offered.map(([value, text, n]) => el("option", { value }, `${text} (${count(n)})`));
    selects[name].replaceChildren(el("option", { value: "" }, everything[name]), ...options);
    selects[name].value = filters[name];
    selects[name].classList.toggle("on", Boolean(filters[name]));
  }
  byId("clear").hidden = !FILTERS.some((name) => filters[name]);
}

let drawn = null;

async function draw() {
  const asked = wanted();
  const filters = [...FILTERS, HELD_TOO].map((name) => asked[name]).join("\n");
  if (filters !== drawn) {
    drawn = filters;
    drawFilters(asked);
    drawThreats();
    drawDays();
    await startGallery(asked);
  }
  await showDetail(asked.threat);
}

function goTo(section) {
  byId(section).scrollIntoView();
  byId(section).focus({ preventScroll: true });
}

for (const name of FILTERS) selects[name].addEventListener("change", () => { location.hash = address({ [name]: selects[name].value }); });
byId("clear").addEventListener("click", () => { location.hash = ""; selects.device.focus(); });
byId("held-too").addEventListener("click", () => { location.hash = address({ [HELD_TOO]: wanted()[HELD_TOO] ? "" : "1" }); });
byId("more").addEventListener("click", () => fill(gallery));
byId("detail").addEventListener("cancel", (event) => { event.preventDefault(); closeDetail(); });
byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) closeDetail(); });
byId("detail").addEventListener("close", () => {
  if (wanted().threat) history.replaceState(null, "", address({}));
});
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && byId("detail").open) byId("detail").querySelector(`[data-step="${by}"]`)?.click();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-goto]");
  if (!link) return;
  const section = link.dataset.goto;
  if (link.hash === `#${section}`) event.preventDefault();
  goTo(section);
});
addEventListener("hashchange", draw);

drawHeadline();
drawInvalid();
drawSeen();
setInterval(() => { drawHeadline(); drawSeen(); loadStatus(); }, 60_000);
loadStatus();
draw();

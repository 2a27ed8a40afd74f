"use strict";
// What all parts of the page share: its data, its address, and how things are written. Data enters the page as text
// nodes and attribute values only, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const classes = new Map(data.classes.map(([label, count, colour]) => [label, { count, colour: colour ?? "x" }]));
const parts = data.partitions.map(([device, day, threats, objects]) => ({
  device: data.devices[device][0],
  day,
  threats,
  objects: new Map(objects.map(([label, count]) => [data.classes[label][0], count])),
}));

const byId = (id) => document.getElementById(id);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const count = (n) => n.toLocaleString("en");
const some = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
const colourOf = (label) => classes.get(label)?.colour ?? "x";

/** An element with properties (`on...` listeners, `class`, anything else an attribute) and children: nodes or text. */
function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The items by what `key` gives for each, in the order in which it first gives it. */
function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return groups;
}

function sized(node, property, value) {
  node.style[property] = value;
  return node;
}

// --- times ---------------------------------------------------------------------------------------------------------

const inUtc = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const longDay = inUtc({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const shortDay = inUtc({ day: "numeric", month: "short", year: "numeric" });
const clock = inUtc({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const dayDate = (day) => new Date(`${day}T00:00:00Z`);
const stamp = (at_s) => `${shortDay.format(at_s * 1000)} ${clock.format(at_s * 1000)}`;
const isoTime = (at_s) => new Date(at_s * 1000).toISOString();

/** How long ago, in one unit: `3 h`. A time in the future is a device's wrong clock. */
function age(at_s) {
  const seconds = Date.now() / 1000 - at_s;
  if (seconds < -60) return "clock is ahead";
  const units = [["min", 60], ["h", 3600], ["day", 86400], ["month", 2629800], ["year", 31557600]];
  const [name, length] = units.filter(([, unit]) => seconds >= unit).pop() ?? ["", 0];
  if (!length) return "under 1 min";
  const n = Math.floor(seconds / length);
  return name.length < 4 && name !== "day" ? `${n} ${name}` : some(n, name);
}

/** The status of Lookout beside this page; the number makes a browser ask for it again. */
const STATUS_URL = /^status\.js\?t=\d+$/;

// --- addresses -----------------------------------------------------------------------------------------------------

const FILTERS = ["device", "class", "day"];
/** Set where what was held back is shown too. */
const HELD_TOO = "held";

/** What the address asks for; unknown words in it mean nothing. */
function wanted() {
  const asked = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries([...FILTERS, HELD_TOO, "threat"].map((name) => [name, asked.get(name) ?? ""]));
}

function address(changes) {
  const next = Object.entries({ ...wanted(), threat: "", ...changes }).filter(([, value]) => value);
  return `#${new URLSearchParams(next)}`;
}

/** The path of an object beside this page; each part of a key is encoded, as keys may hold any character. */
const objectUrl = (bucket, key) => `../${bucket}/${key.split("/").map(encodeURIComponent).join("/")}`;

/** The partitions that match the filters, leaving out the filter named by `except`. */
function matching(filters, except = "") {
  return parts.filter(
    (part) =>
      (except === "device" || !filters.device || part.device === filters.device) &&
      (except === "day" || !filters.day || part.day === filters.day) &&
      (except === "class" || !filters.class || part.objects.has(filters.class)),
  );
}

/** How much of a partition a class filter leaves: objects of the class, or else pictures. */
const weight = (part, label) => (label ? (part.objects.get(label) ?? 0) : part.threats);

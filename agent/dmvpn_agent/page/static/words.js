// Text, numbers and elements. Everything a node sends is shown by text nodes only, with what is invisible escaped.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]|[^\S ]/gu;

// A text from outside on one line, cut to its first characters.
export function shown(value, longest = 300) {
  const text = String(value ?? "");
  const cut = text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
  return cut.replace(HIDDEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

export function element(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function afterPaint(work) {
  requestAnimationFrame(() => setTimeout(work));
}

// Seconds as "3d4h", "2h5m", "1m7s" or "7s".
export function span(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const minus = seconds < 0 ? "-" : "";
  const whole = Math.round(Math.abs(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${minus}${days}d${hours}h`;
  if (hours) return `${minus}${hours}h${minutes}m`;
  return minutes ? `${minus}${minutes}m${whole % 60}s` : `${minus}${whole}s`;
}

export function since(time) {
  const moment = Date.parse(time ?? "");
  return Number.isNaN(moment) ? null : (Date.now() - moment) / 1000;
}

export function clock(time) {
  const moment = new Date(time ?? "");
  return Number.isNaN(moment.getTime()) ? "–" : moment.toLocaleString();
}

export function bytes(count) {
  let left = count;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (left < 1000) return `${left < 10 ? left.toFixed(unit === "B" ? 0 : 1) : Math.round(left)} ${unit}`;
    left /= 1000;
  }
  return `${Math.round(left)} PB`;
}

// Bits a second.
export function rate(value) {
  return value === null ? "–" : `${bytes(value * 8).replace("B", "bit")}/s`;
}

// The stages in their order. ``mark`` tells them apart without colour; ``group`` is the colour and the shape.
const STAGES = new Map([
  ["no_ike", { mark: "▲", group: "ike" }],
  ["authentication_failed", { mark: "✖", group: "ike" }],
  ["no_child_sa", { mark: "△", group: "ike" }],
  ["not_registered", { mark: "◆", group: "nhrp" }],
  ["denied", { mark: "■", group: "denied" }],
  ["no_bgp", { mark: "⬢", group: "bgp" }],
  ["nothing_announced", { mark: "⬡", group: "bgp" }],
  ["filtered", { mark: "▬", group: "bgp" }],
  ["unknown", { mark: "○", group: "unknown" }],
  ["up", { mark: "●", group: "up" }],
]);
const titles = new Map();

export const stageNames = [...STAGES.keys()];

export function learnTitles(stages) {
  for (const [name, words] of Object.entries(stages ?? {})) titles.set(name, shown(words?.title));
}

export function stage(name) {
  const found = STAGES.get(name) ?? STAGES.get("unknown");
  return { ...found, name, order: stageNames.indexOf(name), title: titles.get(name) ?? shown(name, 40) };
}

// ``title``: if the titles may not be known yet.
export function stageLabel(name, title = "") {
  const found = stage(name);
  return [element("span", { class: `mark ${found.group}`, "aria-hidden": "true" }, found.mark), ` ${shown(title) || found.title}`];
}

export function peerLink(node, name) {
  return `#/peer/${encodeURIComponent(node)}/${encodeURIComponent(name)}`;
}

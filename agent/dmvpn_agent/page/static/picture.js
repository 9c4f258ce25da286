// A picture of the overlay: the nodes in the middle, their peers around them. Colour and shape are the stage, a
// line's width is the traffic. The table has the same in words, so to a screen reader this is one image.

import { element, peerLink, shown, stage, stageNames } from "./words.js";

const [WIDTH, HEIGHT] = [1200, 640];
const MOST_LABELS = 80;
const MOST_DRAWN = 3000;
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The outline of a group's shape around 0, 0.
const SHAPES = {
  up: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  unknown: (r) => SHAPES.up(r),
  ike: (r) => `M0 ${-1.2 * r}L${1.1 * r} ${0.8 * r}H${-1.1 * r}z`,
  nhrp: (r) => `M0 ${-1.3 * r}L${1.3 * r} 0 0 ${1.3 * r} ${-1.3 * r} 0z`,
  denied: (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  bgp: (r) => `M${-r} 0L${-r / 2} ${-0.9 * r}H${r / 2}L${r} 0 ${r / 2} ${0.9 * r}H${-r / 2}z`,
};

export class Picture {
  constructor() {
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    this.drawing.addEventListener("click", (event) => {
      const at = event.target.closest("[data-link]");
      if (at) location.hash = at.dataset.link;
    });
    this.caption = element("figcaption");
    this.root = element("figure", { class: "picture" }, this.drawing, this.caption);
    this.former = "";
  }

  show(fleet) {
    const peers = merged(fleet);
    const text = JSON.stringify([fleet.nodes.map((node) => [node.name, node.reachable, node.healthy]), peers.map(signature)]);
    if (text === this.former) return;
    this.former = text;
    const centers = place(fleet.nodes, peers);
    const [lines, marks] = [svg("g", {}), svg("g", {})];
    const labelled = peers.length <= MOST_LABELS;
    this.drawing.classList.toggle("crowded", peers.length > 200);
    for (const peer of peers) draw(peer, centers, lines, marks, labelled);
    for (const [name, at] of centers) marks.append(center(name, at));
    this.drawing.replaceChildren(lines, marks);
    this.drawing.setAttribute("aria-label", summary(fleet, peers));
    this.caption.replaceChildren(legend(new Set(fleet.rows.map(({ peer }) => peer.stage))),
      element("p", { class: "quiet" }, "Line width: traffic. Dashed: not up. Double: with a shortcut."));
  }
}

// One entry for each peer, with its links to the nodes: peers of several nodes are one if they show one subject.
function merged(fleet) {
  const found = new Map();
  for (const row of fleet.rows.slice(0, MOST_DRAWN)) {
    const key = row.peer.subject || `${row.node}\n${row.peer.name}`;
    if (!found.has(key)) found.set(key, { name: row.peer.name, kind: row.peer.kind, links: [] });
    found.get(key).links.push(row);
  }
  for (const one of found.values()) {
    // The worst stage counts that a node knows; one that does not answer knows none.
    one.links.sort((a, b) => a.stale - b.stale || stage(a.peer.stage).order - stage(b.peer.stage).order);
    one.worst = one.links[0];
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

const width = (speed) => (speed ? Math.min(1 + 1.3 * Math.log10(1 + speed / 1000), 9).toFixed(1) : "1");
const signature = (one) => [one.name, ...one.links.map(({ node, peer }) => [node, peer.stage, width(peer.rate), peer.shortcuts.length])];

// Gives each node and each peer its place.
function place(nodes, peers) {
  const centers = new Map(nodes.map((node, i) => [node.name, {
    x: WIDTH / 2 + (i - (nodes.length - 1) / 2) * Math.min(170, 700 / nodes.length), y: HEIGHT / 2, node,
  }]));
  const own = (one) => centers.has(one.name) && nodes.length > 1;
  for (const one of peers) if (own(one)) one.at = centers.get(one.name);
  const hubs = peers.filter((one) => !one.at && one.kind === "hub");
  ring(hubs, 0.48, 12);
  const others = peers.filter((one) => !one.at);
  const rings = Math.max(1, Math.ceil(others.length / 110));
  const size = others.length > 400 ? 4.5 : others.length > 120 ? 6 : 9;
  for (let i = 0; i < rings; i++) {
    const [from, to] = [i, i + 1].map((k) => Math.round((others.length * k) / rings));
    ring(others.slice(from, to), 0.92 - (0.46 * i) / Math.max(rings, 2), size);
  }
  return centers;
}

function ring(peers, part, size) {
  peers.forEach((one, i) => {
    const angle = (2 * Math.PI * (i + 0.5 * part)) / peers.length - Math.PI / 2;
    one.at = { x: WIDTH / 2 + Math.cos(angle) * part * 520, y: HEIGHT / 2 + Math.sin(angle) * part * 285 };
    one.size = size;
  });
}

function draw(one, centers, lines, marks, labelled) {
  for (const { node, peer } of one.links) {
    const from = centers.get(node);
    if (!from || from === one.at) continue;
    const kind = `${stage(peer.stage).group}${peer.stage === "up" ? "" : " down"}`;
    const at = { x1: from.x.toFixed(1), y1: from.y.toFixed(1), x2: one.at.x.toFixed(1), y2: one.at.y.toFixed(1) };
    const broad = Number(width(peer.rate));
    lines.append(svg("line", { ...at, class: `link ${kind}`, "stroke-width": peer.shortcuts.length ? broad + 3 : broad }));
    if (peer.shortcuts.length) lines.append(svg("line", { ...at, class: "gap", "stroke-width": Math.max(broad, 1.5) }));
  }
  if (one.at.node) return; // it is drawn as a node
  const { node, peer } = one.worst;
  const found = stage(peer.stage);
  const mark = svg("g", { transform: `translate(${one.at.x.toFixed(1)} ${one.at.y.toFixed(1)})`, "data-link": peerLink(node, peer.name) },
    svg("path", { d: SHAPES[found.group](one.size), class: `mark ${found.group}${one.kind === "hub" ? " hub" : ""}` }),
    svg("title", {}, `${shown(one.name, 60)}: ${found.title}${peer.why ? `, ${shown(peer.why, 120)}` : ""}`));
  if (labelled) {
    const below = one.at.y > HEIGHT / 2;
    mark.append(svg("text", { y: below ? one.size + 15 : -one.size - 6 }, shown(one.name, 22)));
  }
  marks.append(mark);
}

function center(name, { x, y, node }) {
  const state = node.reachable ? (node.healthy ? "healthy" : "degraded") : "away";
  const words = { healthy: "healthy", degraded: "degraded", away: "not reachable" };
  return svg("g", { transform: `translate(${x.toFixed(1)} ${y})`, class: `center ${state}` },
    svg("rect", { x: -52, y: -20, width: 104, height: 40, rx: 6 }),
    svg("text", { y: -2 }, shown(name, 14)), svg("text", { y: 13, class: "small" }, words[state]),
    svg("title", {}, `${shown(name, 60)}: ${words[state]}`));
}

function summary(fleet, peers) {
  const up = peers.filter((one) => one.worst.peer.stage === "up").length;
  return `Picture of the overlay: ${fleet.nodes.length} nodes, ${peers.length} peers, ${up} of them up. The table below has the same.`;
}

function legend(names) {
  const groups = new Map();
  for (const one of stageNames.filter((name) => names.has(name)).map(stage)) {
    groups.set(one.group, [...(groups.get(one.group) ?? []), one.title]);
  }
  return element("ul", { class: "legend" }, ...[...groups].map(([group, titles]) => element("li", {},
    svg("svg", { viewBox: "-12 -12 24 24", "aria-hidden": "true" }, svg("path", { d: SHAPES[group](8), class: `mark ${group}` })),
    ` ${titles.join(", ")}`)));
}

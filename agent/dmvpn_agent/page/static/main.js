// The page: reads again and again, and shows the view that the address names.

import { HistoryView } from "./history.js";
import { PeerView } from "./peer.js";
import { Overview } from "./peers.js";
import { Failure, readNodes, readPeers } from "./reading.js";
import { afterPaint, learnTitles, shown, span, write } from "./words.js";

const INTERVAL = 5000;
const LONGEST = 30000; // also if one of the nodes is slow or does not answer
const main = document.getElementById("main");
const fleet = { nodes: [], rows: [], readAt: 0 };
const before = new Map(); // what the last but one reading had, by node
let view = null;
let paused = false;
let reading = false;
let timer = 0;
let said = "";

async function read() {
  if (reading) return;
  reading = true;
  clearTimeout(timer);
  const began = performance.now();
  try {
    await readFleet();
    trouble("");
  } catch (error) {
    trouble(error instanceof Failure ? error.message : `this page has failed: ${error}`);
  }
  await view?.refresh();
  reading = false;
  // With many peers a reading costs the agent more, so it is made more seldom.
  const pause = Math.min(LONGEST, Math.max(INTERVAL, 10 * (performance.now() - began)));
  if (!paused) timer = setTimeout(read, pause);
}

async function readFleet() {
  // The first time, the only node's peers are asked for before its name is known.
  const early = before.size === 0 ? readPeers("").catch(() => null) : null;
  const { nodes, stages } = await readNodes();
  learnTitles(stages);
  await Promise.all(nodes.map(async (node) => {
    const kept = before.get(node.name) ?? { peers: [], totals: new Map(), at: 0 };
    before.set(node.name, kept);
    if (!node.reachable) return;
    try {
      keep(kept, (nodes.length === 1 && (await early)) || (await readPeers(node.name)));
    } catch (error) {
      node.reachable = false;
      node.why = error.message;
    }
  }));
  fleet.nodes = nodes;
  fleet.rows = nodes.flatMap((node) => before.get(node.name).peers.map((peer) => row(node, peer)));
  fleet.readAt = Date.now();
  if (early) afterPaint(() => performance.mark("peers-painted"));
  view?.show();
  age();
}

// Adds to each peer how fast its traffic grew since the last reading.
function keep(kept, peers) {
  const now = performance.now();
  const totals = new Map();
  for (const peer of peers) {
    const [sum, former] = [peer.bytesIn + peer.bytesOut, kept.totals.get(peer.name)];
    peer.rate = former === undefined || sum < former ? null : (sum - former) / ((now - kept.at) / 1000);
    totals.set(peer.name, sum);
  }
  Object.assign(kept, { peers, totals, at: now });
}

// A peer of a node that does not answer is at no known stage.
function row(node, peer) {
  if (node.reachable) return { node: node.name, peer, stale: false };
  const why = `${node.name} does not answer; the stage was ${peer.stage} then`;
  return { node: node.name, peer: { ...peer, stage: "unknown", why, rate: null }, stale: true };
}

function trouble(text) {
  const line = document.getElementById("trouble");
  line.hidden = !text;
  write(line, shown(text, 600));
  document.body.classList.toggle("stale", Boolean(text));
}

function age() {
  const seconds = fleet.readAt ? (Date.now() - fleet.readAt) / 1000 : null;
  write(document.getElementById("age"), seconds === null ? "reading…" : `read ${span(seconds)} ago${paused ? ", paused" : ""}`);
  const up = fleet.rows.filter((one) => one.peer.stage === "up").length;
  const text = fleet.readAt ? `${up} of ${fleet.rows.length} peers are up` : "";
  if (text !== said) write(document.getElementById("news"), (said = text));
}

function route() {
  const [, kind, ...words] = location.hash.split("/");
  const make = { peer: () => new PeerView(fleet, ...words.map(decoded)), history: () => new HistoryView(fleet) };
  view = (make[kind] ?? (() => new Overview(fleet)))();
  main.replaceChildren(view.root);
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${kind === "history" ? kind : ""}`;
    here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  document.title = `${view.title} – DMVPN`;
  view.show();
  view.refresh();
}

function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

document.getElementById("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.setAttribute("aria-pressed", String(paused));
  paused ? clearTimeout(timer) : read();
  age();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  main.focus();
});
addEventListener("hashchange", () => {
  route();
  main.focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!paused) read();
});
setInterval(age, 1000);
route();
read();

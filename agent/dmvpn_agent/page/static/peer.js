// One peer: what was found at each stage, what to do, its SAs and its history.

import { HISTORY_HEADS, historyRows } from "./history.js";
import { Failure, readPeer } from "./reading.js";
import { bytes, clock, element, shown, since, span, stageLabel } from "./words.js";

const STATES = { passed: ["✓", "passed"], failed: ["✖", "stuck here"], open: ["–", "not reached, or not known"] };
const EXPECTED = { configured: "expected by the configuration", learned: "known since it was accepted", no: "not expected" };

export class PeerView {
  constructor(fleet, node, name) {
    this.node = node ?? "";
    this.name = name ?? "";
    this.title = shown(this.name, 60);
    this.readAt = 0;
    this.body = element("div", {}, element("p", { class: "quiet" }, "reading…"));
    this.trouble = element("p", { role: "alert", class: "trouble", hidden: true });
    this.root = element("article", { class: "peer" },
      element("p", {}, element("a", { href: "#/" }, "← all peers")), this.trouble, this.body);
    this.former = "";
  }

  show() {}

  async refresh() {
    try {
      const found = await readPeer(this.node, this.name);
      this.readAt = Date.now();
      this.trouble.hidden = true;
      this.root.classList.remove("stale");
      this.render(found);
    } catch (error) {
      const age = this.readAt ? ` What is below was read ${span((Date.now() - this.readAt) / 1000)} ago.` : "";
      this.trouble.textContent = `${shown(error instanceof Failure ? error.message : error, 600)}.${age}`;
      this.trouble.hidden = false;
      this.root.classList.add("stale");
    }
  }

  render(found) {
    const text = JSON.stringify(found);
    if (text === this.former) return;
    this.former = text;
    const open = [...this.body.querySelectorAll("details")].map((one) => one.open);
    this.body.replaceChildren(
      element("h2", {}, shown(found.peer.name, 80), " ", element("span", { class: "badge" }, ...stageLabel(found.peer.stage, found.title))),
      stages(found),
      facts(found.peer, this.node),
      sas(found.peer),
      element("h3", {}, "History"),
      historyTable(found.history));
    [...this.body.querySelectorAll("details")].forEach((one, i) => (one.open = open[i] ?? one.open));
  }
}

function stages(found) {
  return element("ol", { class: "stages", "aria-label": "Stages" }, ...found.sections.map((one) => {
    const [mark, words] = STATES[one.state] ?? STATES.open;
    return element("li", { class: one.state in STATES ? one.state : "open" },
      element("span", { class: "mark", "aria-hidden": "true" }, mark),
      element("strong", {}, shown(one.title, 40)), element("span", { class: "unseen" }, ` (${words})`),
      element("span", { class: "found" }, shown(one.text, 2000)),
      ...(one.state === "failed" ? [
        element("p", {}, shown(found.why, 1000)),
        element("p", {}, element("strong", {}, "To do: "), shown(found.remedy, 1000))] : []));
  }));
}

function facts(peer, node) {
  const days = peer.daysLeft === null ? "" : peer.daysLeft < 0 ? `, expired ${-peer.daysLeft} days ago` : `, ${peer.daysLeft} days left`;
  const rows = [
    ["Seen by", `${shown(node, 60)} on ${shown(peer.interface, 20)}`],
    ["Kind", `${shown(peer.kind || "unknown", 20)}, ${EXPECTED[peer.expected] ?? ""}${peer.quarantined ? ", in quarantine" : ""}`],
    ["Since", peer.since ? `${clock(peer.since)}, for ${span(since(peer.since))}` : "before the agent knew it"],
    ["Last up", peer.stage === "up" ? "now" : peer.lastSeen ? `${span(since(peer.lastSeen))} ago` : "never, as far as the agent knows"],
    ["Lost", `${peer.flaps} times since the agent started`],
    ["Address", shown(peer.addresses.join(", ") || "none", 400)],
    ["NBMA address", shown(peer.nbma || "none", 60) + (peer.nat ? ", behind NAT" : "")],
    ["Certificate", shown(peer.subject || "none known", 1000) + days],
    ["Fingerprint", shown(peer.fingerprint || "none", 100)],
    ["AS number", String(peer.as ?? "none")],
    ["Own prefixes", shown(peer.prefixes.join(", ") || "none", 2000)],
    ["Shortcuts", shown(peer.shortcuts.join(", ") || "none", 2000)],
    ["Traffic", `${bytes(peer.bytesIn)} in, ${bytes(peer.bytesOut)} out`],
  ];
  return element("dl", {}, ...rows.flatMap(([word, text]) => [element("dt", {}, word), element("dd", {}, text)]));
}

function sas(peer) {
  if (!peer.sas.length) return "";
  return element("details", {}, element("summary", {}, `${peer.sas.length} IKE_SAs`), ...peer.sas.slice(0, 50).map((sa) =>
    element("div", { class: "sa" },
      element("p", {}, `${shown(sa.state, 30)}, ${shown(sa.local_host, 60)} – ${shown(sa.remote_host, 60)}:${shown(sa.remote_port, 9)}, `
        + `${shown(sa.algorithms, 120)}, since ${clock(sa.established_at)}`),
      element("ul", {}, ...(Array.isArray(sa.children) ? sa.children.slice(0, 50) : []).map((child) => element("li", {},
        `CHILD_SA ${shown(child?.name, 60)}: ${shown(child?.state, 30)}, ${shown(child?.algorithms, 120)}, `
        + `SPIs ${shown(child?.spi_in, 20)} in, ${shown(child?.spi_out, 20)} out, expires ${clock(child?.expires)}`))))));
}

function historyTable(entries) {
  if (!entries.length) return element("p", { class: "quiet" }, "none");
  return element("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "History" }, element("table", {},
    element("thead", {}, element("tr", {}, ...HISTORY_HEADS.map((one) => element("th", { scope: "col" }, one)))),
    element("tbody", {}, ...historyRows("", entries))));
}

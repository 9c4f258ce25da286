// The overview: the nodes, the picture, and the table of the peers.

import { Picture } from "./picture.js";
import { PeerTable } from "./table.js";
import { afterPaint, element, shown, span, stage, stageNames, write } from "./words.js";

export class Overview {
  title = "Peers";

  constructor(fleet) {
    this.fleet = fleet;
    this.nodes = element("section", { class: "nodes", "aria-label": "Nodes" });
    this.picture = new Picture();
    this.table = new PeerTable();
    this.search = element("input", {
      type: "search", id: "search", oninput: () => this.select(), placeholder: "name, address, reason…", autocomplete: "off",
    });
    this.stages = element("select", { id: "stage", onchange: () => this.select() });
    this.count = element("p", { class: "quiet", id: "count" });
    this.root = element("div", {},
      this.nodes,
      this.picture.root,
      element("section", { "aria-label": "Peers" },
        element("div", { class: "filter", role: "search" },
          element("label", { for: "search" }, "Filter"), this.search,
          element("label", { for: "stage" }, "Stage"), this.stages, this.count),
        this.table.root));
    this.options("");
  }

  show() {
    this.showNodes();
    this.options(this.stages.value);
    this.select();
    afterPaint(() => this.picture.show(this.fleet));
  }

  async refresh() {}

  // Renews the choice of stages with the number of peers at each.
  options(chosen) {
    const counts = new Map();
    for (const { peer } of this.fleet.rows) counts.set(peer.stage, (counts.get(peer.stage) ?? 0) + 1);
    const down = this.fleet.rows.length - (counts.get("up") ?? 0);
    const all = [["", `all (${this.fleet.rows.length})`], ["down", `not up (${down})`]];
    const names = new Set([...stageNames, ...counts.keys()]);
    for (const name of names) if (counts.has(name)) all.push([name, `${stage(name).title} (${counts.get(name)})`]);
    if (chosen && !all.some(([name]) => name === chosen)) all.push([chosen, `${stage(chosen).title} (0)`]);
    const same = this.stages.length === all.length && all.every(([, text], i) => this.stages[i].textContent === text);
    if (!same) {
      this.stages.replaceChildren(...all.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
    }
  }

  select() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = this.stages.value;
    const rows = this.fleet.rows.filter(({ node, peer }) => {
      if (chosen && (chosen === "down" ? peer.stage === "up" : peer.stage !== chosen)) return false;
      if (!words.length) return true;
      const text = [node, peer.name, peer.subject, peer.stage, peer.why, peer.nbma, peer.as ?? "", ...peer.addresses, ...peer.prefixes]
        .join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const left = this.table.show(rows, this.fleet.nodes.length > 1);
    const hidden = left ? `; ${left} more are not shown: filter them` : "";
    write(this.count, `${rows.length} of ${this.fleet.rows.length} peers${hidden}`);
  }

  showNodes() {
    const cards = this.fleet.nodes.map(card);
    // Replaced only if it changed, so that a screen reader keeps its place.
    if (cards.map((one) => one.textContent).join() !== this.nodes.textContent) this.nodes.replaceChildren(...cards);
  }
}

function card(node) {
  const [state, word] = condition(node);
  const counts = node.counts;
  const faults = node.reachable ? node.faults : [node.why || "not asked yet"];
  return element("article", { class: `node ${state}` },
    element("h2", {}, shown(node.name, 60), " ", element("span", { class: "badge" }, word)),
    node.reachable
      ? element("p", { class: "quiet" },
        `${shown(node.role, 20)}, version ${shown(node.version, 40)}${node.dryRun ? ", DRY RUN: it changes nothing" : ""}`)
      : element("p", {}, node.answeredAt
        ? `It answered last ${span(node.age)} ago: what is shown of it is as old.`
        : "It has not answered since this page's server started."),
    node.reachable && Number.isFinite(counts.total)
      ? element("p", {}, `${shown(counts.up, 9)} of ${shown(counts.total, 9)} peers up; `
        + `${shown(counts.expected_up, 9)} of ${shown(counts.expected, 9)} expected`)
      : null,
    faults.length ? element("ul", {}, ...faults.slice(0, 20).map((one) => element("li", {}, shown(one, 500)))) : null);
}

function condition(node) {
  if (!node.reachable) return ["away", "✖ not reachable"];
  if (node.healthy) return ["healthy", "● healthy"];
  return node.degraded ? ["degraded", "▲ degraded"] : ["away", "○ unknown"];
}

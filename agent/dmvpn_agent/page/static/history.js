// What was decided, changed and seen: the newest first.

import { Failure, readHistory } from "./reading.js";
import { clock, element, peerLink, shown } from "./words.js";

export const HISTORY_HEADS = ["Time", "About", "What", "Peer", "Text"];

// ``node``: whose peers the names are; without one they are no links.
export function historyRows(node, entries) {
  return [...entries].reverse().map((entry) => {
    const times = entry.count > 1 ? ` (${entry.count} times, last ${clock(entry.last)})` : "";
    const name = shown(entry.peer || "–", 60);
    return element("tr", {},
      element("td", {}, clock(entry.time)), element("td", {}, shown(entry.kind, 20)), element("td", {}, shown(entry.what, 60)),
      element("td", {}, node && entry.peer ? element("a", { href: peerLink(node, entry.peer) }, name) : name),
      element("td", {}, shown(entry.text, 1000) + times));
  });
}

export class HistoryView {
  title = "History";

  constructor(fleet) {
    this.fleet = fleet;
    this.node = element("select", { id: "node", onchange: () => this.refresh() });
    this.denied = element("input", { type: "checkbox", id: "denied", onchange: () => this.refresh() });
    this.trouble = element("p", { role: "alert", class: "trouble", hidden: true });
    this.body = element("tbody");
    this.root = element("section", { "aria-label": "History" },
      element("div", { class: "filter" },
        element("label", { for: "node" }, "Node"), this.node,
        this.denied, element("label", { for: "denied" }, "only denials")),
      this.trouble,
      element("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Table of the history" },
        element("table", {}, element("thead", {}, element("tr", {}, ...HISTORY_HEADS.map((one) => element("th", { scope: "col" }, one)))),
          this.body)));
    this.former = "";
  }

  show() {
    const names = this.fleet.nodes.map((node) => node.name);
    if (names.join("\n") === [...this.node.options].map((one) => one.value).join("\n")) return;
    this.node.replaceChildren(...names.map((name) => element("option", { value: name }, shown(name, 60))));
    this.refresh();
  }

  async refresh() {
    if (!this.node.value) return;
    const [node, denied] = [this.node.value, this.denied.checked];
    try {
      const entries = await readHistory(node, denied);
      if (node !== this.node.value || denied !== this.denied.checked) return;
      this.trouble.hidden = true;
      const text = JSON.stringify([node, entries]);
      if (text !== this.former) this.body.replaceChildren(...historyRows(node, entries));
      this.former = text;
    } catch (error) {
      this.trouble.textContent = `${shown(error instanceof Failure ? error.message : error, 600)}. What is below may be old.`;
      this.trouble.hidden = false;
    }
  }
}

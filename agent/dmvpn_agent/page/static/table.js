// The table of the peers. Rows are kept from one reading to the next, and only what changed is written.

import { afterPaint, element, peerLink, rate, shown, since, span, stage, stageLabel, write } from "./words.js";

const MOST_ROWS = 2000;
const FIRST_ROWS = 100; // what is painted at once; the others follow
const byText = (take) => (one, other) => take(one).localeCompare(take(other), undefined, { numeric: true });
const byNumber = (take) => (one, other) => (take(one) ?? Infinity) - (take(other) ?? Infinity);

// ``text``: of a cell. ``order``: compares two rows.
const COLUMNS = [
  { name: "Peer", text: ({ peer }) => shown(peer.name, 60), order: byText(({ peer }) => peer.name) },
  { name: "Node", text: ({ node }) => shown(node, 40), order: byText(({ node }) => node) },
  { name: "Stage", text: ({ peer }) => peer.stage, order: byNumber(({ peer }) => stage(peer.stage).order) },
  { name: "Since", text: ({ peer }) => span(since(peer.since)), order: byText(({ peer }) => peer.since), right: true },
  { name: "Why", text: ({ peer }) => shown(peer.why, 200), order: byText(({ peer }) => peer.why) },
  { name: "Address", text: ({ peer }) => shown(peer.addresses.join(", ") || "–", 80), order: byText(({ peer }) => peer.addresses[0] ?? "") },
  { name: "NBMA", text: ({ peer }) => shown(peer.nbma || "–", 60) + (peer.nat ? " (NAT)" : ""), order: byText(({ peer }) => peer.nbma) },
  { name: "AS", text: ({ peer }) => String(peer.as ?? "–"), order: byNumber(({ peer }) => peer.as), right: true },
  { name: "BGP", text: ({ peer }) => shown(peer.bgp?.state ?? "–", 20), order: byText(({ peer }) => peer.bgp?.state ?? "") },
  { name: "Prefixes", text: ({ peer }) => (peer.bgp ? `${peer.bgp.accepted}/${peer.bgp.allowed}` : "–"), order: byNumber(({ peer }) => peer.bgp?.accepted), right: true },
  { name: "Traffic", text: ({ peer }) => rate(peer.rate), order: byNumber(({ peer }) => (peer.rate === null ? null : -peer.rate)), right: true },
  { name: "Certificate", text: ({ peer }) => (peer.daysLeft === null ? "–" : `${peer.daysLeft} d`), order: byNumber(({ peer }) => peer.daysLeft), right: true },
];

export class PeerTable {
  constructor() {
    this.sorted = { column: COLUMNS.find((one) => one.name === "Stage"), sign: 1 }; // who is stuck comes first
    this.known = new Map();
    this.body = element("tbody");
    this.heads = COLUMNS.map((column) => element("th", { scope: "col", class: column.right ? "right" : null },
      element("button", { type: "button", onclick: () => this.sort(column) }, column.name)));
    this.table = element("table", {},
      element("caption", { class: "unseen" }, "Peers and the stage each has reached; the buttons sort"),
      element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    this.root = element("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Table of the peers" }, this.table);
    this.rows = [];
    this.room = FIRST_ROWS;
    this.mark();
  }

  sort(column) {
    this.sorted = { column, sign: this.sorted.column === column ? -this.sorted.sign : 1 };
    this.mark();
    this.show(this.rows, !this.table.classList.contains("one"));
  }

  mark() {
    COLUMNS.forEach((column, i) => {
      if (column === this.sorted.column) this.heads[i].setAttribute("aria-sort", this.sorted.sign > 0 ? "ascending" : "descending");
      else this.heads[i].removeAttribute("aria-sort");
    });
  }

  // Shows rows; returns how many are left out. ``several``: whether they are of several nodes.
  show(rows, several) {
    this.rows = rows;
    this.table.classList.toggle("one", !several);
    const { column, sign } = this.sorted;
    const order = (one, other) => sign * column.order(one, other) || COLUMNS[0].order(one, other);
    const chosen = [...rows].sort(order).slice(0, MOST_ROWS);
    this.fill(chosen);
    return rows.length - chosen.length;
  }

  fill(chosen) {
    const lines = chosen.slice(0, this.room).map((row) => this.line(row));
    const same = lines.length === this.body.children.length && lines.every((line, i) => line === this.body.children[i]);
    if (!same) this.body.replaceChildren(...lines);
    if (this.known.size > 4 * MOST_ROWS) this.known.clear();
    if (chosen.length > this.room) {
      this.room = MOST_ROWS;
      afterPaint(() => this.show(this.rows, !this.table.classList.contains("one")));
    }
  }

  line(row) {
    const key = `${row.node}\n${row.peer.name}`;
    let line = this.known.get(key);
    if (!line) this.known.set(key, (line = newLine(row)));
    COLUMNS.forEach((column, i) => {
      const text = column.text(row);
      if (line.texts[i] === text) return;
      line.texts[i] = text;
      const cell = line.row.children[i];
      if (column.name === "Peer") write(cell.firstChild, text);
      else if (column.name === "Stage") cell.replaceChildren(...stageLabel(text), row.peer.quarantined ? " (quarantined)" : "");
      else cell.textContent = text;
    });
    line.row.classList.toggle("old", row.stale);
    return line.row;
  }
}

function newLine(row) {
  const cells = COLUMNS.map((column) => (column.name === "Peer"
    ? element("th", { scope: "row" }, element("a", { href: peerLink(row.node, row.peer.name) }))
    : element("td", { class: column.right ? "right" : column.name === "Why" ? "why" : null })));
  return { row: element("tr", {}, ...cells), texts: [] };
}

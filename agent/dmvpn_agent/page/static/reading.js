// What the page reads: the documents of its API, each value checked, because a node may send anything.

const TIMEOUT = 20000;
const MOST_PEERS = 20000;

export class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// The data of a document; ``parameters`` become the query.
export async function get(path, parameters = {}) {
  const url = new URL(`api/v1/${path}`, location.href);
  url.search = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
  url.username = url.password = ""; // fetch refuses a URL with a password, which somebody may have typed
  let answer;
  let found;
  try {
    answer = await fetch(url, {
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT),
    });
    found = await answer.json();
  } catch (error) {
    const status = answer && !answer.ok ? `it answered ${answer.status} ${answer.statusText}` : String(error.message);
    throw new Failure("page", `the server of this page does not answer: ${status}`);
  }
  if (found?.ok !== true) throw new Failure(text(found?.error?.code), text(found?.error?.message) || "no reason given");
  return found.data ?? {};
}

const text = (value) => (typeof value === "string" ? value : "");
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const maybe = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});

export async function readNodes() {
  const data = await get("nodes");
  return { stages: object(data.stages), nodes: list(data.nodes).map(nodeOf) };
}

function nodeOf(raw) {
  const status = object(raw?.status);
  return {
    name: text(raw?.name),
    reachable: raw?.reachable === true,
    why: text(raw?.why),
    answeredAt: text(raw?.answered_at),
    age: maybe(raw?.age_seconds),
    role: text(status.role),
    version: text(status.version),
    dryRun: status.dry_run === true,
    degraded: status.degraded === true,
    healthy: status.degraded === false,
    faults: list(status.faults).map(text),
    counts: object(status.peer_counts),
  };
}

export async function readPeers(node) {
  const data = await get("peers", { node });
  return list(data.peers).slice(0, MOST_PEERS).map(peerOf).filter((peer) => peer.name);
}

export function peerOf(raw) {
  const peer = object(raw);
  const bgp = peer.bgp ? object(peer.bgp) : null;
  const traffic = object(peer.traffic);
  return {
    name: text(peer.name),
    stage: text(peer.stage),
    why: text(peer.why),
    since: text(peer.since),
    kind: text(peer.kind),
    interface: text(peer.interface),
    expected: text(peer.expected),
    quarantined: peer.quarantined === true,
    addresses: list(peer.protocol_addresses).map(text),
    nbma: text(peer.nbma_address),
    nat: peer.nat === true,
    subject: text(peer.subject),
    fingerprint: text(peer.fingerprint),
    expires: text(peer.certificate_expires),
    daysLeft: maybe(peer.certificate_days_left),
    as: maybe(peer.as_number),
    prefixes: list(peer.prefixes).map(text),
    bgp: bgp && { state: text(bgp.state), accepted: number(bgp.accepted), allowed: list(bgp.allowed).length },
    shortcuts: list(peer.shortcuts).map(text),
    bytesIn: number(traffic.bytes_in),
    bytesOut: number(traffic.bytes_out),
    flaps: number(peer.flaps),
    lastSeen: text(peer.last_seen),
    sas: list(peer.ike_sas).map(object),
  };
}

export async function readPeer(node, name) {
  const word = encodeURIComponent(name);
  const [data, stages] = await Promise.all([get(`peers/${word}`, { node }), get(`stages/${word}`, { node })]);
  return {
    peer: peerOf(data.peer),
    history: entriesOf(data.history),
    title: text(stages.title),
    why: text(stages.why),
    remedy: text(stages.do),
    sections: list(stages.sections).map((one) => ({
      title: text(one?.title), state: text(one?.state), text: text(one?.text),
    })),
  };
}

export async function readHistory(node, denied) {
  return entriesOf((await get("history", { node, denied: denied ? "yes" : "", limit: "300" })).entries);
}

function entriesOf(raw) {
  return list(raw).map((one) => ({
    time: text(one?.time), last: text(one?.last), kind: text(one?.kind), what: text(one?.what),
    peer: text(one?.peer), text: text(one?.text), count: number(one?.count),
  }));
}

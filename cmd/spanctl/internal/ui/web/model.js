import { milliseconds, percent } from "components/units.js";

// Signs say without color what a color says.
export const signs = {
  healthy: "✓", degraded: "!", broken: "✗", starting: "…", "no agent": "✗", "no answer": "?", waiting: "…",
  error: "✗", warning: "!", info: "i",
  up: "✓", relay: "↷", down: "✗", unknown: "?", none: "", self: "·",
};

// tones are the classes of the theme by states and severities.
export const tones = {
  healthy: "ok", degraded: "warning", broken: "error", starting: "info", "no agent": "error", "no answer": "error", waiting: "muted",
  error: "error", warning: "warning", info: "info",
  up: "ok", relay: "info", down: "error", unknown: "warning",
};

// stateOf returns the state of a machine: that of its health, "no answer" or "waiting".
export function stateOf(entry) {
  if (!entry) return "waiting";
  return entry.error ? "no answer" : entry.health.state;
}

// worstFirst are the states of machines.
export const worstFirst = ["broken", "no agent", "no answer", "degraded", "starting", "waiting", "healthy"];

// nameOf returns the host name of a machine, or what it was asked by.
export function nameOf(machine, entry) {
  return entry?.health?.hostname || machine.name || machine.id;
}

const severities = ["error", "warning", "info"];

// problemsOf returns what is wrong with machines, errors first: {code, severity, subject, since,
// skew, machines, accounts}. What several machines say of the same is one, with an account for each
// cause: {cause, remedy, machines}. machines are names, and since is when it was first.
export function problemsOf(machines, entries) {
  const all = new Map();
  for (const machine of machines) {
    const entry = entries[machine.id];
    if (!entry?.health || entry.error) continue;
    for (const c of entry.health.conditions ?? []) add(all, c, entry, nameOf(machine, entry));
  }
  const list = [...all.values()].map((p) => ({ ...p, accounts: [...p.accounts.values()] }));
  return severities.flatMap((severity) => list.filter((p) => p.severity === severity));
}

function add(all, c, entry, name) {
  const key = [c.severity, c.code, c.subject].join("\n"), text = [c.cause, c.remedy].join("\n");
  const p = all.get(key) ?? { code: c.code, severity: c.severity, subject: c.subject, machines: [], accounts: new Map() };
  const account = p.accounts.get(text) ?? { cause: c.cause, remedy: c.remedy, machines: [] };
  if (c.since && !(Date.parse(p.since) <= Date.parse(c.since))) Object.assign(p, { since: c.since, skew: entry.skew });
  p.machines.push(name);
  account.machines.push(name);
  p.accounts.set(text, account);
  all.set(key, p);
}

// membersOf returns the names of machines, and then of all other members that they know of, sorted.
export function membersOf(machines, entries) {
  const own = new Set(machines.map((m) => nameOf(m, entries[m.id]))), others = new Set();
  for (const machine of machines) {
    for (const name of entries[machine.id]?.peers?.keys() ?? []) {
      if (!own.has(name)) others.add(name);
    }
  }
  return [...own, ...sorted([...others])];
}

// sorted sorts names so that db2 comes before db10.
function sorted(names) {
  const keys = new Map(names.map((name) => [name, name.replace(/\d+/g, (digits) => digits.padStart(12, "0"))]));
  return names.sort((a, b) => (keys.get(a) < keys.get(b) ? -1 : 1));
}

// linkState returns the state of the link to a peer: "up", "relay", "down", "unknown", or "none"
// where there is no such peer.
export function linkState(peer) {
  if (!peer) return "none";
  if (peer.state === "up" && (peer.relay || peer.blindRelay)) return "relay";
  return peer.state;
}

// cellsOf returns the cells of a machine's row in the matrix: {state, text} for each member.
export function cellsOf(machine, entry, members) {
  const own = nameOf(machine, entry);
  return members.map((name) => {
    if (name === own) return { state: "self", text: signs.self };
    if (!entry?.peers || entry.error) return { state: "none", text: "" };
    const peer = entry.peers.get(name), state = linkState(peer);
    const rtt = peer?.rttSeconds != null && state !== "down" ? ` ${milliseconds(peer.rttSeconds)}` : "";
    return { state, text: signs[state] + rtt };
  });
}

// describe returns what is known of a link from one member to another, in words.
export function describe(from, to, entry) {
  if (from === to) return `${from} itself`;
  if (!entry || entry.error || !entry.health) return `${from} does not answer: its link to ${to} is not known`;
  const peer = entry.peers.get(to);
  if (!peer) return `${from} does not have ${to} as a peer`;
  const parts = [`${from} → ${to}: ${peer.state}`];
  if (peer.path) parts.push(`by ${peer.path}`);
  if (peer.rttSeconds != null) parts.push(`RTT ${milliseconds(peer.rttSeconds)} ms`);
  if (peer.loss != null) parts.push(`loss ${percent(peer.loss)}`);
  return parts.join(", ");
}

// counts returns how many things are in each state.
export function counts(states) {
  const out = {};
  for (const state of states) out[state] = (out[state] ?? 0) + 1;
  return out;
}

// listed returns counts in words, such as "4 up, 1 down".
export function listed(count) {
  return [...worstFirst, "down", "unknown", "relay", "up"].filter((s) => count[s]).map((s) => `${count[s]} ${s}`).join(", ");
}

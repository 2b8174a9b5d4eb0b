import { Ago } from "components/clock.js";
import { html } from "components/html.js";
import { Table } from "components/table.js";
import { counts, linkState, listed, nameOf, stateOf, worstFirst } from "./model.js";
import { Peers } from "./peers.js";
import { link } from "./route.js";
import { State } from "./state.js";

// Overview shows one machine with its peers, or a table of machines.
export function Overview({ state, machines }) {
  if (machines.length > 1) return html`<${All} entries=${state.machines} machines=${machines} />`;
  const entry = state.machines[machines[0].id];
  if (!entry?.health) return null;
  return html`
    ${entry.error && html`<p class="muted">Last known <${Ago} time=${entry.health.time} skew=${entry.skew} suffix=" ago" />:</p>`}
    <${Facts} entry=${entry} />${entry.health.mesh && html`<${Peers} machine=${machines[0]} entry=${entry} />`}`;
}

function Facts({ entry: { health, skew } }) {
  const { mesh, cluster, config, discovery = [] } = health;
  return html`
    <dl class="facts card">
      <dt>agent</dt><dd>${health.version ? html`${health.version}, up <${Ago} time=${health.started} skew=${skew} />` : "none"}</dd>
      ${mesh && html`<dt>mesh</dt><dd>${mesh.link} <span class="mono">${mesh.address}</span>, UDP ${mesh.port}, MTU ${mesh.mtu}, ${mesh.wireguard}</dd>`}
      ${cluster && html`<dt>cluster</dt><dd><span class="mono">${cluster.fingerprint}</span>, ${cluster.machines ?? 0} machines</dd>`}
      ${discovery.map((d) => html`<dt>discovery</dt><dd key=${d.registry}><${Session} session=${d} skew=${skew} /></dd>`)}
      ${config && html`<dt>config</dt><dd><span class="mono">${config.path}</span> in force ${config.since && html`for <${Ago} time=${config.since} skew=${skew} />`}</dd>`}
    </dl>`;
}

function Session({ session: s, skew }) {
  const where = s.endpoint || s.registry;
  if (!s.connected) return html`<${State} state="down" text=${where} /> not connected${s.error && `: ${s.error}`}`;
  return html`
    <${State} state="up" text=${where} /> connected <${Ago} time=${s.since} skew=${skew} />${s.lastHeard && html`,
    heard <${Ago} time=${s.lastHeard} skew=${skew} suffix=" ago" />`}`;
}

const columns = [
  { name: "machine", cell: ({ machine, entry }) => html`<a href=${link({ view: "overview", machine: machine.id })}>${nameOf(machine, entry)}</a>` },
  { name: "state", cell: ({ entry }) => html`<${State} state=${stateOf(entry)} />` },
  { name: "peers", cell: ({ health }) => health && listed(counts((health.peers ?? []).map(linkState))) },
  { name: "discovery", cell: ({ health }) => health?.discovery?.map((d) => html`<${State} state=${d.connected ? "up" : "down"} text=${d.registry} /> `) },
  { name: "cluster", cell: ({ health }) => html`<span class="mono">${health?.cluster?.fingerprint}</span>` },
  { name: "config for", cell: ({ entry, health }) => html`<${Ago} time=${health?.config?.since} skew=${entry?.skew} />` },
  { name: "version", cell: ({ health }) => health?.version },
];

function All({ machines, entries }) {
  const rank = ({ entry }) => worstFirst.indexOf(stateOf(entry));
  const rows = machines.map((machine) => ({ machine, entry: entries[machine.id] }))
    .map((row) => ({ ...row, health: row.entry?.error ? undefined : row.entry?.health }))
    .sort((a, b) => rank(a) - rank(b));
  return html`
    <section class="card" aria-labelledby="all">
      <h2 id="all">Machines</h2>
      <${Table} label="Machines" columns=${columns} rows=${rows} id=${({ machine }) => machine.id} />
    </section>`;
}

import { Ago } from "components/clock.js";
import { html } from "components/html.js";
import { Sparkline } from "components/spark.js";
import { Table } from "components/table.js";
import { bytes, milliseconds, percent } from "components/units.js";
import { of, useLoaded } from "./api.js";
import { linkState } from "./model.js";
import { link } from "./route.js";
import { State } from "./state.js";

const refresh = 30000;

// Peers shows the peers of a machine, with their round-trip times of the last hour.
export function Peers({ machine, entry }) {
  const { value } = useLoaded(of(machine.id, "samples?span=hour"), refresh);
  const samples = new Map((value?.peers ?? []).map((p) => [p.name, p.samples ?? []]));
  const columns = [
    { name: "peer", cell: (p) => html`<a href=${link({ view: "history", machine: machine.id, peer: p.name })}>${p.name}</a>` },
    { name: "state", cell: (p) => html`<${State} state=${linkState(p)} text=${p.state} />` },
    { name: "RTT", number: true, cell: (p) => (p.rttSeconds == null ? "–" : `${milliseconds(p.rttSeconds)}ms`) },
    { name: "RTT in the last hour", cell: (p) => spark(samples.get(p.name), p.name) },
    { name: "loss", number: true, cell: (p) => (p.loss == null ? "–" : percent(p.loss)) },
    { name: "path", cell: (p) => html`<span class="mono">${p.path}</span>` },
    { name: "handshake", number: true, cell: (p) => (p.lastHandshake ? html`<${Ago} time=${p.lastHandshake} skew=${entry.skew} />` : "never") },
    { name: "RX", number: true, cell: (p) => bytes(p.receivedBytes) },
    { name: "TX", number: true, cell: (p) => bytes(p.transmittedBytes) },
  ];
  return html`
    <section class="card" aria-labelledby="peers">
      <h2 id="peers">Peers</h2>
      <${Table} label="Peers" columns=${columns} rows=${entry.health.peers ?? []} id=${(p) => p.name} />
    </section>`;
}

function spark(samples, name) {
  const values = (samples ?? []).map((s) => s.rttSeconds ?? null);
  if (values.every((v) => v === null)) return null;
  return html`<${Sparkline} values=${values} label="RTT of ${name} in the last hour" />`;
}

import { useMemo, useState } from "preact/hooks";
import { absolute } from "components/clock.js";
import { TimeChart } from "components/chart.js";
import { html } from "components/html.js";
import { bytes, milliseconds, percent } from "components/units.js";
import { of, useLoaded } from "./api.js";
import { nameOf } from "./model.js";
import { link } from "./route.js";
import { history, summary } from "./samples.js";

const refresh = { hour: 30000, day: 300000 };

// History shows how the link to a peer was in the last hour or day.
export function History({ state, route, machines }) {
  const machine = machines[0], entry = state.machines[machine.id];
  const peers = [...(entry?.peers?.keys() ?? [])];
  const peer = route.peer || peers[0];
  const go = (change) => {
    location.hash = link({ view: "history", machine: machine.id, peer, span: route.span, ...change });
  };
  return html`
    <section class="card" aria-labelledby="history">
      <div class="bar">
        <h2 id="history">${nameOf(machine, entry)} ${peer && ` → ${peer}`}</h2>
        <label>Peer
          <select value=${peer} onChange=${(e) => go({ peer: e.target.value })}>
            ${(peers.includes(peer) || !peer ? peers : [peer, ...peers]).map((p) => html`<option key=${p} value=${p}>${p}</option>`)}
          </select>
        </label>
        <div class="switch" role="group" aria-label="Time">
          ${["hour", "day"].map((s) => html`<button key=${s} aria-pressed=${route.span === s} onClick=${() => go({ span: s })}>${s}</button>`)}
        </div>
      </div>
      ${!peer && html`<p class="muted">${nameOf(machine, entry)} has no peers.</p>`}
      ${peer && html`<${Charts} key=${`${machine.id} ${peer}`} machine=${machine} peer=${peer} span=${route.span} />`}
    </section>`;
}

// Bytes are marked at multiples of powers of 2.
const binary = Array.from({ length: 50 }, (_, i) => 2 ** i);

const charts = [
  { title: "RTT", unit: "ms", of: ["rtt"], format: (v) => (v === 0 ? "0 ms" : `${milliseconds(v / 1000)} ms`) },
  { title: "Loss", of: ["loss"], format: percent, range: 1 },
  { title: "Traffic", of: ["received", "transmitted"], format: (v) => `${bytes(v)}/s`, steps: binary },
];

const lines = {
  rtt: { label: "RTT", color: "--line-1", fill: "--fill-1" },
  loss: { label: "loss", color: "--line-2" },
  received: { label: "received", color: "--line-1" },
  transmitted: { label: "transmitted", color: "--line-2", dash: [5, 4] },
};

function Charts({ machine, peer, span }) {
  const query = new URLSearchParams({ peer, span });
  const { value, error } = useLoaded(of(machine.id, `samples?${query}`), refresh[span]);
  const shown = useMemo(() => value && history(value, peer), [value, peer]);
  const [index, setIndex] = useState(null);
  if (error) return html`<p class="error">${error}</p>`;
  if (!shown) return html`<p class="muted">…</p>`;
  if (shown.seconds.length === 0) return html`<p class="muted">Nothing is known of this time.</p>`;
  const said = summary(shown);
  return html`
    <p>${said}</p>
    <p class="reading mono" aria-hidden="true">${reading(shown, index)}</p>
    <ul class="legend" aria-label="Shades">
      <li><span class="swatch down hatched"></span> down</li><li><span class="swatch unknown"></span> on trial</li><li><span class="swatch none"></span> not known</li>
    </ul>
    ${charts.map((c) => html`<${Chart} key=${c.title} chart=${c} history=${shown} said=${said} read=${setIndex} />`)}`;
}

function Chart({ chart, history: h, said, read }) {
  const data = useMemo(() => [h.seconds, ...chart.of.map((name) => h[name])], [h]);
  return html`
    <h3>${chart.title}${chart.of.length > 1 && html` <span class="muted">received ─, transmitted ╌</span>`}</h3>
    <${TimeChart} data=${data} lines=${chart.of.map((name) => lines[name])} format=${chart.format} range=${chart.range} steps=${chart.steps}
      shade=${h.bands} sync="history" read=${read} label="${chart.title}. ${said}" />`;
}

// reading says what is under the cursor.
function reading(h, index) {
  if (index === null) return "\u00a0";
  const values = charts.flatMap((c) => c.of.map((name) => h[name][index] != null && `${lines[name].label} ${c.format(h[name][index])}`));
  return [absolute(h.seconds[index] * 1000), h.states[index] || "not known", ...values].filter(Boolean).join("  ");
}

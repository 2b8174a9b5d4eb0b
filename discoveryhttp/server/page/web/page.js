import { render } from "preact";
import { useState } from "preact/hooks";
import { html } from "components/html.js";
import { Sparkline } from "components/spark.js";
import { Table } from "components/table.js";
import { useNow } from "components/clock.js";
import { duration } from "components/units.js";
import { count, latency, none, rate, size } from "./format.js";
import { Lines } from "./lines.js";
import { busy, columns } from "./series.js";
import { useServer } from "./source.js";

const counts = [["clusters", "Clusters"], ["affiliates", "Affiliates"], ["endpoints", "Endpoints"], ["watches", "Watches"], ["connections", "Connections"]];

// powers are powers of two, as sizes are written in.
const powers = Array.from({ length: 40 }, (_, i) => 2 ** i);

const reasons = {
  limit: "beyond a limit", token: "without the cluster's token", invalid: "not understood",
  failed: "server could not", connections: "too many connections", silent: "silent connections",
};

function Header({ shown, lost }) {
  const { latest } = shown;
  const now = useNow();
  const state = lost ? ["error", `no answer for ${duration(now - lost)}`]
    : latest.serving ? ["ok", "serving"] : ["error", latest.shows === "nothing" || latest.time ? "not serving: the store cannot be used" : "starting"];
  return html`
    <header>
      <div>
        <h1>Discovery</h1>
        <p class="muted">The machines of a cluster find each other here. What they publish is encrypted; this server cannot read it.</p>
      </div>
      <p class="state"><span class=${`pill ${state[0]}`} role="status">${state[1]}</span>
        <span class="muted">${latest.time > 0 && `up ${duration(latest.uptime * 1000)}, `}spanctl ${latest.version}</span></p>
    </header>`;
}

function Counts({ latest, numbers }) {
  return html`
    <ul class="counts" aria-label="Numbers now">
      ${counts.map(([name, label]) => html`
        <li key=${name} class="panel" data-count=${name}>
          <span class="muted">${label}</span>
          <b>${count(latest.now[name])}</b>
          ${numbers && html`<${Sparkline} values=${numbers.series[name]} label=${`${label} over time`} />`}
        </li>`)}
    </ul>`;
}

function Spans({ span, choose }) {
  return html`
    <div class="spans" role="group" aria-label="Time shown">
      ${["hour", "day"].map((s) => html`
        <button key=${s} type="button" aria-pressed=${String(s === span)} onClick=${() => choose(s)}>last ${s}</button>`)}
    </div>`;
}

function Calls({ latest, numbers }) {
  const rows = columns(numbers, "calls");
  const median = ({ of }) => latest.now[`p50.${of}`], slow = ({ of }) => latest.now[`p99.${of}`];
  return html`
    <section class="panel">
      <h2>Calls now</h2>
      <${Table} label="Calls now" rows=${rows} id=${(r) => r.of} columns=${[
        { name: "call", cell: (r) => r.of },
        { name: "rate", number: true, cell: (r) => rate(latest.now[r.name]) },
        { name: "half within", number: true, cell: (r) => latency(median(r)) },
        { name: "99 % within", number: true, cell: (r) => latency(slow(r)) },
      ]} />
      <p class="muted">A watch is counted when it ends. Times are those of the last ten seconds, within a factor of two.</p>
    </section>`;
}

function Server({ latest }) {
  const now = useNow();
  const { store, memory } = latest, used = latest.now.memory;
  const facts = [
    ["Store", store.kind], ["State", latest.serving ? "can be written to" : "cannot be used"],
    ["Affiliates take", size(latest.now.stored)],
    ...(store.file ? [["File", size(store.file)]] : []),
    ...(store.written ? [["Last write", `${duration(now - store.written * 1000)} ago`]] : []),
    ["Memory", used == null ? none : memory ? `${size(used)} of at most ${size(memory)}` : `${size(used)}, no bound`],
  ];
  return html`
    <section class="panel">
      <h2>Store and memory</h2>
      <dl>${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${memory > 0 && used != null && html`<meter min="0" max=${memory} value=${used} aria-label="Memory in use"></meter>`}
    </section>`;
}

function Numbers({ shown, span, choose }) {
  const { latest, numbers } = shown;
  if (!latest.now) {
    return html`
      <section class="panel">
        <p>Numbers are shown in a browser on the server's own machine, which a tunnel reaches:</p>
        <pre>ssh -L 3000:127.0.0.1:3000 SERVER</pre>
      </section>`;
  }
  const refused = numbers && busy(numbers, columns(numbers, "refusals")).map((r) => ({ ...r, label: reasons[r.of] }));
  return html`
    ${latest.few && html`<p class="panel">There are few clusters here now. Their numbers would tell of single machines, and are not shown.</p>`}
    <${Counts} latest=${latest} numbers=${numbers} />
    <${Spans} span=${span} choose=${choose} />
    ${numbers && html`
      <div class="charts">
        <${Lines} title="Calls" numbers=${numbers} list=${columns(numbers, "calls")} format=${rate} />
        <${Lines} title="Refusals" numbers=${numbers} list=${refused} format=${rate} empty="None in this time." />
        <${Lines} title="99 % of calls within" numbers=${numbers} list=${columns(numbers, "p99")} format=${latency} />
        <${Lines} title="Memory" numbers=${numbers} list=${[{ name: "memory", of: "in use" }, { name: "stored", of: "affiliates" }]} format=${size} steps=${powers} />
        <${Calls} latest=${latest} numbers=${numbers} />
        <${Server} latest=${latest} />
      </div>`}`;
}

function Page() {
  const [span, choose] = useState("hour");
  const { shown, lost } = useServer(span);
  if (!shown) {
    return html`<main><h1>Discovery</h1><p role="status">${lost ? "The server does not answer." : "Asking the server …"}</p></main>`;
  }
  return html`
    <main data-shows=${shown.latest.shows} data-span=${shown.span}>
      <${Header} shown=${shown} lost=${lost} />
      <${Numbers} shown=${shown} span=${span} choose=${choose} />
      <footer class="muted">${shown.latest.shows === "rounded" && "Numbers are rounded. "}<a href="page/licenses.txt">Licences</a></footer>
    </main>`;
}

render(html`<${Page} />`, document.getElementById("page"));

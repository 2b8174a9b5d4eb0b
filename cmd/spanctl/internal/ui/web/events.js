import { useState } from "preact/hooks";
import { Ago } from "components/clock.js";
import { html } from "components/html.js";
import { Table } from "components/table.js";
import { matching } from "./filter.js";
import { nameOf } from "./model.js";
import { State } from "./state.js";

const first = 200;

// Events shows what happened, the newest first.
export function Events({ state, machines }) {
  const [text, setText] = useState(""), [type, setType] = useState("");
  const all = machines.flatMap((machine) => (state.events[machine.id] ?? []).map((event) => ({ machine, event })))
    .map((row) => ({ ...row, name: nameOf(row.machine, state.machines[row.machine.id]) }))
    .sort((a, b) => Date.parse(b.event.time) - Date.parse(a.event.time));
  const found = all.filter(matching(text, type));
  return html`
    <section class="card" aria-labelledby="events">
      <div class="bar">
        <h2 id="events">Events</h2>
        <label>Find <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} placeholder="reason, peer, words" /></label>
        <label>Type
          <select value=${type} onChange=${(e) => setType(e.target.value)}>
            <option value="">all</option><option>Warning</option><option>Normal</option>
          </select>
        </label>
        <span class="muted" role="status">${found.length} of ${all.length}${found.length > first && `, the newest ${first} are shown`}</span>
      </div>
      <${Table} label="Events" columns=${columnsOf(machines, state.machines)} rows=${found.slice(0, first)} id=${(r) => `${r.machine.id} ${r.event.id}`} />
    </section>`;
}

function columnsOf(machines, entries) {
  return [
    { name: "reason", cell: ({ event: e }) => html`<${State} state=${e.type === "Warning" ? "warning" : "info"} text=${e.reason} />` },
    { name: "last seen", number: true, cell: ({ machine, event: e }) => html`<${Ago} time=${e.time} skew=${entries[machine.id]?.skew} />` },
    machines.length > 1 && { name: "machine", cell: ({ name }) => name },
    { name: "object", cell: ({ event: e }) => e.subject },
    { name: "message", wrap: true, cell: ({ event: e }) => e.message },
    { name: "count", number: true, cell: ({ event: e }) => e.count },
  ].filter(Boolean);
}

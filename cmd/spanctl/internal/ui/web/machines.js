import { html } from "components/html.js";
import { counts, listed, nameOf, signs, stateOf, tones } from "./model.js";
import { link } from "./route.js";

// Of this many machines and more, only the first that are not healthy are shown one by one.
const many = 12;

// Machines shows the state of each machine.
export function Machines({ machines, entries, route }) {
  const all = machines.map((machine) => ({ machine, state: stateOf(entries[machine.id]) }));
  const shown = all.length < many ? all : all.filter(({ state }) => state !== "healthy");
  const rest = shown.length - many;
  return html`
    <section class="machines" aria-label="States">
      ${all.length >= many && html`<strong>${listed(counts(all.map((m) => m.state)))}</strong>`}
      <ul>
        ${shown.slice(0, many).map(({ machine, state }) => html`
          <li key=${machine.id}>
            <a class="chip ${tones[state]}" href=${link({ ...route, machine: machine.id, peer: "" })}>
              <span class="sign" aria-hidden="true">${signs[state]}</span>
              <span class="name">${nameOf(machine, entries[machine.id])}</span> ${state}
            </a>
          </li>`)}
        ${rest > 0 && html`<li><a class="chip muted" href=${link({ view: "overview" })}>and ${rest} more</a></li>`}
      </ul>
      ${all.map(({ machine }) => entries[machine.id]?.error && html`
        <p key=${machine.id} class="error">${nameOf(machine, entries[machine.id])} does not answer: ${entries[machine.id].error}</p>`)}
    </section>`;
}

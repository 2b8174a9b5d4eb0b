import { html } from "components/html.js";
import { nameOf } from "./model.js";
import { link, views } from "./route.js";

const titles = { overview: "Overview", matrix: "Matrix", graph: "Graph", history: "History", events: "Events", config: "Config" };

// Header has the views, the choice of a machine, and whether the page is connected.
export function Header({ state, route, machines }) {
  return html`
    <header>
      <h1><img src="/favicon.svg" alt="" width="22" height="22" /> spanctl</h1>
      <nav aria-label="Views">
        ${views.map((view) => html`
          <a key=${view} href=${link({ ...route, view })} aria-current=${view === route.view ? "page" : undefined}>${titles[view]}</a>`)}
      </nav>
      ${machines.length > 1 && html`<${Choice} state=${state} route=${route} machines=${machines} />`}
    </header>
    ${state.connected === false && html`
      <div class="lost" role="alert">
        <strong>✗ Not connected.</strong> What is shown may be old. ${state.refused ||
        html`Is <code>spanctl ui</code> still running?`} Trying again…
      </div>`}`;
}

function Choice({ state, route, machines }) {
  const choose = (e) => {
    location.hash = link({ ...route, machine: e.target.value, peer: "" });
  };
  return html`
    <label class="choice">
      <span class="hidden">Machine</span>
      <select value=${route.machine} onChange=${choose}>
        <option value="">All ${machines.length} machines</option>
        ${machines.map((m) => html`<option key=${m.id} value=${m.id}>${nameOf(m, state.machines[m.id])}</option>`)}
      </select>
    </label>`;
}

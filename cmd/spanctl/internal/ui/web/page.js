import { useEffect } from "preact/hooks";
import { html } from "components/html.js";
import { Header } from "./header.js";
import { Conditions } from "./conditions.js";
import { Machines } from "./machines.js";
import { Overview } from "./overview.js";
import { Matrix } from "./matrix.js";
import { Graph } from "./graph.js";
import { History } from "./history.js";
import { Events } from "./events.js";
import { Config } from "./config.js";
import { nameOf, signs, stateOf, worstFirst } from "./model.js";

const shown = { overview: Overview, matrix: Matrix, graph: Graph, history: History, events: Events, config: Config };

// Page is the whole page in a state.
export function Page({ state, route }) {
  const { session, machines: entries } = state;
  const machines = session?.machines ?? [];
  const chosen = machines.filter((m) => !route.machine || m.id === route.machine);
  const title = titleOf(machines, entries);
  useEffect(() => {
    document.title = title;
  }, [title]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} state=${state} route=${route} machines=${machines} />
    <main id="main" tabindex="-1">
      ${!session && html`<p class="muted" role="status">Waiting for the machines…</p>`}
      ${session && chosen.length === 0 && html`<p>There is no machine ${route.machine}.</p>`}
      ${chosen.length > 0 && html`
        <${Machines} machines=${chosen} entries=${entries} route=${route} />
        <${Conditions} machines=${chosen} entries=${entries} route=${route} />
        <${shown[route.view]} state=${state} route=${route} machines=${chosen} />`}
    </main>
    <footer class="muted">
      <span>${session && `spanctl ${session.version}`}</span>
      <span>${session && (session.write ? "changes are allowed (--write)" : "read-only")}</span>
      <a href="/licenses.txt">Licences</a>
    </footer>
    <div class="hidden" role="log" aria-live="polite">${state.said.map(({ id, text }) => html`<p key=${id}>${text}</p>`)}</div>`;
}

// The hash is the route, so that a link to a part of the page moves the focus alone.
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function titleOf(machines, entries) {
  const states = machines.map((m) => stateOf(entries[m.id]));
  const worst = worstFirst.find((s) => states.includes(s));
  if (!worst) return "spanctl";
  const those = machines.filter((_, i) => states[i] === worst);
  const who = those.length === 1 ? nameOf(those[0], entries[those[0].id]) : `${those.length} machines`;
  return `${signs[worst]} ${who} ${worst} – spanctl`;
}

import { useState } from "preact/hooks";
import { absolute, Ago } from "components/clock.js";
import { html } from "components/html.js";
import { of, useLoaded } from "./api.js";
import { Changes, useChange } from "./change.js";
import { Editor } from "./editor.js";
import { nameOf } from "./model.js";
import { Plan } from "./plan.js";

// How often the difference is looked for again, in milliseconds.
const again = 10000;

// Config shows the config in force, what differs from it, and the configs before. With --write it
// can be changed.
export function Config({ state, machines }) {
  return html`<${Machine} key=${machines[0].id} state=${state} machine=${machines[0]} />`;
}

function Machine({ state, machine }) {
  const entry = state.machines[machine.id];
  const [turn, setTurn] = useState(0);
  const change = useChange(machine, () => setTurn(turn + 1));
  const since = entry?.health?.config?.since ?? "";
  const load = (what, every) => useLoaded(of(machine.id, what), every, `${turn} ${since}`);
  const config = load("config"), diff = load("diff", again), history = load("history");
  const props = { machine, name: nameOf(machine, entry), entry, change, write: state.session.write };
  return html`
    <${Changes} ...${props} />
    <section class="card" aria-labelledby="diff">
      <h2 id="diff">Difference between the config and ${props.name}</h2>
      <${Loaded} of=${diff} show=${(d) => html`
        ${d.configError && html`<p class="warning">The file is not in force: ${d.configError}</p>`}
        <${Plan} plan=${d.plan} />`} />
    </section>
    <section class="card" aria-labelledby="config">
      <h2 id="config">Config in force</h2>
      <${Loaded} of=${config} show=${(c) => html`<${Text} config=${c} skew=${entry?.skew} />`} />
      ${props.write && config.value?.editable && html`<${Editor} key=${config.value.revision} ...${props}
        text=${config.value.text} revision=${config.value.revision} />`}
    </section>
    <section class="card" aria-labelledby="before">
      <h2 id="before">History</h2>
      <${Loaded} of=${history} show=${(h) => html`<${Revisions} history=${h} ...${props} />`} />
    </section>`;
}

function Loaded({ of: { value, error }, show }) {
  if (error) return html`<p class="error">${error}</p>`;
  return value ? show(value) : html`<p class="muted">…</p>`;
}

function Text({ config, skew }) {
  if (!config.text) return html`<p class="muted">No config is in force.</p>`;
  return html`
    <p class="muted"><span class="mono">${config.path}</span>${config.since && html`, for <${Ago} time=${config.since} skew=${skew} />`}. Secrets are hidden.</p>
    <pre class="text" tabindex="0" role="group" aria-label="Config"><ol>${config.text.trimEnd().split("\n").map((line) => html`<li>${line}</li>`)}</ol></pre>`;
}

function Revisions({ history, name, change, write }) {
  const revisions = history.revisions ?? [];
  if (revisions.length === 0) return html`<p class="muted">No config was in force yet.</p>`;
  return html`
    <ol class="revisions">
      ${revisions.map((r, i) => html`
        <li key=${r.number}>
          <strong>${r.number}</strong>
          <time datetime=${r.time}>${absolute(r.time)}</time>
          <span>${r.how}</span>
          <span class="muted">${i === 0 && history.trialUntil ? "on trial" : r.unconfirmed ? "not confirmed" : i === 0 ? "newest" : ""}</span>
          ${write && i > 0 && html`
            <button disabled=${change.busy} onClick=${() => change.ask({
              call: "rollback", body: { number: r.number }, verb: `Roll back to ${r.number}`,
              question: `Put config ${r.number} of ${absolute(r.time)} in force on ${name} again?`,
            })}>Roll back to ${r.number}</button>`}
        </li>`)}
    </ol>`;
}

import { useState } from "preact/hooks";
import { Ago } from "components/clock.js";
import { html } from "components/html.js";
import { plural } from "components/units.js";
import { useLoaded } from "./api.js";
import { conditionsOf, counts, nameOf, signs, tones } from "./model.js";
import { link } from "./route.js";
import { title } from "./store.js";

const first = 8;

// Conditions shows what is wrong, errors first: with cause and remedy in the overview, and in
// a line elsewhere.
export function Conditions({ machines, entries, route }) {
  const [all, setAll] = useState(false);
  const conditions = conditionsOf(machines, entries);
  if (conditions.length === 0) return null;
  if (route.view !== "overview") return html`<${Line} conditions=${conditions} route=${route} />`;
  const shown = all ? conditions : conditions.slice(0, first);
  return html`
    <section aria-labelledby="wrong">
      <h2 id="wrong">${heading(conditions)}</h2>
      <ul class="conditions">
        ${shown.map((c) => html`<${Condition} key=${keyOf(c)} ...${c} named=${machines.length > 1} />`)}
      </ul>
      ${conditions.length > first && html`
        <button onClick=${() => setAll(!all)}>${all ? "Show fewer" : `Show ${conditions.length - first} more`}</button>`}
    </section>`;
}

const keyOf = ({ machine, condition }) => `${machine.id} ${title(condition)}`;

function heading(conditions) {
  const n = counts(conditions.map((c) => c.condition.severity));
  return ["error", "warning", "info"].filter((s) => n[s]).map((s) => (s === "info" ? `${n.info} info` : plural(n[s], s))).join(", ");
}

function Line({ conditions, route }) {
  return html`
    <p class="line">
      <a href=${link({ view: "overview", machine: route.machine })}>${heading(conditions)}</a>
      ${conditions.slice(0, 3).map((c) => html`
        <span key=${keyOf(c)} class=${tones[c.condition.severity]}>
          <span aria-hidden="true">${signs[c.condition.severity]}</span> ${title(c.condition)}
        </span>`)}
      ${conditions.length > 3 && html`<span class="muted">…</span>`}
    </p>`;
}

function Condition({ machine, entry, condition: c, named }) {
  const [open, setOpen] = useState(false);
  return html`
    <li class="condition ${tones[c.severity]}-edge">
      <h3>
        <span class="sign ${tones[c.severity]}" aria-hidden="true">${signs[c.severity]}</span>
        <span class="hidden">${c.severity}:</span>
        <span class=${tones[c.severity]}>${c.code}</span>
        ${c.subject && html`<span>${c.subject}</span>`}
        <span class="muted">${named && `at ${nameOf(machine, entry)}`}${c.since && html`${named && ", "}for <${Ago} time=${c.since} skew=${entry.skew} />`}</span>
      </h3>
      <p>${c.cause}</p>
      <p class="remedy">${c.remedy}</p>
      <details onToggle=${(e) => setOpen(e.target.open)}>
        <summary>Explain ${c.code}</summary>
        ${open && html`<${Explained} code=${c.code} />`}
      </details>
    </li>`;
}

function Explained({ code }) {
  const { value, error } = useLoaded(`explain/${encodeURIComponent(code)}`);
  if (error) return html`<p class="muted">${error}. <code>spanctl explain ${code}</code> has it.</p>`;
  return html`<pre tabindex="0" aria-label="Explanation of ${code}">${value ? value.text : "…"}</pre>`;
}

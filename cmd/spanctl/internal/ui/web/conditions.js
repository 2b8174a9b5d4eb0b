import { useState } from "preact/hooks";
import { Ago } from "components/clock.js";
import { html } from "components/html.js";
import { plural } from "components/units.js";
import { useLoaded } from "./api.js";
import { counts, problemsOf, signs, tones } from "./model.js";
import { link } from "./route.js";
import { title } from "./store.js";
import { Words } from "./words.js";

// How many problems are shown at first, how many accounts of one, and how many names.
const first = 8, accounts = 3, names = 5;

// Conditions shows what is wrong, errors first: with cause and remedy in the overview, and in
// a line elsewhere.
export function Conditions({ machines, entries, route }) {
  const [all, setAll] = useState(false);
  const problems = problemsOf(machines, entries);
  if (problems.length === 0) return null;
  if (route.view !== "overview") return html`<${Line} problems=${problems} route=${route} />`;
  const shown = all ? problems : problems.slice(0, first);
  return html`
    <section aria-labelledby="wrong">
      <h2 id="wrong">${heading(problems)}</h2>
      <ul class="conditions">
        ${shown.map((p) => html`<${Problem} key=${keyOf(p)} problem=${p} named=${machines.length > 1} />`)}
      </ul>
      ${problems.length > first && html`
        <button onClick=${() => setAll(!all)}>${all ? "Show fewer" : `Show ${problems.length - first} more`}</button>`}
    </section>`;
}

const keyOf = (p) => `${p.severity} ${title(p)}`;

function heading(problems) {
  const n = counts(problems.map((p) => p.severity));
  return ["error", "warning", "info"].filter((s) => n[s]).map((s) => (s === "info" ? `${n.info} info` : plural(n[s], s))).join(", ");
}

function Line({ problems, route }) {
  return html`
    <p class="line">
      <a href=${link({ view: "overview", machine: route.machine })}>${heading(problems)}</a>
      ${problems.slice(0, 3).map((p) => html`
        <span key=${keyOf(p)} class=${tones[p.severity]}><span aria-hidden="true">${signs[p.severity]}</span> ${title(p)}</span>`)}
      ${problems.length > 3 && html`<span class="muted">…</span>`}
    </p>`;
}

// some joins names, of which only the first are shown.
function some(list) {
  return list.slice(0, names).join(", ") + (list.length > names ? ` and ${list.length - names} more` : "");
}

function Problem({ problem: p, named }) {
  const [open, setOpen] = useState(false);
  const where = named && `at ${some(p.machines)}${p.since ? ", " : ""}`;
  const several = p.accounts.length > 1;
  return html`
    <li class="condition ${tones[p.severity]}-edge">
      <h3>
        <span class="sign ${tones[p.severity]}" aria-hidden="true">${signs[p.severity]}</span>
        <span class="hidden">${p.severity}:</span>
        <span class=${tones[p.severity]}>${p.code}</span>
        ${p.subject && html`<span>${p.subject}</span>`}
        <span class="muted">${where}${p.since && html`for <${Ago} time=${p.since} skew=${p.skew} />`}</span>
      </h3>
      ${p.accounts.slice(0, accounts).map((a) => html`
        <p key=${a.cause}>${several && html`<span class="muted">${some(a.machines)}: </span>`}<${Words} text=${a.cause} /></p>`)}
      ${p.accounts.length > accounts && html`<p class="muted">and ${p.accounts.length - accounts} other causes</p>`}
      ${[...new Set(p.accounts.map((a) => a.remedy))].slice(0, accounts).map((remedy) => html`
        <p key=${remedy} class="remedy"><${Words} text=${remedy} /></p>`)}
      <details onToggle=${(e) => setOpen(e.target.open)}>
        <summary>Explain ${p.code}</summary>
        ${open && html`<${Explained} code=${p.code} />`}
      </details>
    </li>`;
}

function Explained({ code }) {
  const { value, error } = useLoaded(`explain/${encodeURIComponent(code)}`);
  if (error) return html`<p class="error">${error}</p>`;
  return html`<pre tabindex="0" aria-label="Explanation of ${code}">${value ? value.text : "…"}</pre>`;
}

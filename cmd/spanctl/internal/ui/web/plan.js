import { html } from "components/html.js";
import { signs, tones } from "./model.js";
import { title } from "./store.js";
import { Words } from "./words.js";

// Plan shows the changes of a plan, what they cut, and what is wrong beside them.
export function Plan({ plan = {} }) {
  const { changes = [], impact = [], warnings = [], conditions = [], failure } = plan;
  return html`
    ${changes.length === 0 && html`<p class="ok">✓ Nothing differs.</p>`}
    ${changes.length > 0 && html`<pre class="plan" tabindex="0" role="group" aria-label="Changes">${changes.map((c) => html`<span class=${c.action}>${c.text}${"\n"}</span>`)}</pre>`}
    ${impact.map((text) => html`<p class="warning">! ${text}</p>`)}
    ${warnings.map((text) => html`<p class="warning">! ${text}</p>`)}
    ${failure && html`<p class="error">✗ ${failure.message}${failure.next && `; ${failure.next}`}</p>`}
    ${conditions.map((c) => html`
      <p key=${title(c)}>
        <span class=${tones[c.severity]}>${signs[c.severity]} ${title(c)}</span>: <${Words} text=${c.cause} /> <br /><strong><${Words} text=${c.remedy} /></strong>
      </p>`)}`;
}

import { html } from "components/html.js";
import { signs, tones } from "./model.js";

// State shows a state or a severity by its sign, its color and its word. text is in place of the
// word.
export function State({ state, text = state }) {
  return html`<span class="state ${tones[state] ?? "muted"}"><span class="sign" aria-hidden="true">${signs[state]}</span> ${text}</span>`;
}

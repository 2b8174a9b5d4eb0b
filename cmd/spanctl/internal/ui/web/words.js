import { html } from "components/html.js";

// Words shows a text of the API. What is between backticks is typed as it stands.
export function Words({ text = "" }) {
  return text.split("`").map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));
}

import { useState } from "preact/hooks";
import { html } from "components/html.js";

// Editor changes the text of a config. Secrets that stay hidden stay as they are.
export function Editor({ name, text, revision, change }) {
  const [edited, setEdited] = useState(text);
  const request = (mode, verb) => ({ call: "apply", body: { text: edited, mode, revision }, verb });
  const idle = change.busy || edited === text;
  return html`
    <details class="editor">
      <summary>Edit</summary>
      <textarea aria-label="Config of ${name}" spellcheck="false" rows=${Math.min(edited.split("\n").length + 1, 30)}
        value=${edited} onInput=${(e) => setEdited(e.target.value)}></textarea>
      <div class="bar">
        <button disabled=${idle} onClick=${() => change.make(request("dry-run", "Dry run"))}>Show the plan</button>
        <button disabled=${idle} onClick=${() => change.ask({
          ...request("try", "Try"), question: `Put this config in force on ${name} for a minute? The one before returns unless you confirm.`,
        })}>Try for a minute</button>
        <button disabled=${idle} onClick=${() => change.ask({
          ...request("immediate", "Apply"), question: `Put this config in force on ${name} now?`,
        })}>Apply</button>
      </div>
    </details>`;
}

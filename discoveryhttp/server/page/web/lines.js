import { useState } from "preact/hooks";
import { html } from "components/html.js";
import { TimeChart } from "components/chart.js";

const colors = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const dashes = [undefined, [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 4]];

// Lines draws columns over time under a heading, with a legend that has the values under the
// cursor, or else the latest. Lines differ by color and dash. steps are the distances that the marks
// of the scale may have.
export function Lines({ title, numbers, list, format, steps, empty }) {
  const [at, setAt] = useState(null);
  const index = at ?? numbers.times.length - 1;
  const lines = list.map(({ of }, i) => ({ label: of, color: colors[i % colors.length], dash: dashes[i % dashes.length] }));
  return html`
    <section class="panel">
      <h2>${title}</h2>
      ${list.length === 0 ? html`<p class="muted">${empty}</p>` : html`
        <${TimeChart} data=${[numbers.times, ...list.map(({ name }) => numbers.series[name])]} lines=${lines} format=${format} steps=${steps}
          sync="page" read=${setAt} label=${`${title}: ${list.map(({ of, name }) => `${of} ${format(numbers.series[name].at(-1))}`).join(", ")}`} />
        <ul class="legend">
          ${list.map(({ name, label, of }, i) => html`
            <li key=${name}><svg class=${`key key-${i % colors.length}`} viewBox="0 0 24 4" aria-hidden="true">
              <line x1="0" y1="2" x2="24" y2="2" stroke-dasharray=${dashes[i % dashes.length]?.join(" ")} /></svg>
              ${label ?? of} <b>${format(numbers.series[name][index])}</b></li>`)}
        </ul>`}
    </section>`;
}

import { html } from "./html.js";

// Table shows rows under columns: {name, number, cell(row)}. The first column is the heading of
// its row. label names the table, and id(row) the row.
export function Table({ label, columns, rows, id, empty = "none" }) {
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label=${label}>
      <table>
        <thead>
          <tr>${columns.map((c) => html`<th key=${c.name} scope="col" class=${c.number && "number"}>${c.name}</th>`)}</tr>
        </thead>
        <tbody>
          ${rows.map((row) => html`<tr key=${id(row)}>${columns.map((c, i) => cell(c, row, i))}</tr>`)}
          ${rows.length === 0 && html`<tr><td class="muted" colspan=${columns.length}>${empty}</td></tr>`}
        </tbody>
      </table>
    </div>`;
}

function cell(column, row, i) {
  const kind = column.number ? "number" : undefined;
  if (i === 0) return html`<th scope="row" key=${column.name} class=${kind}>${column.cell(row)}</th>`;
  return html`<td key=${column.name} class=${kind}>${column.cell(row)}</td>`;
}

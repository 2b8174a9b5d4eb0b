import { html } from "./html.js";

// Table shows rows under columns: {name, number, wrap, cell(row)}, of numbers, or of texts of
// several lines. The first column is the heading of its row. label names the table, and id(row)
// the row.
export function Table({ label, columns, rows, id, empty = "none" }) {
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label=${label}>
      <table>
        <thead>
          <tr>${columns.map((c) => html`<th key=${c.name} scope="col" class=${kindOf(c)}>${c.name}</th>`)}</tr>
        </thead>
        <tbody>
          ${rows.map((row) => html`<tr key=${id(row)}>${columns.map((c, i) => cell(c, row, i))}</tr>`)}
          ${rows.length === 0 && html`<tr><td class="muted" colspan=${columns.length}>${empty}</td></tr>`}
        </tbody>
      </table>
    </div>`;
}

function kindOf({ number, wrap }) {
  if (number) return "number";
  return wrap ? "wrap" : undefined;
}

function cell(column, row, i) {
  if (i === 0) return html`<th scope="row" key=${column.name} class=${kindOf(column)}>${column.cell(row)}</th>`;
  return html`<td key=${column.name} class=${kindOf(column)}>${column.cell(row)}</td>`;
}

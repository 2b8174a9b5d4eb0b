import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "components/html.js";
import { cellsOf, describe, membersOf, nameOf, signs } from "./model.js";
import { link } from "./route.js";

const marked = "cell";
// The rows that are drawn at once: more than a screen has. The others follow in the next frame.
const first = 40;

// rowOf returns the element of a machine's row. While its cells and the members stay as they are,
// it is the same one, so that it is not drawn again.
function rowOf(cache, machine, entry, members) {
  const known = cache.get(machine.id);
  if (known && known.entry === entry && known.members === members) return known.row;
  const cells = cellsOf(machine, entry, members), name = nameOf(machine, entry);
  const key = [name, ...cells.map((c) => c.state + c.text)].join("\n");
  if (known?.key === key && known.members === members) {
    known.entry = entry;
    return known.row;
  }
  const row = html`
    <tr key=${machine.id} role="row">
      <th scope="row"><span class="hidden">${name}</span></th>
      ${cells.map((c) => h("td", { className: c.state, textContent: c.text }))}
    </tr>`;
  cache.set(machine.id, { entry, key, members, row });
  return row;
}

// same returns the names before if they are the same.
function same(before, names) {
  return before.length === names.length && before.every((n, i) => n === names[i]) ? before : names;
}

// Matrix shows how each machine sees each member.
export function Matrix({ state, machines }) {
  const cache = useRef(new Map()), known = useRef([]), table = useRef(null);
  const [cell, setCell] = useState({ row: -1, column: -1 }), [rows, setRows] = useState(first);
  useEffect(() => setRows(Infinity), []);
  const entries = state.machines;
  const members = known.current = same(known.current, membersOf(machines, entries));
  const mark = (row, column) => {
    const found = column >= 0 && table.current.tBodies[0].rows[row]?.cells[column + 1];
    if (!found) return;
    document.getElementById(marked)?.removeAttribute("id");
    found.id = marked;
    found.scrollIntoView({ block: "nearest", inline: "nearest" });
    setCell({ row, column });
  };
  return html`
    <section class="card" aria-labelledby="matrix">
      <h2 id="matrix">Matrix</h2>
      <p class="muted">Rows see columns. Numbers are round-trip times in milliseconds. Arrow keys and Enter work.</p>
      <${Legend} />
      <div class=${members.length > 12 ? "matrix narrow" : "matrix"} style=${{ "--columns": members.length, "--name": `${longest(machines, entries)}ch` }}>
        <${Names} names=${machines.map((m) => nameOf(m, entries[m.id]))} />
        <table ref=${table} role="grid" tabindex="0" aria-labelledby="matrix" aria-readonly="true"
          aria-activedescendant=${cell.row < 0 ? undefined : marked}
          onClick=${(e) => clicked(e, mark)} onKeyDown=${(e) => pressed(e, cell, mark, () => open(machines[cell.row], members[cell.column], entries))}>
          <thead><tr role="row"><td></td>${members.map((name) => html`<th key=${name} scope="col" title=${name}><span>${name}</span></th>`)}</tr></thead>
          <tbody>${machines.slice(0, rows).map((m) => rowOf(cache.current, m, entries[m.id], members))}</tbody>
        </table>
      </div>
      <${Detail} machine=${machines[cell.row]} member=${members[cell.column]} entries=${entries} />
    </section>`;
}

// Names is the column of the rows' names, which stays in sight. The headings of the rows have them
// for those who do not see it.
function Names({ names }) {
  return html`
    <div class="names" aria-hidden="true">
      <div class="corner"></div>
      ${names.map((name) => html`<div title=${name}>${name}</div>`)}
    </div>`;
}

function longest(machines, entries) {
  return Math.min(Math.max(...machines.map((m) => nameOf(m, entries[m.id]).length)), 24) + 3;
}

function Legend() {
  const words = { up: "up, direct", relay: "up, by a relay", down: "down", unknown: "on trial", none: "not known" };
  return html`
    <ul class="legend" aria-label="Signs">
      ${Object.entries(words).map(([state, text]) => html`
        <li key=${state}><span class="swatch ${state}">${signs[state]}</span> ${text}</li>`)}
    </ul>`;
}

function Detail({ machine, member, entries }) {
  if (!machine || !member) return html`<p class="detail muted" role="status">Choose a cell for its link.</p>`;
  const entry = entries[machine.id], from = nameOf(machine, entry);
  return html`
    <p class="detail" role="status">
      ${describe(from, member, entry)}
      ${entry?.peers?.has(member) && html` <a href=${link({ view: "history", machine: machine.id, peer: member })}>History</a>`}
    </p>`;
}

function open(machine, member, entries) {
  if (!entries[machine?.id]?.peers?.has(member)) return;
  location.hash = link({ view: "history", machine: machine.id, peer: member });
}

function clicked(event, mark) {
  const td = event.target.closest("tbody td");
  if (td) mark(td.parentNode.sectionRowIndex, td.cellIndex - 1);
}

const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function pressed(event, { row, column }, mark, enter) {
  const move = moves[event.key];
  if (event.key === "Enter") enter();
  if (!move) return;
  event.preventDefault();
  if (row < 0) mark(0, 0);
  else mark(row + move[0], column + move[1]);
}

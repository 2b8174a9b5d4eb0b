import { useState } from "preact/hooks";
import { html } from "components/html.js";
import { Table } from "components/table.js";
import { counts, listed, membersOf, nameOf, signs, stateOf, tones } from "./model.js";
import { linksOf, place } from "./ring.js";
import { link } from "./route.js";
import { State } from "./state.js";

// The ring in the units of the drawing, and from which number of members on names are turned
// outwards.
const width = 640, radius = 190, crowd = 24;
// The states in the order in which their links are drawn: what is wrong is on top.
const layers = ["up", "relay", "unknown", "down"];

// With more links than these, their signs would hide each other.
const marks = 100;

// Graph shows members on a ring with the links between them, and the links that are not up as a
// table.
export function Graph({ state, machines }) {
  const [pointed, setPointed] = useState("");
  const entries = state.machines;
  const members = membersOf(machines, entries);
  const asked = new Map(machines.map((m) => [nameOf(m, entries[m.id]), m]));
  const views = new Map(machines.filter((m) => !entries[m.id]?.error).map((m) => [nameOf(m, entries[m.id]), entries[m.id]?.peers]));
  const links = linksOf(members, views);
  const nodes = place(members.length).map((at, i) => ({
    ...at, name: members[i], x: at.x * radius, y: at.y * radius,
    links: links.filter((l) => l.a === i || l.b === i),
    state: asked.has(members[i]) ? stateOf(entries[asked.get(members[i]).id]) : "",
    href: hrefOf(asked.get(members[i]), machines[0], members[i]),
  }));
  const shown = pointed ? links.filter((l) => members[l.a] === pointed || members[l.b] === pointed) : links;
  const wrong = links.filter((l) => l.state !== "up").sort((a, b) => layers.indexOf(b.state) - layers.indexOf(a.state));
  return html`
    <section class="card graph" aria-labelledby="graph">
      <h2 id="graph">Graph</h2>
      <p class="muted">${members.length} machines, ${links.length} links: ${listed(counts(links.map((l) => l.state)))}</p>
      <div class="sides">
        <svg class=${`${nodes.length > crowd ? "crowd" : ""} ${pointed ? "pointed" : ""}`} viewBox=${box(nodes.length)} role="group" aria-label="Machines on a ring, with the links between them">
          ${layers.map((s) => html`<path key=${s} class="edge ${s}" d=${linesOf(shown.filter((l) => l.state === s), nodes)} />`)}
          ${shown.length <= marks && shown.filter((l) => l.state !== "up").map((l) => html`
            <${Mark} key=${`${l.a} ${l.b}`} link=${l} nodes=${nodes} />`)}
          ${nodes.map((n) => html`<${Node} key=${n.name} node=${n} large=${nodes.length <= crowd} point=${setPointed} />`)}
        </svg>
        <div>
          <ul class="legend" aria-label="Lines">
            ${layers.map((s) => html`
              <li key=${s}>
                <svg width="32" height="10" aria-hidden="true"><path class="edge ${s}" d="M0 5H32" /></svg>
                <${State} state=${s} />
              </li>`)}
          </ul>
          <h3>Links that are not up and direct</h3>
          <${Table} label="Links that are not up and direct" columns=${columnsOf(members)} rows=${wrong} id=${(l) => `${l.a} ${l.b}`} />
        </div>
      </div>
    </section>`;
}

// hrefOf returns where more is known of a member: at itself, or how the first machine sees it.
function hrefOf(machine, first, name) {
  if (machine) return link({ view: "overview", machine: machine.id });
  return link({ view: "history", machine: first.id, peer: name });
}

function box(n) {
  const height = n <= crowd ? width * 0.74 : width;
  return `${-width / 2} ${-height / 2} ${width} ${height}`;
}

// short shortens a name that has no room.
function short(name) {
  return name.length > 18 ? `${name.slice(0, 17)}…` : name;
}

function linesOf(links, nodes) {
  return links.map(({ a, b }) => `M${at(nodes[a])}L${at(nodes[b])}`).join("");
}

const at = ({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`;

// Mark is the sign of a link, nearer to one end, so that links that cross do not share it.
function Mark({ link: { a, b, state }, nodes }) {
  const x = nodes[a].x * 0.72 + nodes[b].x * 0.28, y = nodes[a].y * 0.72 + nodes[b].y * 0.28;
  return html`
    <g class="mark ${tones[state]}" aria-hidden="true" transform="translate(${x.toFixed(1)} ${y.toFixed(1)})">
      <circle r="10" /><text dy="5">${signs[state]}</text>
    </g>`;
}

function Node({ node, large, point }) {
  const { name, state, x, y, angle } = node;
  const label = [name, state, listed(counts(node.links.map((l) => l.state)))].filter(Boolean).join(", ");
  const left = Math.cos(angle) < -0.01, middle = Math.abs(Math.cos(angle)) <= 0.01;
  const turn = (angle * 180) / Math.PI + (left ? 180 : 0);
  const anchor = large && middle ? "middle" : left ? "end" : "start";
  const off = large ? { x: Math.cos(angle) * 22, y: Math.sin(angle) * 26 + 5 } : { x: left ? -10 : 10, y: 3 };
  return html`
    <a class="node ${tones[state] ?? "muted"}" href=${node.href} aria-label=${label}
      transform="translate(${at(node)})" onFocus=${() => point(name)} onBlur=${() => point("")}
      onMouseEnter=${() => point(name)} onMouseLeave=${() => point("")}>
      <circle r=${large ? 14 : 5} />
      ${large && html`<text class="sign" dy="5">${signs[state] ?? ""}</text>`}
      <text class=${large ? "name" : "name small"} text-anchor=${anchor} x=${off.x.toFixed(1)} y=${off.y.toFixed(1)}
        transform=${large ? undefined : `rotate(${turn.toFixed(1)})`}>${short(name)}</text>
    </a>`;
}

function columnsOf(members) {
  return [
    { name: "link", cell: (l) => `${members[l.a]} – ${members[l.b]}` },
    { name: "there", cell: (l) => html`<${State} state=${l.there} text=${words(l.there)} />` },
    { name: "back", cell: (l) => html`<${State} state=${l.back} text=${words(l.back)} />` },
  ];
}

const words = (state) => (state === "none" ? "not known" : state);

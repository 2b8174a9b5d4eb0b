import { linkState } from "./model.js";

// place returns where the members of a ring are, from the top clockwise, as fractions of its
// radius.
export function place(n) {
  return Array.from({ length: n }, (_, i) => {
    const angle = (2 * Math.PI * i) / n - Math.PI / 2;
    return { x: Math.cos(angle), y: Math.sin(angle), angle };
  });
}

const worst = ["down", "unknown", "relay", "up"];

// linksOf returns the links between members, {a, b, there, back, state} with the worse of both
// directions as the state. views has the peers that a member sees, by names; links that nobody
// sees are left out.
export function linksOf(members, views) {
  const out = [];
  members.forEach((from, a) => {
    for (let b = a + 1; b < members.length; b++) {
      const there = linkState(views.get(from)?.get(members[b]));
      const back = linkState(views.get(members[b])?.get(from));
      const state = worst.find((s) => s === there || s === back);
      if (state) out.push({ a, b, there, back, state });
    }
  });
  return out;
}

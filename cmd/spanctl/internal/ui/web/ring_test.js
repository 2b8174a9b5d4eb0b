import { linksOf, place } from "./ring.js";

const view = (states) => new Map(Object.entries(states).map(([name, state]) => [name, { name, state }]));

test("a ring begins at the top and goes clockwise", () => {
  equal(place(4).map(({ x, y }) => [Math.round(x), Math.round(y)]), [[0, -1], [1, 0], [0, 1], [-1, 0]].map((p) => p.map((v) => v + 0)));
});

test("a link is as its worse direction, and one that nobody sees is none", () => {
  const views = new Map([["a", view({ b: "up", c: "up" })], ["b", view({ a: "down" })]]);
  equal(linksOf(["a", "b", "c"], views), [
    { a: 0, b: 1, there: "up", back: "down", state: "down" },
    { a: 0, b: 2, there: "up", back: "none", state: "up" },
  ]);
});

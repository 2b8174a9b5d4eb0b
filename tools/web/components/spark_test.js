import { points } from "./spark.js";

test("a line goes from zero at the bottom to its greatest value at the top", () => {
  equal(points([0, 5, 10], 100, 20), "M0.0 19.0L50.0 10.0L100.0 1.0");
});

test("a value that is not known is a gap, and one between two gaps a point", () => {
  equal(points([1, null, 1, 1], 150, 20), "M0.0 1.0h0M100.0 1.0L150.0 1.0");
});

test("nothing but zeros is a line at the bottom", () => {
  equal(points([0, 0], 100, 20), "M0.0 19.0L100.0 19.0");
});

test("no values are no line", () => equal(points([]), ""));

import { busy, columns, follow } from "./series.js";

const numbers = { times: [10, 20], series: { "calls.List": [1, 2], "calls.Watch": [0, null], clusters: [3, 3] } };

test("a later time is added", () => {
  equal(follow(numbers, { time: 30, now: { "calls.List": 5, clusters: null } }, 10, 9),
    { times: [10, 20, 30], series: { "calls.List": [1, 2, 5], "calls.Watch": [0, null, null], clusters: [3, 3, null] } });
});

test("the oldest time makes room", () => {
  equal(follow(numbers, { time: 30, now: { "calls.List": 5, "calls.Watch": 1, clusters: 4 } }, 10, 2),
    { times: [20, 30], series: { "calls.List": [2, 5], "calls.Watch": [null, 1], clusters: [3, 4] } });
});

test("the same time changes nothing", () => equal(follow(numbers, { time: 20, now: {} }, 10, 9), numbers));

test("a gap, a clock that was set back and a server that began anew are asked for again", () => {
  equal([40, 15].map((time) => follow(numbers, { time, now: {} }, 10, 9)), [null, null]);
  equal(follow({ times: [], series: {} }, { time: 10, now: {} }, 10, 9), null);
});

test("columns are found by their kind, and those without anything left out", () => {
  const calls = columns(numbers, "calls");
  equal(calls, [{ name: "calls.List", of: "List" }, { name: "calls.Watch", of: "Watch" }]);
  equal(busy(numbers, calls), [{ name: "calls.List", of: "List" }]);
});

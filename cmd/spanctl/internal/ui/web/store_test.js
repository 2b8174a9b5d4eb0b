import { start, withEvents, withHealth } from "./store.js";

const down = { code: "PeerDown", subject: "db2", cause: "silent since 10:00" };
const health = (conditions) => ({ hostname: "web1", time: "2026-01-01T00:00:02Z", conditions, peers: [{ name: "db2" }] });
const come = (state, conditions) => withHealth(state, { machine: "local", health: health(conditions) }, 1767225601000);

test("a machine has its health, its peers by name, and how far its clock is ahead", () => {
  const { machines: { local } } = come(start, []);
  equal([local.skew, local.peers.get("db2"), local.error], [1000, { name: "db2" }, undefined]);
});

test("a machine that does not answer keeps what was known of it", () => {
  const state = withHealth(come(start, []), { machine: "local", error: "ssh: no route to host" }, 0);
  equal([state.machines.local.error, state.machines.local.health.hostname], ["ssh: no route to host", "web1"]);
});

test("an answer ends the error", () => {
  const state = come(withHealth(start, { machine: "local", error: "refused" }, 0), []);
  equal(state.machines.local.error, undefined);
});

test("conditions that begin and end are said, and those at the start are not", () => {
  let state = come(start, [down]);
  equal(state.said, []);
  state = come(come(state, []), [down]);
  equal(state.said, [{ id: 1, text: "web1: PeerDown db2 has ended." }, { id: 2, text: "web1: PeerDown db2. silent since 10:00" }]);
});

test("what was said keeps its ID while older texts are forgotten", () => {
  let state = come(start, []);
  for (let i = 0; i < 4; i++) state = come(come(state, [down]), []);
  equal(state.said.map((s) => s.id), [4, 5, 6, 7, 8]);
});

const event = (time, reason, count) => ({ id: reason, time, reason, count });

test("an event that happens again replaces what was known of it, and the newest is first", () => {
  let state = withEvents(start, { machine: "a", events: [event("2026-01-01T00:00:01Z", "X", 1), event("2026-01-01T00:00:02Z", "Y", 1)] });
  state = withEvents(state, { machine: "a", events: [event("2026-01-01T00:00:03Z", "X", 2)] });
  equal(state.events.a.map((e) => [e.reason, e.count]), [["X", 2], ["Y", 1]]);
});

test("a reset forgets the events before", () => {
  const state = withEvents(withEvents(start, { machine: "a", events: [event("2026-01-01T00:00:01Z", "X", 1)] }), { machine: "a", events: [], reset: true });
  equal(state.events.a, []);
});

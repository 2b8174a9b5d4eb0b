import { cellsOf, counts, describe, linkState, listed, membersOf, problemsOf, stateOf } from "./model.js";

const web1 = { id: "local", name: "here" }, web2 = { id: "root@web2", name: "root@web2" };
const entry = (health) => ({ health, peers: new Map((health.peers ?? []).map((p) => [p.name, p])) });
const peers = [
  { name: "db1", state: "up", path: "203.0.113.9:51820", rttSeconds: 0.011, loss: 0 },
  { name: "db2", state: "up", path: "relay db1", relay: "db1", rttSeconds: 0.024 },
  { name: "db10", state: "down", rttSeconds: 0.5 },
  { name: "db3", state: "unknown" },
];
const entries = { local: entry({ hostname: "web1", state: "degraded", peers }) };

test("members are the machines, and then all that they know of, in the order of people", () => {
  equal(membersOf([web1, web2], entries), ["web1", "root@web2", "db1", "db2", "db3", "db10"]);
});

test("cells have a sign and the round-trip time, and what is not known is empty", () => {
  equal(cellsOf(web1, entries.local, ["db1", "db2", "db3", "db10", "db4", "web1"]), [
    { state: "up", text: "✓ 11" }, { state: "relay", text: "↷ 24" }, { state: "unknown", text: "?" },
    { state: "down", text: "✗" }, { state: "none", text: "" }, { state: "self", text: "·" },
  ]);
  equal(cellsOf(web2, undefined, ["db1", "root@web2"]).map((c) => c.state), ["none", "self"]);
});

test("a machine that does not answer any more has no cells of the past", () => {
  equal(cellsOf(web1, { ...entries.local, error: "gone" }, ["db1"]), [{ state: "none", text: "" }]);
});

test("a link is described in words", () => {
  equal(describe("web1", "db1", entries.local), "web1 → db1: up, by 203.0.113.9:51820, RTT 11 ms, loss 0%");
  equal(describe("web1", "db4", entries.local), "web1 does not have db4 as a peer");
  equal(describe("web2", "db1", undefined), "web2 does not answer: its link to db1 is not known");
});

test("only a peer that is up is reached by a relay", () => {
  equal([linkState({ state: "down", path: "relay db1", relay: "db1" }), linkState(undefined)], ["down", "none"]);
});

const sick = (hostname, ...list) => entry({
  hostname, state: "broken",
  conditions: list.map(([severity, code, cause, since]) => ({ severity, code, subject: "db2", cause, since })),
});

test("problems are sorted by severity, and those of a machine that does not answer are not shown", () => {
  const all = { local: sick("web1", ["warning", "A"], ["info", "B"]), "root@web2": sick("web2", ["error", "C"], ["warning", "D"]) };
  equal(problemsOf([web1, web2], all).map((p) => p.code), ["C", "A", "D", "B"]);
  all["root@web2"].error = "gone";
  equal(problemsOf([web1, web2], all).map((p) => p.code), ["A", "B"]);
});

test("what several machines say of the same is one problem, with each cause once, since it was first", () => {
  const web3 = { id: "root@web3", name: "web3" };
  const [problem] = problemsOf([web1, web2, web3], {
    local: sick("web1", ["warning", "PeerDown", "silent", "2026-01-01T00:00:09Z"]),
    "root@web2": sick("web2", ["warning", "PeerDown", "lost", "2026-01-01T00:00:05Z"]),
    "root@web3": sick("web3", ["warning", "PeerDown", "silent", "2026-01-01T00:00:07Z"]),
  });
  equal([problem.since, problem.machines, problem.accounts], [
    "2026-01-01T00:00:05Z", ["web1", "web2", "web3"],
    [{ cause: "silent", machines: ["web1", "web3"] }, { cause: "lost", machines: ["web2"] }],
  ]);
});

test("machines are waited for, answer, or do not", () => {
  equal([stateOf(undefined), stateOf(entries.local), stateOf({ error: "gone" })], ["waiting", "degraded", "no answer"]);
});

test("counts are listed with the worst first", () => {
  equal(listed(counts(["up", "up", "down", "relay"])), "1 down, 1 relay, 2 up");
});

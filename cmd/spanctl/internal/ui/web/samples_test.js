import { history, summary } from "./samples.js";

const at = (seconds) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString();
const response = {
  step: "30s",
  peers: [{ name: "db1" }, {
    name: "db2",
    samples: [
      { time: at(0) },
      { time: at(30), state: "up", rttSeconds: 0.01, loss: 0, receivedBytes: 3000, transmittedBytes: 300 },
      { time: at(60), state: "down", loss: 0.5 },
      { time: at(90), state: "down", loss: 1 },
      { time: at(120), state: "up", rttSeconds: 0.03, loss: 0.25, receivedBytes: 30 },
    ],
  }],
};

test("lines have gaps where nothing is known, and rates a second", () => {
  const h = history(response, "db2");
  equal([h.rtt.map((v) => v && Math.round(v)), h.loss, h.received, h.transmitted],
    [[null, 10, null, null, 30], [null, 0, 0.5, 1, 0.25], [null, 100, 0, 0, 1], [null, 10, 0, 0, 0]]);
});

test("steps in one state are one band", () => {
  const start = Date.UTC(2026, 0, 1) / 1000;
  equal(history(response, "db2").bands.map((b) => [b.state, b.from - start, b.to - start]), [["", 0, 30], ["down", 60, 120]]);
});

test("the summary says in words what the charts show", () => {
  equal(summary(history(response, "db2")),
    "Down 1 time, 1m in all; RTT 10 to 30 ms, 20 on average; loss 100% at most; not known for 30s.");
  equal(summary(history(response, "db9")), "Nothing is known of this time.");
});

test("a summary says what is the same once", () => {
  const quiet = { step: "30s", peers: [{ name: "a", samples: [{ time: at(0), state: "up", rttSeconds: 0.001, loss: 0 }] }] };
  equal(summary(history(quiet, "a")), "Never down; RTT 1 ms; no loss.");
});

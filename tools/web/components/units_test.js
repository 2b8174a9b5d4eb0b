import { bytes, duration, milliseconds, percent, plural } from "./units.js";

test("bytes are written as by the command line", () => {
  equal([0, 9, 10, 1023, 1024, 1536, 10240, 2097152, 325058560, 1288490189, 10752, 11776].map(bytes),
    ["0B", "9B", "10B", "1023B", "1.0KiB", "1.5KiB", "10KiB", "2.0MiB", "310MiB", "1.2GiB", "10KiB", "12KiB"]);
});

test("bytes that are missing or negative are none", () => {
  equal([bytes(undefined), bytes(-5)], ["0B", "0B"]);
});

test("durations have at most two units", () => {
  const s = 1000, m = 60 * s, h = 60 * m, d = 24 * h;
  equal([-1, 0, 41 * s, m, m + 2 * s, 4 * h, 3 * d + 4 * h + 59 * m].map(duration),
    ["0s", "0s", "41s", "1m", "1m 2s", "4h", "3d 4h"]);
});

test("round-trip times have a digit that says something", () => {
  equal([0.0003, 0.00097, 0.0112, 0.24].map(milliseconds), ["0.3", "1", "11", "240"]);
});

test("parts of one are percent", () => {
  equal([0, 0.004, 0.25, 1].map(percent), ["0%", "0.4%", "25%", "100%"]);
});

test("nouns follow their count", () => {
  equal([plural(1, "machine"), plural(0, "machine")], ["1 machine", "0 machines"]);
});

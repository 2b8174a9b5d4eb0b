import { count, latency, rate, size } from "./format.js";

test("numbers are short", () => {
  equal([count(0), count(12345), count(null)], ["0", "12,345", "–"]);
  equal([rate(0), rate(0.0667), rate(5), rate(12.34), rate(1234.5), rate(undefined)], ["0/s", "0.067/s", "5/s", "12.3/s", "1,235/s", "–"]);
  equal([latency(0.04), latency(11.26), latency(1600), latency(null)], ["0.04 ms", "11.3 ms", "1.6 s", "–"]);
  equal([size(2097152), size(null)], ["2.0MiB", "–"]);
});

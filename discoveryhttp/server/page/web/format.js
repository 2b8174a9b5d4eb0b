import { bytes } from "components/units.js";

// none stands for a number that is not known or not shown.
export const none = "–";

const known = (write) => (n) => (n == null ? none : write(n));

// whole returns a number without a fraction, its digits in groups.
const whole = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");

// digits returns a number with about three digits.
function digits(n) {
  if (n >= 100 || n === 0) return whole(n);
  return String(Number(n.toPrecision(n >= 10 ? 3 : 2)));
}

// count returns a number of things.
export const count = known(whole);

// rate returns a number per second.
export const rate = known((n) => `${digits(n)}/s`);

// latency returns a number of milliseconds.
export const latency = known((ms) => (ms >= 1000 ? `${digits(ms / 1000)} s` : `${digits(ms)} ms`));

// size returns a number of bytes.
export const size = known(bytes);

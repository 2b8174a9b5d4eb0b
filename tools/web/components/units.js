// Numbers for people, in the words of the command line.

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

// bytes returns a number of bytes, such as "1.2GiB".
export function bytes(n) {
  let value = Math.max(Math.round(n || 0), 0);
  if (value < 10) return `${value}B`;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const tenths = Math.floor(value * 10 + 0.5) / 10;
  return (tenths < 10 ? tenths.toFixed(1) : whole(tenths)) + units[unit];
}

// whole rounds half to even, as Go's formats do.
function whole(x) {
  const up = Math.round(x);
  return x % 1 === 0.5 && up % 2 === 1 ? up - 1 : up;
}

const second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;

// duration returns milliseconds in at most two units: "41s", "1m 2s", "3d 4h".
export function duration(ms) {
  const age = Math.max(ms, 0);
  if (age < minute) return `${Math.floor(age / second)}s`;
  if (age < hour) return two(age, minute, "m", second, "s");
  if (age < day) return two(age, hour, "h", minute, "m");
  return two(age, day, "d", hour, "h");
}

function two(age, large, largeName, small, smallName) {
  const rest = Math.floor((age % large) / small);
  return `${Math.floor(age / large)}${largeName}` + (rest > 0 ? ` ${rest}${smallName}` : "");
}

// milliseconds returns a round-trip time without its unit: "0.3", "11", "240".
export function milliseconds(seconds) {
  const ms = seconds * 1000, tenths = Math.round(ms * 10) / 10;
  return tenths < 1 ? tenths.toFixed(1) : String(Math.round(ms));
}

// percent returns a part of one, such as "2%".
export function percent(part) {
  const value = part * 100;
  return (value > 0 && value < 1 ? value.toFixed(1) : Math.round(value)) + "%";
}

// plural returns a count with its noun: "1 machine", "3 machines".
export function plural(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

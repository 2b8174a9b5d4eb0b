import { duration, milliseconds, percent, plural } from "components/units.js";

// history returns what charts show of a peer's samples in a GetSamplesResponse: seconds, and for
// each rtt in milliseconds, loss from 0 to 1, received and transmitted in bytes a second; bands of
// time in which it was not up; and how long it was in which state, in steps.
export function history(response, name) {
  const samples = response.peers?.find((p) => p.name === name)?.samples ?? [];
  const step = parseFloat(response.step);
  const seconds = samples.map((s) => Date.parse(s.time) / 1000);
  const known = (s, value) => (s.state ? value ?? 0 : null);
  return {
    step, seconds,
    rtt: samples.map((s) => (s.rttSeconds == null ? null : s.rttSeconds * 1000)),
    loss: samples.map((s) => s.loss ?? null),
    received: samples.map((s) => known(s, s.receivedBytes) && s.receivedBytes / step),
    transmitted: samples.map((s) => known(s, s.transmittedBytes) && s.transmittedBytes / step),
    states: samples.map((s) => s.state ?? ""),
    bands: bandsOf(samples, seconds, step),
  };
}

const colors = { down: "--error-tint", unknown: "--warning-tint", "": "--unknown-tint" };

// A time that was down is hatched, so that it is not told by its color alone.
const hatches = { down: "--error" };

function bandsOf(samples, seconds, step) {
  const bands = [];
  samples.forEach(({ state = "" }, i) => {
    if (state === "up") return;
    const last = bands.at(-1);
    if (last?.state === state && last.to === seconds[i]) last.to += step;
    else bands.push({ state, from: seconds[i], to: seconds[i] + step, color: colors[state], hatch: hatches[state] });
  });
  return bands;
}

// summary says in words what a history shows.
export function summary({ step, rtt, loss, states, bands }) {
  const time = (state) => duration(states.filter((s) => s === state).length * step * 1000);
  const known = states.filter(Boolean).length;
  if (known === 0) return "Nothing is known of this time.";
  const times = bands.filter((b) => b.state === "down").length;
  const out = [times === 0 ? "Never down" : `Down ${plural(times, "time")}, ${time("down")} in all`];
  const measured = rtt.filter((v) => v != null);
  if (measured.length > 0) {
    const mean = measured.reduce((a, b) => a + b, 0) / measured.length;
    const text = (ms) => milliseconds(ms / 1000);
    const [low, high] = [text(Math.min(...measured)), text(Math.max(...measured))];
    out.push(low === high ? `RTT ${low} ms` : `RTT ${low} to ${high} ms, ${text(mean)} on average`);
  }
  const lost = loss.filter((v) => v != null);
  const most = Math.max(...lost);
  if (lost.length > 0) out.push(most === 0 ? "no loss" : `loss ${percent(most)} at most`);
  if (known < states.length) out.push(`not known for ${duration((states.length - known) * step * 1000)}`);
  return out.join("; ") + ".";
}

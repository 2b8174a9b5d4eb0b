import { useEffect, useState } from "preact/hooks";
import { html } from "./html.js";
import { duration } from "./units.js";

const listeners = new Set();
let timer = 0;

function tick() {
  for (const listener of listeners) listener(Date.now());
}

// useNow returns the time in milliseconds, each second anew.
export function useNow() {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    listeners.add(setNow);
    timer ||= setInterval(tick, 1000);
    return () => {
      listeners.delete(setNow);
      if (listeners.size > 0) return;
      clearInterval(timer);
      timer = 0;
    };
  }, []);
  return now;
}

// absolute returns a time as people of this place write it.
export function absolute(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

// Ago shows how long ago a time was, and the time itself in its title. skew is how far the
// clock that set the time is ahead of this one, in milliseconds.
export function Ago({ time, skew = 0, suffix = "" }) {
  const now = useNow();
  if (!time) return null;
  return html`<time datetime=${time} title=${absolute(time)}>${duration(now + skew - Date.parse(time))}${suffix}</time>`;
}

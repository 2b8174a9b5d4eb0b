import { useEffect, useState } from "preact/hooks";
import { follow } from "./series.js";

const poll = 5000;

// The most times there are in a span.
const sizes = { hour: 360, day: 288 };

async function get(span) {
  const response = await fetch(`page/data?span=${span}`);
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return response.json();
}

// next returns what the server shows of a span, after what was shown before.
async function next(span, before) {
  if (before?.numbers && span === before.span && span === "hour") {
    const latest = await get("now");
    const numbers = latest.now && follow(before.numbers, latest, before.latest.step, sizes[span]);
    if (numbers) return { span, latest, numbers };
  }
  const latest = await get(span);
  return { span, latest, numbers: latest.times && { times: latest.times, series: latest.series } };
}

// useServer returns what the server shows of a span, and since when it has not answered. While
// nobody looks at the page, it does not ask.
export function useServer(span) {
  const [shown, setShown] = useState(null);
  const [lost, setLost] = useState(null);
  useEffect(() => {
    let before = shown, over = false, timer;
    const ask = async () => {
      clearTimeout(timer);
      try {
        before = await next(span, before);
        if (over) return;
        setShown(before);
        setLost(null);
      } catch {
        if (over) return;
        setLost((since) => since ?? Date.now());
      }
      // A new reading of a day comes every five minutes, and the numbers at the top more often.
      if (!document.hidden) timer = setTimeout(ask, poll);
    };
    const look = () => !document.hidden && ask();
    document.addEventListener("visibilitychange", look);
    ask();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [span]);
  return { shown, lost };
}

import { useEffect, useState } from "preact/hooks";

// get returns the JSON of a path below /api.
export function get(path) {
  return answer(fetch(`/api/${path}`));
}

// post calls a path below /api that changes something.
export function post(path, body = {}) {
  return answer(fetch(`/api/${path}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  }));
}

// of returns the path of what belongs to a machine.
export function of(machine, what) {
  return `machines/${encodeURIComponent(machine)}/${what}`;
}

// answer returns the JSON of an answer. An error has its status, if there was an answer at all.
async function answer(request) {
  const response = await request;
  const text = await response.text();
  if (!response.ok) {
    throw Object.assign(new Error(reason(text) || `${response.status} ${response.statusText}`), { status: response.status });
  }
  return JSON.parse(text);
}

function reason(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim();
  }
}

// useLoaded returns {value, error} of a path, loaded again every so many milliseconds, and when
// the path or the key changes. While another path is loaded there is neither.
export function useLoaded(path, every = 0, key = "") {
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    let current = true;
    const load = () => get(path).then(
      (value) => current && setLoaded({ path, value }),
      (error) => current && setLoaded({ path, error: error.message }),
    );
    load();
    const timer = every && setInterval(load, every);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [path, every, key]);
  return loaded.path === path ? loaded : {};
}

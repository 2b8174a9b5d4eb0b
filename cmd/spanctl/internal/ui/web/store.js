// The state of the page, as values. Nothing here changes a value that it was given.

// start is the state before anything came. connected is null until the first attempt ends, and
// refused is why the server does not answer the page.
export const start = { session: null, connected: null, refused: "", machines: {}, events: {}, said: [] };

// withHealth takes the health of a machine, or the error that there is in its place. now is when
// it came, in milliseconds.
export function withHealth(state, { machine, health, error }, now) {
  const before = state.machines[machine];
  const entry = health
    ? { health, skew: Date.parse(health.time) - now, peers: new Map((health.peers ?? []).map((p) => [p.name, p])) }
    : { ...before, error };
  return {
    ...state,
    machines: { ...state.machines, [machine]: entry },
    said: heard(state.said, news(before, entry)),
  };
}

const remembered = 5;

// heard adds texts to what was said. Each has an ID of its own, so that none is said twice.
function heard(said, texts) {
  const next = (said.at(-1)?.id ?? 0) + 1;
  return [...said, ...texts.map((text, i) => ({ id: next + i, text }))].slice(-remembered);
}

// news says in words which conditions began and ended, for those who hear the page.
function news(before, after) {
  if (!before?.health || !after.health || before.health === after.health) return [];
  const name = after.health.hostname ?? "";
  const old = named(before.health), current = named(after.health);
  return [
    ...[...current.keys()].filter((k) => !old.has(k)).map((k) => `${name}: ${k}. ${current.get(k).cause}`),
    ...[...old.keys()].filter((k) => !current.has(k)).map((k) => `${name}: ${k} has ended.`),
  ];
}

const named = (health) => new Map((health.conditions ?? []).map((c) => [title(c), c]));

// title returns the code of a condition with what it is about.
export function title(condition) {
  return condition.subject ? `${condition.code} ${condition.subject}` : condition.code;
}

const kept = 500;

// withEvents takes events of a machine, in place of all before if reset is set. An event that
// happened again has the ID that it had.
export function withEvents(state, { machine, events, reset }) {
  const all = new Map();
  for (const e of [...(reset ? [] : state.events[machine] ?? []), ...(events ?? [])]) {
    all.set(e.id, e);
  }
  const sorted = [...all.values()].sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
  return { ...state, events: { ...state.events, [machine]: sorted.slice(0, kept) } };
}

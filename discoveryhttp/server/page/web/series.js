// Numbers over time: {times, series: {name: values}}, as the server sends them.

// follow returns numbers with those of a later time, of which the oldest make room when there are
// more than size. It returns null if times between are missing: then all are asked for again.
export function follow(numbers, latest, step, size) {
  const last = numbers.times.at(-1);
  if (last === latest.time) return numbers;
  if (last === undefined || latest.time < last || latest.time - last > 1.5 * step) return null;
  const start = numbers.times.length >= size ? 1 : 0;
  const series = {};
  for (const [name, values] of Object.entries(numbers.series)) {
    series[name] = [...values.slice(start), latest.now[name] ?? null];
  }
  return { times: [...numbers.times.slice(start), latest.time], series };
}

// columns returns the names of the columns of a kind, such as "calls" of "calls.List", and what
// follows that.
export function columns(numbers, kind) {
  return Object.keys(numbers.series).filter((name) => name.startsWith(kind + "."))
    .map((name) => ({ name, of: name.slice(kind.length + 1) }));
}

// busy returns the columns that are ever more than zero.
export function busy(numbers, list) {
  return list.filter(({ name }) => numbers.series[name].some((v) => v > 0));
}

// matching returns whether an event in a row {event, name} has all words of the text, and
// the type if there is one.
export function matching(text, type) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return ({ event: e, name }) => {
    const all = [e.reason, e.subject, e.message, name].join(" ").toLowerCase();
    return (!type || e.type === type) && words.every((w) => all.includes(w));
  };
}

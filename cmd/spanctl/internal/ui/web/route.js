// The view is in the hash: #/matrix, #/history/MACHINE?peer=NAME&span=day.

export const views = ["overview", "matrix", "graph", "history", "events", "config"];

// parse returns {view, machine, peer, span} of a hash. What it does not name is "", and a view
// that is not known is the overview.
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, machine = ""] = path.split("/");
  const asked = Object.fromEntries(query.split("&").map((pair) => pair.split("=").map(decoded)));
  return {
    view: views.includes(view) ? view : views[0],
    machine: decoded(machine),
    peer: asked.peer ?? "",
    span: asked.span === "day" ? "day" : "hour",
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

// link returns the hash of a route.
export function link({ view, machine = "", peer = "", span = "hour" }) {
  const query = [peer && `peer=${encodeURIComponent(peer)}`, span === "day" && "span=day"].filter(Boolean);
  return `#/${view}` + (machine && `/${encodeURIComponent(machine)}`) + (query.length ? `?${query.join("&")}` : "");
}

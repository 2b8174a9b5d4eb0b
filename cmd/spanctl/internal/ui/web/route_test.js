import { link, parse } from "./route.js";

test("a hash has a view, a machine, a peer and a span", () => {
  equal(parse("#/history/root%40web1?peer=db2&span=day"), { view: "history", machine: "root@web1", peer: "db2", span: "day" });
});

test("without a hash, or with one that is not known, the overview is shown", () => {
  const overview = { view: "overview", machine: "", peer: "", span: "hour" };
  equal([parse(""), parse("#"), parse("#/nothing"), parse("#/overview/%zz")], [overview, overview, overview, overview]);
});

test("a link is parsed as what it was made of", () => {
  for (const route of [
    { view: "matrix", machine: "", peer: "", span: "hour" },
    { view: "history", machine: "a/b?c&d=e", peer: "x=/+&é", span: "day" },
  ]) equal(parse(link(route)), route);
});

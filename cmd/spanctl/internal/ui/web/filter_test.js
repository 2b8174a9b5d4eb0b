import { matching } from "./filter.js";

const row = { name: "web1", event: { type: "Warning", reason: "PeerDown", subject: "db2", message: "silent since 10:00" } };

test("an event is found by words of any of its fields, in any case", () => {
  equal(["", "peerdown", "DB2 silent", "web1 10:00", "db3", "db2 nothing"].map((text) => matching(text, "")(row)),
    [true, true, true, true, false, false]);
});

test("a type leaves out the others", () => {
  equal([matching("", "Warning")(row), matching("", "Normal")(row)], [true, false]);
});

import { render } from "preact";
import { html } from "components/html.js";
import { stream } from "components/stream.js";
import { get } from "./api.js";
import { parse } from "./route.js";
import { Page } from "./page.js";
import { start, withEvents, withHealth } from "./store.js";

const root = document.getElementById("app");
const measured = 256, again = 2000;
let state = start, waiting = false, draws = 0;

// update changes the state, and draws what came together at once.
function update(change) {
  state = change(state);
  if (waiting) return;
  waiting = true;
  setTimeout(draw, 16);
}

// draw draws the page. How long that took, until it is on the screen, is a measure named "draw".
function draw() {
  waiting = false;
  const start = performance.now();
  const route = parse(location.hash);
  render(html`<${Page} state=${state} route=${route} />`, root);
  requestAnimationFrame(() => setTimeout(() => {
    if (++draws % measured === 0) performance.clearMeasures("draw");
    performance.measure("draw", { start, detail: route.view });
  }));
}

function listen() {
  stream("/api/stream", {
    health: (message) => update((s) => withHealth(s, message, Date.now())),
    events: (message) => update((s) => withEvents(s, message)),
  }, (connected) => {
    update((s) => ({ ...s, connected }));
    if (!connected) ask();
  });
}

// ask asks for the session, which says why the page is not answered, if it is not.
async function ask() {
  try {
    const session = await get("session");
    update((s) => ({ ...s, session, refused: "" }));
    return true;
  } catch (error) {
    update((s) => ({ ...s, connected: false, refused: error.status ? error.message : "" }));
    return false;
  }
}

async function begin() {
  if (await ask()) listen();
  else setTimeout(begin, again);
}

addEventListener("hashchange", () => update((s) => s));
draw();
begin();

import { render } from "preact";
import { html } from "components/html.js";

render(html`<main><h1>spanctl</h1></main>`, document.getElementById("app"));

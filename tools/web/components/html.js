import { h } from "preact";
import htm from "htm";

// html makes elements from a template. What is put in is text, never markup.
export const html = htm.bind(h);

import { html } from "./html.js";

const width = 96, height = 20;

// points returns the path of values in a box, with a gap where a value is null, and a point where a
// value is between two gaps.
export function points(values, w = width, h = height) {
  const known = values.filter((v) => v != null);
  const high = Math.max(...known, 0) || 1;
  const step = values.length > 1 ? w / (values.length - 1) : 0;
  let path = "", pen = "M";
  values.forEach((v, i) => {
    if (v == null) {
      pen = "M";
      return;
    }
    path += `${pen}${(i * step).toFixed(1)} ${(h - 1 - (v / high) * (h - 2)).toFixed(1)}`;
    if (pen === "M" && values[i + 1] == null) path += "h0";
    pen = "L";
  });
  return path;
}

// Sparkline draws values over time from zero up. label says in words what it shows.
export function Sparkline({ values, label }) {
  return html`
    <svg class="spark" viewBox="0 0 ${width} ${height}" width=${width} height=${height} role="img" aria-label=${label}>
      <path d=${points(values)} />
    </svg>`;
}

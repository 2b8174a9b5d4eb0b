import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { html } from "./html.js";

// color returns the value of a custom property of the theme, such as "--line-1".
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// bands shades the times from "from" to "to" of each band in the color that it names, and hatches
// them if it names one for that.
function bands(list) {
  return (plot) => {
    const { left, top, width, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.beginPath();
    plot.ctx.rect(left, top, width, height);
    plot.ctx.clip();
    for (const band of list) {
      const x = plot.valToPos(band.from, "x", true), wide = plot.valToPos(band.to, "x", true) - x;
      plot.ctx.fillStyle = color(band.color);
      plot.ctx.fillRect(x, top, wide, height);
      if (band.hatch) hatch(plot.ctx, color(band.hatch), x, top, wide, height);
    }
    plot.ctx.restore();
  };
}

function hatch(ctx, stroke, x, top, wide, height) {
  const distance = 8 * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, top, wide, height);
  ctx.clip();
  ctx.beginPath();
  for (let i = -height; i < wide; i += distance) {
    ctx.moveTo(x + i, top + height);
    ctx.lineTo(x + i + height, top);
  }
  ctx.strokeStyle = stroke;
  ctx.globalAlpha = 0.35;
  ctx.stroke();
  ctx.restore();
}

// lone returns the indices of values between two gaps, of which there is no line.
function lone(values) {
  return [...values.keys()].filter((i) => values[i] != null && values[i - 1] == null && values[i + 1] == null);
}

function options({ lines, format, range, steps, shade, sync }, width, height) {
  const axis = { stroke: color("--muted"), grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width, height,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { sync: sync ? { key: sync } : undefined, drag: { x: false, y: false }, y: false },
    scales: { y: { range: (_, __, max) => [0, range ?? (max > 0 ? max * 1.15 : 1)] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(clock), size: 28, space: 80 },
      { ...axis, size: 68, incrs: steps, values: (_, ticks) => ticks.map(format) },
    ],
    series: [{}, ...lines.map((l) => ({
      label: l.label, stroke: color(l.color), width: 1.5, dash: l.dash,
      fill: l.fill ? color(l.fill) : undefined, points: { size: 4, show: true, filter: (u, i) => lone(u.data[i]) },
    }))],
    hooks: { drawClear: [bands(shade ?? [])] },
  };
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

// TimeChart draws lines over time. data is [seconds, values…] and lines are {label, color, dash,
// fill} with colors by the names of custom properties; format writes a value. range is the
// top of the scale if it is fixed, and steps are the distances that its marks may have. shade has bands of time, and charts with one sync share a
// cursor. read is called with the index under the cursor, or null. label says in words what is
// shown.
export function TimeChart(props) {
  const box = useRef(null), plot = useRef(null), read = useRef(null);
  read.current = props.read;
  const { data, height = 140, label } = props;

  useEffect(() => {
    const element = box.current; // it is observed for some time after it has left the page
    const draw = () => {
      plot.current?.destroy();
      const o = options(props, element.clientWidth, height);
      o.hooks.setCursor = [(u) => read.current?.(u.cursor.idx ?? null)];
      plot.current = new uPlot(o, data, element);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", draw);
      plot.current.destroy();
    };
  }, [data, props.shade, props.range]);

  return html`<div class="chart" ref=${box} role="img" aria-label=${label}></div>`;
}

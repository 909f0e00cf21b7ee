"use strict";

/** The two charts, as SVG elements that are drawn again for every result. */

const MARGIN = { left: 44, right: 12, top: 12, bottom: 34 };

function percent(fraction) {
  return `${(100 * fraction).toFixed(2)} %`;
}

function append(parent, name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// Ends of an axis, without their power of ten, and the steps of its labels.
const ROUND_ENDS = [[1, 0.25], [1.2, 0.4], [1.5, 0.5], [2, 0.5], [3, 1], [4, 1], [5, 1], [6, 2], [8, 2], [10, 2]];

/** Returns the end of an axis that holds `highest`, and the step of its labels. */
function roundScale(highest) {
  const power = 10 ** Math.floor(Math.log10(highest || 0.01));
  const [end, step] = ROUND_ENDS.find(([end]) => end * power >= highest * 0.999);
  return { top: end * power, step: step * power };
}

/**
 * Clears a chart and draws its y axis in percent, from 0 to at least `highest`.
 *
 * Returns the height of the chart and the functions that give the position of a fraction of its width and of a rate.
 */
function startChart(svg, highest, xTitle) {
  const [width, height] = [Math.max(200, svg.clientWidth), Math.max(100, svg.clientHeight)];
  const { top, step } = roundScale(highest);
  const across = (fraction) => MARGIN.left + fraction * (width - MARGIN.left - MARGIN.right);
  const up = (rate) => height - MARGIN.bottom - (rate / top) * (height - MARGIN.top - MARGIN.bottom);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (let rate = 0; rate <= top * 1.001; rate += step) {
    append(svg, "line", { class: "grid", x1: across(0), x2: across(1), y1: up(rate), y2: up(rate) });
    const label = `${+(100 * rate).toPrecision(3)} %`;
    append(svg, "text", { class: "y-label", x: across(0) - 6, y: up(rate) + 4 }, label);
  }
  append(svg, "text", { class: "x-label", x: across(0.5), y: height - 3 }, xTitle);
  return { height, across, up };
}

/** Draws the event rate of each timestep as two bars, ON and OFF. The current timestep is marked. */
function drawRateBars(svg, rates, current) {
  const timesteps = rates[0].length;
  const { height, across, up } = startChart(svg, Math.max(...rates.flat()), "timestep");
  const slot = across(1 / timesteps) - across(0);
  const barWidth = Math.min(22, slot * 0.36);
  for (let t = 0; t < timesteps; t++) {
    const middle = across((t + 0.5) / timesteps);
    rates.forEach((rateOf, polarity) => {
      append(svg, "rect", {
        class: polarity === 0 ? "on" : "off",
        x: middle + (polarity - 1) * barWidth,
        y: up(rateOf[t]),
        width: barWidth - 1,
        height: Math.max(0, up(0) - up(rateOf[t])),
      });
    });
    const mark = t === current ? "x-label current" : "x-label";
    append(svg, "text", { class: mark, x: middle, y: height - 19, "data-timestep": t }, t);
  }
  const [on, off] = rates.map((rateOf) => rateOf.map(percent).join(", "));
  svg.setAttribute("aria-label", `Event rate of each timestep. ON: ${on}. OFF: ${off}.`);
}

/** Draws the event rates at CURVE_RATIOS, up to ratio 0.5 or 1, and the current point, `rate` at `ratio`. */
function drawRateCurve(svg, { curve, ratio, rate }) {
  const last = ratio > 0.5 ? 1 : 0.5;
  const { height, across, up } = startChart(svg, curve[0], "ratio");
  for (let i = 0; i <= 5; i++) {
    append(svg, "text", { class: "x-label", x: across(i / 5), y: height - 19 }, +((i / 5) * last).toFixed(1));
  }
  const points = CURVE_RATIOS.map((x, i) => [x, curve[i]]).filter(([x]) => x <= last);
  const path = points.map(([x, y]) => `${across(x / last)},${up(y)}`).join(" ");
  append(svg, "polyline", { class: "curve", points: path });
  const [x, y] = [across(ratio / last), up(rate)];
  append(svg, "line", { class: "marker", x1: x, x2: x, y1: up(0), y2: y });
  append(svg, "line", { class: "marker", x1: across(0), x2: x, y1: y, y2: y });
  append(svg, "circle", { class: "point", cx: x, cy: y, r: 5 });
  const left = x > across(0.6);
  const text = `${percent(rate)} at ratio ${ratio}`;
  append(svg, "text", { class: left ? "point-label left" : "point-label", x: x + (left ? -10 : 10), y: y - 10 }, text);
  svg.setAttribute("aria-label", `Event rate against ratio: ${percent(curve[0])} at ratio 0, ${text}.`);
}

/** Returns the ratio at a horizontal position of the curve's chart. */
function ratioAt(svg, clientX, ratio) {
  const { left, width } = svg.getBoundingClientRect();
  const fraction = (clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
  return Math.round(Math.min(1, Math.max(0, fraction)) * (ratio > 0.5 ? 200 : 100)) / 200;
}

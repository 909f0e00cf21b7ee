"use strict";

/** Shows the result of a conversion. */

// The canvases of the tiles have at most this many pixels on the longer side.
const TILE_SIDE = 320;

const element = (id) => document.getElementById(id);

/** Creates the buttons that show one timestep each. They call `choose` with the timestep. */
function createTiles(timesteps, choose) {
  element("tiles").replaceChildren();
  for (let t = 0; t < timesteps; t++) {
    const tile = document.createElement("button");
    tile.type = "button";
    tile.className = "tile";
    tile.dataset.timestep = t;
    tile.innerHTML = `
      <canvas class="tile-events" aria-hidden="true"></canvas>
      <canvas class="vector" width="84" height="84" aria-hidden="true"></canvas>
      <span class="title">t = ${t} <span class="label"></span></span>
      <span class="on"></span> <span class="off"></span>`;
    tile.addEventListener("click", () => choose(t));
    element("tiles").append(tile);
  }
}

/** Draws the tiles of all timesteps. */
function showTiles(result, colors) {
  const small = reduceEvents(result, TILE_SIDE);
  const style = getComputedStyle(document.documentElement);
  const [ink, faint] = [style.getPropertyValue("--ink"), style.getPropertyValue("--line-strong")];
  element("tiles").querySelectorAll(".tile").forEach((tile, t) => {
    drawEvents(tile.querySelector(".tile-events"), small, t, colors);
    const vector = tile.querySelector(".vector");
    const context = vector.getContext("2d");
    context.clearRect(0, 0, vector.width, vector.height);
    drawVector(context, result.shifts[t], 0, 0, vector.width, ink, faint);
    tile.querySelector(".label").textContent = result.labels[t];
    tile.querySelector(".on").textContent = `ON ${percent(result.rates[0][t])}`;
    tile.querySelector(".off").textContent = `OFF ${percent(result.rates[1][t])}`;
  });
}

/** Shows the picture, and its pixels enlarged if it is small. */
function showPicture({ rgba, height, width }) {
  const canvas = element("picture");
  resize(canvas, height, width);
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  element("picture-size").textContent = `${height} × ${width} pixels`;
}

/** Shows the events of a timestep, and marks it in the tiles and in the chart. */
function showTimestep(result, t, colors) {
  drawEvents(element("events"), result, t, colors);
  const rates = `ON ${percent(result.rates[0][t])}, OFF ${percent(result.rates[1][t])}`;
  element("events").setAttribute("aria-label", `The events of timestep ${t}: ${rates}`);
  for (const marked of document.querySelectorAll("[data-timestep]")) {
    marked.classList.toggle("current", +marked.dataset.timestep === t);
  }
}

/** Shows the event rate, the size and the time. `framesPerSecond` is null for a still picture. */
function showFigures({ rate, height, width, shifts, milliseconds }, framesPerSecond) {
  const bytes = 2 * height * width;
  element("rate").textContent = percent(rate);
  element("bytes").textContent = `${bytes.toLocaleString("en")} bytes`;
  element("bytes-hint").textContent = `2 per pixel; dense float32: ${(bytes * shifts.length * 4).toLocaleString("en")}`;
  element("time").textContent = `${milliseconds.toFixed(1)} ms`;
  const still = "in this browser, on one core: median of up to 20 runs";
  element("time-hint").textContent = framesPerSecond === null ? still : `${framesPerSecond} frames per second`;
}

/** Draws both charts. */
function showCharts(result, timestep) {
  drawRateBars(element("bars"), result.rates, timestep);
  drawRateCurve(element("curve"), result);
}

/** Shows a message until it is closed or the next picture is opened. */
function showMessage(text) {
  element("message").querySelector("p").textContent = text;
  element("message").hidden = false;
}

function hideMessage() {
  element("message").hidden = true;
}

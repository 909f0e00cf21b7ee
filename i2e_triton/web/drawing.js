"use strict";

/** Draws events and motion vectors on canvases. */

/** Returns the colors of the events in the current theme: [r, g, b] for none, ON, OFF and both. */
function eventColors() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => {
    const hex = style.getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  return ["--event-background", "--on", "--off", "--both"].map(read);
}

/** Returns the color index of each pixel at a timestep: 0 none, 1 ON, 2 OFF, 3 both. */
function colorIndices({ on, off }, t) {
  return on.map((byte, i) => ((byte >> t) & 1) | (((off[i] >> t) & 1) << 1));
}

/** Sets the size of a canvas. Setting an equal size would clear it. */
function resize(canvas, height, width) {
  if (canvas.height !== height) canvas.height = height;
  if (canvas.width !== width) canvas.width = width;
}

/** Draws the events of a timestep; the canvas gets their size. */
function drawEvents(canvas, { on, off, height, width }, t, colors) {
  resize(canvas, height, width);
  const words = new Uint32Array(new Uint8ClampedArray(colors.flatMap((color) => [...color, 255])).buffer);
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words[((on[i] >> t) & 1) | (((off[i] >> t) & 1) << 1)];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/**
 * Returns packed events reduced by an integer factor, so that the longer side has at most `side` pixels.
 *
 * A block with an event becomes an event. An average would make lines of one pixel almost invisible.
 */
function reduceEvents(events, side) {
  const factor = Math.ceil(Math.max(events.height, events.width) / side);
  if (factor === 1) return events;
  const height = Math.ceil(events.height / factor);
  const width = Math.ceil(events.width / factor);
  const reduce = (packed) => {
    const reduced = new Uint8Array(height * width);
    for (let y = 0, i = 0; y < events.height; y++) {
      const row = Math.floor(y / factor) * width;
      for (let x = 0; x < events.width; x++, i++) reduced[row + Math.floor(x / factor)] |= packed[i];
    }
    return reduced;
  };
  return { on: reduce(events.on), off: reduce(events.off), height, width };
}

/** Draws a motion vector in a square: the 3x3 neighborhood as dots, and a line that ends in a disc. */
function drawVector(context, [dy0, dx0, dy1, dx1], left, top, side, color, faint) {
  const step = side / 3;
  const center = (dy, dx) => [left + (dx + 1.5) * step, top + (dy + 1.5) * step];
  const disc = (dy, dx, radius) => {
    context.beginPath();
    context.arc(...center(dy, dx), radius, 0, 2 * Math.PI);
    context.fill();
  };
  context.fillStyle = faint;
  for (let cell = 0; cell < 9; cell++) disc(Math.floor(cell / 3) - 1, (cell % 3) - 1, step / 9);
  context.fillStyle = color;
  context.strokeStyle = color;
  context.lineWidth = step / 6;
  context.beginPath();
  context.moveTo(...center(dy0, dx0));
  context.lineTo(...center(dy1, dx1));
  context.stroke();
  disc(dy0, dx0, step / 9);
  disc(dy1, dx1, step / 3.5);
}

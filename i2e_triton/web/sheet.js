"use strict";

/** The sheet: one image of the picture, its value channel and the events of all timesteps, with captions. */

// Large pictures are reduced, because browsers limit the size of a canvas.
const MAX_TILE_SIDE = 1024;

/** Returns a canvas with the value channel in grey. */
function valueCanvas(result) {
  const rgba = result.rgba.slice();
  for (let i = 0; i < rgba.length; i += 4) rgba.fill(Math.max(rgba[i], rgba[i + 1], rgba[i + 2]), i, i + 3);
  return pixelCanvas({ ...result, rgba });
}

/** Returns an empty sheet: its canvas, its colors, and the sizes of a tile and of the text in pixels. */
function newSheet(tile, columns, rows, background) {
  const em = Math.max(13, Math.round(tile.width / 20));
  const canvas = document.createElement("canvas");
  canvas.width = em + columns * (tile.width + em);
  canvas.height = em + rows * (tile.height + 3 * em);
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = background;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.textBaseline = "middle";
  context.font = `${em * 0.8}px system-ui, sans-serif`;
  const style = getComputedStyle(document.documentElement);
  return { canvas, context, tile, em, ink: style.getPropertyValue("--ink"), faint: style.getPropertyValue("--line") };
}

/** Draws a tile below its caption: a motion vector or null, and a list of [text, color]. */
function drawTile({ context, tile, em, ink, faint }, column, row, drawing, shift, texts) {
  const left = em + column * (tile.width + em);
  const top = em + row * (tile.height + 3 * em);
  context.imageSmoothingEnabled = drawing.width > tile.width;
  context.drawImage(drawing, left, top + 2 * em, tile.width, tile.height);
  context.strokeStyle = faint;
  context.lineWidth = 1;
  context.strokeRect(left - 0.5, top + 2 * em - 0.5, tile.width + 1, tile.height + 1);
  if (shift !== null) drawVector(context, shift, left, top, 1.6 * em, ink, faint);
  let x = shift === null ? left : left + 2.2 * em;
  for (const [text, color] of texts) {
    context.fillStyle = color;
    context.fillText(text, x, top + em * 0.8);
    x += context.measureText(text).width + em * 0.7;
  }
}

/**
 * Returns a canvas with the sheet.
 *
 * The picture is above its value channel, and the timesteps fill two rows to the right of them. A single timestep is to
 * the right of the picture.
 */
function sheetOf(result, colors) {
  const events = reduceEvents(result, MAX_TILE_SIDE);
  const scale = enlargement(events);
  const [background, on, off] = colors.map((color) => `rgb(${color})`);
  const columns = Math.ceil(result.shifts.length / 2);
  const rows = Math.min(2, result.shifts.length);
  const tile = { height: events.height * scale, width: events.width * scale };
  const sheet = newSheet(tile, columns + 1, rows, background);

  const title = `${result.height} × ${result.width}, ratio ${result.ratio}`;
  drawTile(sheet, 0, 0, pixelCanvas(result), null, [[title, sheet.ink]]);
  if (rows === 2) drawTile(sheet, 0, 1, valueCanvas(result), null, [["value: maximum of R, G, B", sheet.ink]]);
  const drawing = document.createElement("canvas");
  result.shifts.forEach((shift, t) => {
    drawEvents(drawing, events, t, colors);
    drawTile(sheet, 1 + (t % columns), Math.floor(t / columns), drawing, shift, [
      [`t = ${t}`, sheet.ink],
      [percent(result.rates[0][t]), on],
      [percent(result.rates[1][t]), off],
    ]);
  });
  return sheet.canvas;
}

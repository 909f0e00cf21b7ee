"use strict";

/** The files that can be downloaded, and the Python line that reproduces the events. */

// Small pictures are enlarged by an integer factor until their longer side has at least this many pixels.
const MIN_DRAWN_SIDE = 256;
// In the sheet, large pictures are reduced: browsers limit the size of a canvas.
const MAX_TILE_SIDE = 1024;

function enlargement({ height, width }) {
  return Math.ceil(MIN_DRAWN_SIDE / Math.max(height, width));
}

/** Returns an animated GIF with one frame for each timestep. */
function gifOf(result, colors, milliseconds) {
  const factor = enlargement(result);
  const [height, width] = [result.height * factor, result.width * factor];
  const encoder = exports.GIFEncoder();
  result.shifts.forEach((_, t) => {
    const indices = colorIndices(result, t);
    const frame = new Uint8Array(height * width);
    for (let y = 0, i = 0; y < height; y++) {
      const row = Math.floor(y / factor) * result.width;
      for (let x = 0; x < width; x++, i++) frame[i] = indices[row + Math.floor(x / factor)];
    }
    encoder.writeFrame(frame, width, height, { palette: t === 0 ? colors : undefined, delay: milliseconds });
  });
  encoder.finish();
  return new Blob([encoder.bytes()], { type: "image/gif" });
}

/** Returns the events as np.savez_compressed writes them: bool [T, 2, H, W] as arr_0. */
function npzOf(result) {
  const { on, off, height, width, shifts } = result;
  const pixels = height * width;
  // The length of the header in an npy file is a multiple of 64 bytes, and its last byte is a line feed.
  const shape = `(${shifts.length}, 2, ${height}, ${width})`;
  const text = `{'descr': '|b1', 'fortran_order': False, 'shape': ${shape}, }`;
  const header = text.padEnd(Math.ceil((10 + text.length + 1) / 64) * 64 - 11) + "\n";
  const npy = new Uint8Array(10 + header.length + shifts.length * 2 * pixels);
  npy.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  npy.set(new TextEncoder().encode(header), 10);
  let to = 10 + header.length;
  shifts.forEach((_, t) => {
    for (const packed of [on, off]) for (let i = 0; i < pixels; i++) npy[to++] = (packed[i] >> t) & 1;
  });
  return new Blob([fflate.zipSync({ "arr_0.npy": npy })], { type: "application/zip" });
}

/** Returns a canvas with the pixels that were converted. */
function pixelCanvas({ rgba, height, width }) {
  const canvas = document.createElement("canvas");
  canvas.height = height;
  canvas.width = width;
  canvas.getContext("2d", { alpha: false }).putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas;
}

/** Returns a canvas with the value channel in grey. */
function valueCanvas(result) {
  const rgba = result.rgba.slice();
  for (let i = 0; i < rgba.length; i += 4) rgba.fill(Math.max(rgba[i], rgba[i + 1], rgba[i + 2]), i, i + 3);
  return pixelCanvas({ ...result, rgba });
}

/** Returns a canvas with the picture, its value channel and the events of all timesteps, with captions. */
function sheetOf(result, colors) {
  const events = reduceEvents(result, MAX_TILE_SIDE);
  const scale = enlargement(events);
  const [tileHeight, tileWidth] = [events.height * scale, events.width * scale];
  const em = Math.max(13, Math.round(tileWidth / 20));
  const columns = Math.ceil(result.shifts.length / 2);
  const rows = Math.min(2, result.shifts.length);
  const canvas = document.createElement("canvas");
  canvas.width = em + (columns + 1) * (tileWidth + em);
  canvas.height = em + rows * (tileHeight + 3 * em);
  const context = canvas.getContext("2d", { alpha: false });
  const css = (color) => `rgb(${color})`;
  const style = getComputedStyle(document.documentElement);
  const [ink, faint] = [style.getPropertyValue("--ink"), style.getPropertyValue("--line")];
  context.fillStyle = css(colors[0]);
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.textBaseline = "middle";

  /** Draws a tile below its caption, which is a list of [text, color], and returns the position of the caption. */
  const drawTile = (source, column, row, indent, texts) => {
    const left = em + column * (tileWidth + em);
    const top = em + row * (tileHeight + 3 * em);
    context.drawImage(source, left, top + 2 * em, tileWidth, tileHeight);
    context.strokeStyle = faint;
    context.lineWidth = 1;
    context.strokeRect(left - 0.5, top + 2 * em - 0.5, tileWidth + 1, tileHeight + 1);
    let x = left + indent;
    context.font = `${em * 0.8}px system-ui, sans-serif`;
    for (const [text, color] of texts) {
      context.fillStyle = color;
      context.fillText(text, x, top + em * 0.8);
      x += context.measureText(text).width + em * 0.7;
    }
    return [left, top];
  };

  drawTile(pixelCanvas(result), 0, 0, 0, [[`${result.height} × ${result.width}, ratio ${result.ratio}`, ink]]);
  if (rows === 2) drawTile(valueCanvas(result), 0, 1, 0, [["value: maximum of R, G, B", ink]]);
  const tile = document.createElement("canvas");
  result.shifts.forEach((shift, t) => {
    drawEvents(tile, events, t, colors);
    const [on, off] = result.counts.map((counts) => percent(counts[t] / (result.height * result.width)));
    const [column, row] = [1 + (t % columns), Math.floor(t / columns)];
    const [left, top] = drawTile(tile, column, row, 2.2 * em, [
      [`t = ${t}`, ink],
      [on, css(colors[1])],
      [off, css(colors[2])],
    ]);
    drawVector(context, shift, left, top, 1.6 * em, ink, faint);
  });
  return canvas;
}

/** Returns the Python code that reproduces the events from the downloaded pixels. */
function pythonOf(result, pixelFile) {
  const { shifts, ratio, order, canonical } = result;
  const vectors = canonical
    ? `i2e_triton.canonical_shifts("${order}", ${shifts.length})`
    : `torch.tensor(${JSON.stringify(shifts).replaceAll(",", ", ")})`;
  return [
    "import i2e_triton, torch",
    "from PIL import Image",
    "",
    `image = Image.open("${pixelFile}").convert("RGB")`,
    `shifts = ${vectors}`,
    `events = i2e_triton.convert(image, ${ratio}, shifts=shifts, dtype=torch.bool)`,
  ].join("\n");
}

/** Returns a promise of a PNG file of a canvas. */
function pngOf(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Saves a file in the user's download folder. */
function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

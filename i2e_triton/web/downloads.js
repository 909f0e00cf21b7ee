"use strict";

/** The files that can be downloaded, except the sheet, and the Python code that reproduces the events. */

// Small pictures are enlarged by an integer factor until their longer side has at least this many pixels.
const MIN_DRAWN_SIDE = 256;

/** Returns the integer factor by which a drawing is enlarged. */
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

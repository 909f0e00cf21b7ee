"use strict";

/**
 * Returns the functions that convert an image to events. They equal i2e_triton.convert bit for bit.
 *
 * They run in a worker. A page that is opened from a file cannot load a worker from a file, so the worker receives the
 * source text of this function. For this reason the function uses no name from outside.
 *
 * Images are RGBA bytes, row by row. Motion vectors are rows [dy0, dx0, dy1, dx1] in pixels; each number is -1, 0 or 1.
 * Events are packed: one byte for each pixel and polarity, in which bit t is timestep t.
 */
function newConverter() {
  const TIMESTEPS = 8;

  // The 256 levels as float32 in [0, 1]. JavaScript multiplies in float64, in which this product is exact. The array
  // rounds it to float32, so the result is that of a float32 multiplication.
  const LEVELS = new Float32Array(256);
  for (let level = 0; level < 256; level++) LEVELS[level] = level * Math.fround(1 / 255);

  /** Returns the levels of the value channel with a replicated border of one pixel, and their range. */
  function valueChannel(rgba, height, width) {
    const stride = width + 2;
    const levels = new Uint8Array((height + 2) * stride);
    let low = 255;
    let high = 0;
    let from = 0;
    for (let y = 0; y < height; y++) {
      const first = (y + 1) * stride + 1;
      for (let to = first; to < first + width; to++, from += 4) {
        const level = Math.max(rgba[from], rgba[from + 1], rgba[from + 2]);
        levels[to] = level;
        low = Math.min(low, level);
        high = Math.max(high, level);
      }
      levels[first - 1] = levels[first];
      levels[first + width] = levels[first + width - 1];
    }
    levels.copyWithin(0, stride, 2 * stride);
    levels.copyWithin((height + 1) * stride, height * stride, (height + 1) * stride);
    return { levels, low, high, height, width, stride };
  }

  /** Returns, for each level p, the highest level q such that a change from p to q is not an event. */
  function limitsOf(value, ratio) {
    const theta = Math.fround(Math.fround(LEVELS[value.high] - LEVELS[value.low]) * Math.fround(ratio));
    const limits = new Uint8Array(256);
    let limit = 0; // of the previous level; a higher level has no lower limit
    for (let level = 0; level < 256; level++) {
      limit = Math.max(limit, level);
      while (limit < 255 && Math.fround(LEVELS[limit + 1] - LEVELS[level]) < theta) limit++;
      limits[level] = limit;
    }
    return limits;
  }

  /** Returns the positions of the start and the end of each motion vector, relative to a pixel's position. */
  function offsetsOf(value, shifts) {
    return shifts.map(([dy0, dx0, dy1, dx1]) => [dy0 * value.stride + dx0, dy1 * value.stride + dx1]);
  }

  /** Returns the packed events `on` and `off`. The loop over the timesteps is unrolled, which is 5 times as fast. */
  function compare(value, limitOfLevel, shifts) {
    const { levels, height, width, stride } = value;
    const limits = new Uint8Array(levels.length);
    for (let i = 0; i < limits.length; i++) limits[i] = limitOfLevel[levels[i]];

    // A vector with equal start and end has no events, so it completes the 8 timesteps.
    const offsets = offsetsOf(value, shifts);
    while (offsets.length < TIMESTEPS) offsets.push([0, 0]);
    const [[s0, e0], [s1, e1], [s2, e2], [s3, e3], [s4, e4], [s5, e5], [s6, e6], [s7, e7]] = offsets;
    const rises = (start, end) => (limits[start] - levels[end]) >>> 31; // the sign bit: 1 if the end is above the limit

    const on = new Uint8Array(height * width);
    const off = new Uint8Array(height * width);
    let to = 0;
    for (let y = 0; y < height; y++) {
      const first = (y + 1) * stride + 1;
      for (let i = first; i < first + width; i++, to++) {
        on[to] =
          rises(i + s0, i + e0) |
          (rises(i + s1, i + e1) << 1) |
          (rises(i + s2, i + e2) << 2) |
          (rises(i + s3, i + e3) << 3) |
          (rises(i + s4, i + e4) << 4) |
          (rises(i + s5, i + e5) << 5) |
          (rises(i + s6, i + e6) << 6) |
          (rises(i + s7, i + e7) << 7);
        off[to] =
          rises(i + e0, i + s0) |
          (rises(i + e1, i + s1) << 1) |
          (rises(i + e2, i + s2) << 2) |
          (rises(i + e3, i + s3) << 3) |
          (rises(i + e4, i + s4) << 4) |
          (rises(i + e5, i + s5) << 5) |
          (rises(i + e6, i + s6) << 6) |
          (rises(i + e7, i + s7) << 7);
      }
    }
    return { on, off };
  }

  /** Returns the number of events at each of the timesteps. */
  function count(packed, timesteps) {
    const occurrences = new Uint32Array(256);
    for (let i = 0; i < packed.length; i++) occurrences[packed[i]]++;
    const counts = new Array(timesteps).fill(0);
    for (let byte = 0; byte < 256; byte++) {
      for (let t = 0; t < timesteps; t++) counts[t] += ((byte >> t) & 1) * occurrences[byte];
    }
    return counts;
  }

  /** Returns the packed events `on` and `off`, and the value channel, which `rateCurve` takes. */
  function convert(rgba, height, width, shifts, ratio) {
    const value = valueChannel(rgba, height, width);
    return { ...compare(value, limitsOf(value, ratio), shifts), value };
  }

  /** Returns the event rate at each of the ratios: the fraction of timesteps, polarities and pixels with an event. */
  function rateCurve(value, shifts, ratios) {
    const { levels, height, width, stride } = value;
    // pairs[p << 8 | q]: how often the levels p <= q are the two ends of a motion vector.
    const pairs = new Uint32Array(256 * 256);
    for (const [start, end] of offsetsOf(value, shifts)) {
      for (let y = 1; y <= height; y++) {
        for (let i = y * stride + 1; i <= y * stride + width; i++) {
          const p = levels[i + start];
          const q = levels[i + end];
          pairs[p < q ? (p << 8) | q : (q << 8) | p]++;
        }
      }
    }
    // Sums from the right: now how often p and a level of at least q are the two ends.
    for (let i = pairs.length - 1; i >= 0; i--) if ((i & 255) < 255) pairs[i] += pairs[i + 1];

    return ratios.map((ratio) => {
      const limits = limitsOf(value, ratio);
      let events = 0;
      for (let level = 0; level < 255; level++) {
        if (limits[level] < 255) events += pairs[(level << 8) | (limits[level] + 1)];
      }
      return events / (shifts.length * 2 * height * width);
    });
  }

  return { convert, count, rateCurve };
}

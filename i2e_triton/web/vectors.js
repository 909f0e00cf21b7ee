"use strict";

/** The motion vectors of the microsaccade, as in i2e_triton/shifts.py. */

// The 3x3 neighborhood is numbered 1 to 9 in reading order, and 5 is the pixel itself. The first pair [start, end] of a
// group is canonical. Random selection draws one of the pairs.
const GROUPS = [
  [[5, 6], [1, 2], [2, 3], [4, 5], [7, 8], [8, 9]], // a, length 1: alpha
  [[5, 2], [4, 1], [6, 3], [7, 4], [8, 5], [9, 6]], // b, length 1: alpha
  [[5, 3], [4, 2], [7, 5], [8, 6]], // c, length sqrt 2: beta
  [[5, 1], [6, 2], [8, 4], [9, 5]], // d, length sqrt 2: beta
  [[9, 4], [6, 1]], // e, length sqrt 5: gamma
  [[4, 3], [7, 6]], // f, length sqrt 5: gamma
  [[3, 8], [2, 7]], // g, length sqrt 5: gamma
  [[8, 1], [9, 2]], // h, length sqrt 5: gamma
];

// The orders of the paper's table 5, as group numbers.
const ORDERS = {
  "alpha-beta-gamma": [0, 1, 2, 3, 4, 5, 6, 7],
  "alpha-gamma-beta": [0, 1, 4, 5, 6, 7, 2, 3],
  "beta-alpha-gamma": [2, 3, 0, 1, 4, 5, 6, 7],
  "beta-gamma-alpha": [2, 3, 4, 5, 6, 7, 0, 1],
  "gamma-alpha-beta": [4, 5, 6, 7, 0, 1, 2, 3],
  "gamma-beta-alpha": [4, 5, 6, 7, 2, 3, 0, 1],
};

// The pair that each group uses, as its position in the group: here the first one.
const CANONICAL = GROUPS.map(() => 0);

/** Returns a random pair of each group, in the form of CANONICAL. */
function drawPairs() {
  return GROUPS.map((pairs) => Math.floor(Math.random() * pairs.length));
}

/**
 * Returns the motion vectors of the first timesteps of an order.
 *
 * Each has the `shift` [dy0, dx0, dy1, dx1] in pixels and a `label` such as "e [9,4]": the paper's group and pair.
 */
function vectorsOf(order, timesteps, pairOfGroup) {
  const position = (cell) => [Math.floor((cell - 1) / 3) - 1, ((cell - 1) % 3) - 1];
  return ORDERS[order].slice(0, timesteps).map((group) => {
    const pair = GROUPS[group][pairOfGroup[group]];
    return { shift: pair.flatMap(position), label: `${"abcdefgh"[group]} [${pair}]` };
  });
}

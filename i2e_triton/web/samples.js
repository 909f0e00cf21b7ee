"use strict";

/** Sample pictures. Two are photographs (photographs.js), the others are drawn here. */

/** Draws a star of thin wedges. Which of their edges have events depends on the motion vector. */
function drawStar(context, side) {
  const wedges = 24;
  const shade = context.createRadialGradient(side / 2, side / 2, 0, side / 2, side / 2, side / 2);
  shade.addColorStop(0, "#ffd166");
  shade.addColorStop(1, "#ef6f6c");
  context.fillStyle = "#20243a";
  context.fillRect(0, 0, side, side);
  context.fillStyle = shade;
  for (let wedge = 0; wedge < wedges; wedge++) {
    const angle = (2 * Math.PI * wedge) / wedges;
    context.beginPath();
    context.moveTo(side / 2, side / 2);
    context.arc(side / 2, side / 2, 0.45 * side, angle, angle + Math.PI / wedges);
    context.fill();
  }
}

/** Draws a handwritten digit as in MNIST: white strokes on black. */
function drawDigit(context, side) {
  context.fillStyle = "black";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "white";
  context.lineWidth = 0.085 * side;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.filter = `blur(${side / 150}px)`;
  context.beginPath();
  context.moveTo(0.34 * side, 0.33 * side);
  context.bezierCurveTo(0.38 * side, 0.13 * side, 0.68 * side, 0.16 * side, 0.64 * side, 0.38 * side);
  context.bezierCurveTo(0.61 * side, 0.54 * side, 0.43 * side, 0.66 * side, 0.33 * side, 0.8 * side);
  context.lineTo(0.7 * side, 0.78 * side);
  context.stroke();
}

/** Returns a square canvas with a drawn sample. */
function drawnSample(draw) {
  const canvas = document.createElement("canvas");
  canvas.height = canvas.width = 448;
  draw(canvas.getContext("2d"), 448);
  return canvas;
}

// Each sample has a title and a function that returns a promise of the picture.
const SAMPLES = [
  { title: "Astronaut", open: () => loadImage(PHOTOGRAPHS.astronaut) },
  { title: "Coffee", open: () => loadImage(PHOTOGRAPHS.coffee) },
  { title: "Star", open: async () => drawnSample(drawStar) },
  { title: "Digit", open: async () => drawnSample(drawDigit) },
];

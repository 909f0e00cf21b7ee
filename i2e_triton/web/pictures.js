"use strict";

/** Reads picture files, and resizes pictures and video frames. */

const MAX_PIXELS = 64_000_000;
// The longest side of a picture that keeps its size: the page draws the events of every timestep.
const MAX_SIDE = 2048;

/**
 * Returns a promise of the picture in a file. It fails with a message for the user.
 *
 * An image element gives the size before the pixels are decoded: a small file can hold a picture that does not fit in
 * memory. It shows a damaged file as far as it goes, but createImageBitmap refuses it.
 */
async function readPicture(file) {
  const unreadable = new Error(
    `“${file.name}” cannot be read. The file is damaged, or it is not a picture that this browser knows. ` +
      "Use a PNG, JPEG, WebP or GIF file.",
  );
  const url = URL.createObjectURL(file);
  const [height, width] = await loadImage(url).then(naturalSize, () => [0, 0]);
  URL.revokeObjectURL(url);
  if (height * width === 0) throw unreadable;
  if (height * width > MAX_PIXELS) {
    const size = `${height.toLocaleString("en")} × ${width.toLocaleString("en")}`;
    throw new Error(`“${file.name}” has ${size} pixels; the limit is ${MAX_PIXELS / 1e6} million. Reduce it first.`);
  }
  return createImageBitmap(file).catch(() => Promise.reject(unreadable));
}

/** Returns a promise of an image element whose size is known. */
function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = reject;
    image.src = url;
  });
}

/** Returns the size [height, width] of an image, a canvas or a video in pixels. */
function naturalSize(picture) {
  return [
    picture.naturalHeight || picture.videoHeight || picture.height,
    picture.naturalWidth || picture.videoWidth || picture.width,
  ];
}

/** Returns a size [height, width], reduced if its longer side exceeds MAX_SIDE. */
function limitedSize([height, width]) {
  const scale = Math.min(1, MAX_SIDE / Math.max(height, width));
  return [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))];
}

/** Draws the center of a picture so that it fills the canvas without distortion. Transparent pixels become white. */
function drawCover(canvas, picture, [height, width], mirrored) {
  const [fullHeight, fullWidth] = naturalSize(picture);
  resize(canvas, height, width);
  const scale = Math.max(height / fullHeight, width / fullWidth);
  const [cropHeight, cropWidth] = [height / scale, width / scale];
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? width : 0, 0);
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(
    picture,
    (fullWidth - cropWidth) / 2,
    (fullHeight - cropHeight) / 2,
    cropWidth,
    cropHeight,
    0,
    0,
    width,
    height,
  );
}

/** Returns the RGBA bytes of a canvas. */
function pixelsOf(canvas) {
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

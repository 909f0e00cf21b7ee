"use strict";

/** The page: its state, and what happens when the user changes something. */

const convertInWorker = newWorker();
const workCanvas = document.createElement("canvas"); // holds the pixels that are converted next
const state = {
  name: "", // of the picture
  picture: null, // an image, a bitmap, a canvas or a video
  pairs: CANONICAL,
  result: null, // of the last conversion
  charted: null, // the last result with a curve
  frames: [], // times of the conversions in the last second
  conversions: 0, // of video frames
};
const playback = newPlayback((timestep) => state.result && showTimestep(state.result, timestep, eventColors()));

const isVideo = () => state.picture instanceof HTMLVideoElement;

/** Returns the size [height, width] that the controls ask for. */
function chosenSize() {
  const choice = element("size").value;
  if (choice === "original") return limitedSize(naturalSize(state.picture));
  if (choice !== "custom") return choice.split(" ").map(Number);
  return ["height", "width"].map((id) => Math.round(Math.min(2048, Math.max(1, +element(id).value || 1))));
}

/** Draws the picture in the chosen size and converts it. */
function redraw() {
  drawCover(workCanvas, state.picture, chosenSize(), isVideo() && isMirrored(state.picture));
  refresh();
}

/** Converts the pixels and shows the result. A call during a conversion causes another conversion after it. */
async function refresh() {
  refresh.again = true;
  if (refresh.running) return;
  refresh.running = true;
  try {
    while (refresh.again) {
      refresh.again = false;
      const result = await convertInWorker(newRequest());
      showResult({ ...result, ...ratesOf(result) });
    }
  } catch (error) {
    showMessage(`The conversion failed: ${error.message}`);
  } finally {
    refresh.running = false;
  }
}

/** Returns the pixels and the settings. */
function newRequest() {
  const order = element("order").value;
  const vectors = vectorsOf(order, +element("timesteps").value, state.pairs);
  return {
    rgba: pixelsOf(workCanvas),
    height: workCanvas.height,
    width: workCanvas.width,
    shifts: vectors.map(({ shift }) => shift),
    labels: vectors.map(({ label }) => label),
    ratio: +element("ratio").value,
    order,
    canonical: state.pairs === CANONICAL,
    name: state.name,
    runs: isVideo() ? 1 : 20,
    // The curve takes as long as the conversion, and charts and texts cause a layout of the page. A video updates them
    // with every fifth frame.
    withCurve: !isVideo() || state.conversions++ % 5 === 0,
  };
}

/** Returns the event rates [polarity][timestep], and the rate of all. */
function ratesOf({ counts, height, width }) {
  const rates = counts.map((ofPolarity) => ofPolarity.map((count) => count / (height * width)));
  return { rates, rate: rates.flat().reduce((sum, rate) => sum + rate) / rates.flat().length };
}

function showResult(result) {
  const timesteps = result.shifts.length;
  if (timesteps !== state.result?.shifts.length) {
    createTiles(timesteps, playback.stopAt);
    playback.setTimesteps(timesteps);
  }
  state.result = result;
  showPicture(result);
  showEvents();
  countFrame();
  if (result.curve) showDetails(result);
  if (!isVideo()) {
    const size = `${result.height} × ${result.width} pixels`;
    element("status").textContent = `${result.name}, ${size}: event rate ${percent(result.rate)}`;
  }
}

/** Draws the events in the colors of the theme. */
function showEvents() {
  const colors = eventColors();
  showTiles(state.result, colors);
  showTimestep(state.result, playback.timestep(), colors);
}

/** Shows the figures, the charts and the Python code of a result with a curve. */
function showDetails(result) {
  state.charted = result;
  showFigures(result, isVideo() ? state.frames.length : null);
  showCharts(result, playback.timestep());
  element("python").textContent = pythonOf(result, fileName("pixels.png"));
}

/** Keeps the times of the conversions in the last second. */
function countFrame() {
  const now = performance.now();
  state.frames = [...state.frames.filter((time) => now - time < 1000), now];
}

/** Opens a picture: `open` returns a promise of it. If another one is opened meanwhile, that one is shown. */
async function openPicture(name, open) {
  const opening = (openPicture.last = {});
  hideMessage();
  try {
    const picture = await open();
    if (openPicture.last !== opening) {
      if (picture.srcObject) stopCamera(picture);
      return;
    }
    releaseCamera();
    state.name = name;
    state.picture = picture;
    if (isVideo()) watchVideo(picture);
    redraw();
  } catch (error) {
    showMessage(error.message);
  }
}

function watchVideo(video) {
  element("camera").textContent = "Stop webcam";
  element("camera").setAttribute("aria-pressed", true);
  video.srcObject.getVideoTracks()[0].onended = freezeCamera; // the webcam was removed
  forEachFrame(video, redraw);
}

function releaseCamera() {
  if (!isVideo()) return;
  stopCamera(state.picture);
  element("camera").textContent = "Start webcam";
  element("camera").setAttribute("aria-pressed", false);
}

/** Keeps the last frame of the webcam as a picture. */
function freezeCamera() {
  const frame = document.createElement("canvas");
  drawCover(frame, state.picture, naturalSize(state.picture), isMirrored(state.picture));
  openPicture("webcam", async () => frame);
}

/** Returns the name of a downloaded file, such as astronaut-events.gif. */
function fileName(ending) {
  const stem = state.name.replace(/\.\w+$/, "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  return `${stem.toLowerCase() || "picture"}-${ending}`;
}

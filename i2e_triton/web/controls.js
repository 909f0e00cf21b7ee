"use strict";

/** Connects the controls with the page, and opens the first picture. */

function connectRatio() {
  const set = (ratio) => {
    element("ratio").value = ratio;
    element("ratio-slider").value = ratio;
    showPaperRatio();
    refresh();
  };
  element("ratio-slider").addEventListener("input", () => set(+element("ratio-slider").value));
  element("ratio").addEventListener("input", () => {
    const { value, validity } = element("ratio");
    if (value !== "" && validity.valid) set(+value);
  });
  element("ratio").addEventListener("change", () => set(state.result.ratio)); // replaces an invalid number
  element("paper-ratio").addEventListener("click", ({ target }) => {
    if (target.matches("button")) set(paperRatio());
  });
  element("curve").addEventListener("click", ({ clientX }) => {
    set(ratioAt(element("curve"), clientX, +element("ratio").value));
  });
}

/** Returns the paper's ratio for the chosen size, or NaN. */
function paperRatio() {
  return parseFloat(element("size").selectedOptions[0].dataset.ratio);
}

function showPaperRatio() {
  const ratio = paperRatio();
  const used = ratio === +element("ratio").value;
  const button = used ? "" : `<button type="button" class="link">Use ${ratio}</button>`;
  element("paper-ratio").innerHTML = Number.isNaN(ratio) ? "" : `The paper uses ${ratio} for this size. ${button}`;
}

function connectSettings() {
  for (const order of Object.keys(ORDERS)) {
    element("order").add(new Option(order, order, false, order === "gamma-alpha-beta"));
  }
  element("size").addEventListener("change", () => {
    element("custom").hidden = element("size").value !== "custom";
    showPaperRatio();
    redraw();
  });
  for (const id of ["height", "width"]) element(id).addEventListener("input", redraw);
  element("timesteps").addEventListener("input", () => {
    element("timesteps-value").value = element("timesteps").value;
    refresh();
  });
  element("order").addEventListener("change", refresh);
  for (const radio of document.getElementsByName("vectors")) {
    radio.addEventListener("change", () => setPairs(radio.value === "random" ? drawPairs() : CANONICAL));
  }
  element("draw").addEventListener("click", () => setPairs(drawPairs()));
}

function setPairs(pairs) {
  state.pairs = pairs;
  element("draw").hidden = pairs === CANONICAL;
  refresh();
}

function connectPictures() {
  for (const { title, open } of SAMPLES) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.append(document.createElement("canvas"), title);
    button.addEventListener("click", () => openPicture(title, open));
    element("samples").append(button);
    open().then((picture) => drawCover(button.firstChild, picture, [96, 96], false));
  }
  listenForFiles((file) => openPicture(file.name, () => readPicture(file)), showMessage);
  element("camera").addEventListener("click", () => (isVideo() ? freezeCamera() : openPicture("webcam", startCamera)));
  element("message").querySelector("button").addEventListener("click", hideMessage);
}

function connectDownloads() {
  const onClick = (id, make) => element(id).addEventListener("click", async () => save(...(await make(state.result))));
  onClick("gif", (result) => [fileName("events.gif"), gifOf(result, eventColors(), playback.stepDuration())]);
  onClick("sheet", async (result) => [fileName("sheet.png"), await pngOf(sheetOf(result, eventColors()))]);
  onClick("npz", (result) => [fileName("events.npz"), npzOf(result)]);
  onClick("pixels", async (result) => [fileName("pixels.png"), await pngOf(pixelCanvas(result))]);
  element("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(element("python").textContent);
    element("status").textContent = "Copied";
    element("copy").textContent = "Copied";
    setTimeout(() => (element("copy").textContent = "Copy"), 2000);
  });
}

/** Follows the theme of the system until the button chooses one. */
function connectTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const set = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    element("theme").setAttribute("aria-pressed", dark);
    if (state.result) showEvents();
  };
  system.addEventListener("change", () => set(system.matches));
  element("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
  set(system.matches);
}

connectTheme();
connectRatio();
connectSettings();
connectPictures();
connectDownloads();
showPaperRatio();
new ResizeObserver(() => state.charted && showCharts(state.charted, playback.timestep())).observe(element("curve"));
openPicture(SAMPLES[0].title, SAMPLES[0].open);

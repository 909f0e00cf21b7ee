"use strict";

/** Conversions in a worker, so that the page stays responsive. */

// The ratios of the curve: 0 to 1. Most pictures have few events beyond 0.5.
const CURVE_RATIOS = Array.from({ length: 201 }, (_, i) => i / 200);

/** Answers requests in the worker. It uses no name from outside, see newConverter. */
function serveConversions(converter, curveRatios) {
  const MAX_MILLISECONDS = 50; // for all runs of one conversion

  onmessage = ({ data: { rgba, height, width, shifts, ratio, runs, withCurve } }) => {
    const times = [];
    const begin = performance.now();
    let events;
    do {
      const start = performance.now();
      events = converter.convert(rgba, height, width, shifts, ratio);
      times.push(performance.now() - start);
    } while (times.length < runs && performance.now() - begin < MAX_MILLISECONDS);
    const milliseconds = times.sort((a, b) => a - b)[times.length >> 1];
    const { on, off, value } = events;
    const counts = [converter.count(on, shifts.length), converter.count(off, shifts.length)];
    const curve = withCurve ? converter.rateCurve(value, shifts, curveRatios) : null;
    postMessage({ rgba, on, off, counts, curve, milliseconds }, [rgba.buffer, on.buffer, off.buffer]);
  };
}

/**
 * Returns a function that converts one image at a time.
 *
 * It takes { rgba, height, width, shifts, ratio, runs, withCurve }, whose pixels it moves to the worker. It returns a
 * promise of the request with the same pixels, the packed events `on` and `off`, `counts` [polarity][timestep], the
 * `curve` of the event rate (null without withCurve), and the time of the conversion: the median of `runs` conversions
 * in milliseconds. The first runs are slow, because the browser has not yet compiled the code.
 */
function newWorker() {
  const source = `(${serveConversions})((${newConverter})(), ${JSON.stringify(CURVE_RATIOS)})`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  return (request) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve({ ...request, ...data });
      worker.onerror = (event) => reject(new Error(event.message));
      worker.postMessage(request, [request.rgba.buffer]);
    });
}

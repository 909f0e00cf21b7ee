"use strict";

/** The animation: shows one timestep after the other. */

/** Returns the functions that control the animation. It calls `show` with each timestep. */
function newPlayback(show) {
  const play = element("play");
  const slider = element("timestep");
  const speed = element("speed");
  let timer = null;

  function stepTo(timestep) {
    slider.value = timestep;
    element("timestep-value").value = timestep;
    show(timestep);
  }

  function start() {
    clearInterval(timer);
    timer = setInterval(() => stepTo((+slider.value + 1) % (+slider.max + 1)), 1000 / speed.value);
    play.textContent = "Pause";
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function showSpeed() {
    element("speed-value").value = `${speed.value} per second`;
  }

  play.addEventListener("click", () => (timer === null ? start() : stop()));
  slider.addEventListener("input", () => {
    stop();
    stepTo(+slider.value);
  });
  speed.addEventListener("input", () => {
    showSpeed();
    if (timer !== null) start();
  });
  showSpeed();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) stop();
  else start();

  return {
    timestep: () => +slider.value,
    stepDuration: () => 1000 / speed.value,
    /** Stops at a timestep. */
    stopAt(timestep) {
      stop();
      stepTo(timestep);
    },
    /** Sets the number of timesteps. */
    setTimesteps(timesteps) {
      slider.max = timesteps - 1; // the browser also limits the value
      element("timestep-value").value = slider.value;
    },
  };
}

"use strict";

/** The webcam. */

/** Returns a promise of a video element that plays the webcam. It fails with a message for the user. */
async function startCamera() {
  if (!navigator.mediaDevices) throw new Error("This browser gives no access to a webcam on this page.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "user" } });
  } catch (error) {
    const reason = error.name === "NotAllowedError" ? "access was not allowed" : error.message || error.name;
    throw new Error(`The webcam cannot be used: ${reason}.`);
  }
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  return video;
}

/** Returns whether the video should be drawn as in a mirror: only a camera that points away from the user is not. */
function isMirrored(video) {
  return video.srcObject.getVideoTracks()[0].getSettings().facingMode !== "environment";
}

/** Releases the webcam. */
function stopCamera(video) {
  for (const track of video.srcObject.getTracks()) track.stop();
  video.srcObject = null;
}

/** Calls `visit` for each new frame until the camera stops. */
function forEachFrame(video, visit) {
  const next = () => {
    if (!video.srcObject) return;
    visit();
    schedule();
  };
  const schedule = () =>
    video.requestVideoFrameCallback ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next);
  schedule();
}

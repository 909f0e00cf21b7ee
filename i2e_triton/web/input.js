"use strict";

/** Pictures from the file dialog, from drag and drop, and from the clipboard. */

/** Calls `open` with each picture file that the user chooses, drops or pastes, and `refuse` if there is no file. */
function listenForFiles(open, refuse) {
  const input = element("file");
  const overlay = element("drop");

  element("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files.length > 0) open(input.files[0]);
    input.value = ""; // so that choosing the same file again is a change
  });

  document.addEventListener("paste", (event) => {
    const files = event.clipboardData.files;
    if (files.length > 0) {
      event.preventDefault();
      open(files[0]);
    } else if (!event.target.matches("input")) {
      refuse("The clipboard holds no picture. Copy a picture, not its address.");
    }
  });

  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    overlay.hidden = false;
  });
  // Leaving an element for one of its children is also a dragleave; relatedTarget is null outside of the page only.
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    overlay.hidden = true;
    const files = event.dataTransfer.files;
    if (files.length > 0) open(files[0]);
    else refuse("This is not a picture file. Save the picture as a file first, and drop the file.");
  });
}

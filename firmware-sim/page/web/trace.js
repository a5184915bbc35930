// A trace file from this machine: chosen or dropped, read by the engine, never sent anywhere.
"use strict";

(() => {
  const { at, ask } = usbmux;
  const LONGEST = 32 * 1024 * 1024;
  const PIECE = 0x8000;

  const base64 = (bytes) => {
    let text = "";
    for (let i = 0; i < bytes.length; i += PIECE) text += String.fromCharCode(...bytes.subarray(i, i + PIECE));
    return btoa(text);
  };

  /** Makes files be read; `show` gets a name and rows, or a complaint. */
  const wire = (show) => {
    const read = async (file) => {
      if (!file) return;
      if (file.size > LONGEST) {
        show(file.name, null, "That file is larger than 32 MB. Cut out the interesting part (editcap), or use umux trace.");
        return;
      }
      try {
        show(file.name, ask({ trace: base64(new Uint8Array(await file.arrayBuffer())) }), "");
      } catch (error) {
        show(file.name, null, error.message);
      }
    };
    at("file").addEventListener("change", () => {
      read(at("file").files[0]);
      // So that the same file can be chosen again.
      at("file").value = "";
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      read(event.dataTransfer.files[0]);
    });
  };

  usbmux.trace = { wire };
})();

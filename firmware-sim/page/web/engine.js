// The engine: a question goes in as JSON, an answer comes out. Knows WebAssembly and nothing else.
"use strict";

const usbmux = {};

(() => {
  let instance = null;

  /** Makes the engine run; `base64` is its module. */
  usbmux.load = async (base64) => {
    const text = atob(base64);
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    const module = await WebAssembly.instantiate(bytes, {});
    instance = module.instance.exports;
  };

  /** Asks the engine; throws what it complains of. */
  usbmux.ask = (question) => {
    const bytes = new TextEncoder().encode(JSON.stringify(question));
    const address = instance.question(bytes.length);
    if (address === 0) throw new Error("That is more than the engine takes at once (64 MB).");
    new Uint8Array(instance.memory.buffer, address, bytes.length).set(bytes);
    const length = instance.answer();
    const answer = new Uint8Array(instance.memory.buffer, instance.answer_address(), length);
    const [kind, told] = Object.entries(JSON.parse(new TextDecoder().decode(answer)))[0];
    if (kind === "error") throw new Error(told);
    return told;
  };

  /** An element with a class and children; strings become text. */
  usbmux.make = (tag, name, ...children) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children);
    return element;
  };

  /** The element with this id. */
  usbmux.at = (id) => document.getElementById(id);

  /** A number as people write it. */
  usbmux.figure = (number) => number.toLocaleString("en-GB").replaceAll(",", "\u202f");
})();

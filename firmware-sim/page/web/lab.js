// The laboratory's controls: buttons become questions to the engine, its state becomes buttons.
"use strict";

(() => {
  const { at, ask, make } = usbmux;
  let told = () => {};
  let overruns = false;

  const act = (what) => told(ask({ act: what }));

  const bytes = () => {
    const count = Math.floor(Number(at("count").value));
    const sane = Math.min(Math.max(Number.isFinite(count) ? count : 1, 1), 1_000_000);
    at("count").value = String(sane);
    return sane;
  };

  const BUTTONS = {
    open: () => act({ open: Number(at("port").value) }),
    send: () => act({ send: bytes() }),
    ask: () => act({ ask: bytes() }),
    hold: () => act({ read: false }),
    read: () => act({ read: true }),
    close: () => act("close"),
    abort: () => act("abort"),
    "lose-zlp": () => act("lose_zlp"),
    "lose-out": () => act("lose_out"),
    "lose-in": () => act("lose_in"),
    "flip-out": () => act({ flip: { from_phone: false, field: at("field").value } }),
    "flip-in": () => act({ flip: { from_phone: true, field: at("field").value } }),
    overrun: () => {
      overruns = !overruns;
      act({ overrun: overruns });
    },
    cable: () => act(at("cable").dataset.plugged === "true" ? "unplug" : "plug_in"),
  };

  /** Makes the buttons work; `hear` gets every answer. */
  const wire = (hear) => {
    told = hear;
    for (const [id, press] of Object.entries(BUTTONS)) at(id).addEventListener("click", press);
    at("chosen").addEventListener("change", () => {
      const [host, phone] = at("chosen").value.split(" ").map(Number);
      told(ask({ choose: [host, phone] }));
    });
    for (const quirk of usbmux.quirks) {
      const option = make("option", "", quirk);
      option.value = quirk;
      at("set-quirk").append(option);
    }
  };

  /** The settings that the form says. */
  const settings = () => ({
    explicit_zlp: at("set-zlp").value === "true",
    window: Number(at("set-window").value),
    credit: at("set-credit").value === "true",
    max_frame: Number(at("set-frame").value),
    high_speed: at("set-speed").value === "true",
    quirk: at("set-quirk").value,
  });

  /** Makes a new lab, and does what is to happen at once. */
  const begin = (start, setup) => {
    overruns = setup.quirk === "overrun";
    at("count").value = String(start.count);
    at("port").value = "7";
    at("set-zlp").value = String(setup.explicit_zlp);
    at("set-window").value = String(setup.window);
    at("set-credit").value = String(setup.credit);
    at("set-frame").value = String(setup.max_frame);
    at("set-speed").value = String(setup.high_speed);
    at("set-quirk").value = setup.quirk;
    told(ask({ lab: setup }));
    for (const what of start.begin) told(what.step ? ask({ step: what.step }) : ask({ act: what }));
  };

  const armed = (state) => {
    const words = [];
    if (state.lost_zlp) words.push("the next ZLP will be lost");
    if (state.lost_out) words.push("the host’s next frame will be lost");
    if (state.lost_in) words.push("the phone’s next frame will be lost");
    if (state.flip_out) words.push(`a bit in ${state.flip_out} of the host’s next frame with data will flip`);
    if (state.flip_in) words.push(`a bit in ${state.flip_in} of the phone’s next frame with data will flip`);
    return words.length ? `Prepared: ${words.join("; ")}.` : "";
  };

  /** Shows what the buttons can do now. */
  const show = (state, view) => {
    at("armed").textContent = armed(state);
    at("cable").textContent = state.plugged ? "Unplug" : "Plug in";
    at("cable").dataset.plugged = String(state.plugged);
    at("overrun").setAttribute("aria-pressed", String(overruns));
    at("clock").textContent = `${state.at.toFixed(2)} ms`;
    const pairs = view ? view.connections : [];
    const options = pairs.map((pair) => {
      const option = make("option", "", `${pair.host_port} → ${pair.phone_port}, ${pair.host}`);
      option.value = `${pair.host_port} ${pair.phone_port}`;
      return option;
    });
    at("chosen").replaceChildren(...(options.length ? options : [make("option", "", "none yet")]));
    if (state.chosen) at("chosen").value = state.chosen.join(" ");
  };

  usbmux.lab = { wire, begin, settings, show };
})();

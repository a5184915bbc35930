// The ladder: lifelines, and arrows between them. Each row is a button, so that keyboards reach it.
"use strict";

(() => {
  const { make, at } = usbmux;
  const NAMES = { pc: "PC", host: "host", phone: "phone", you: "you", hand: "your hand" };
  let buttons = [];
  let hasPc = false;
  let onChoice = () => {};

  /** Empties the ladder; `pc` says whether there is a PC to the left of the host. */
  const clear = (pc, choose) => {
    hasPc = pc;
    onChoice = choose;
    buttons = [];
    at("ladder").replaceChildren();
    at("ladder").classList.toggle("with-pc", pc);
    const names = pc ? ["PC", "dongle (USB host)", "phone"] : ["host", "phone"];
    at("names").classList.toggle("with-pc", pc);
    at("names").replaceChildren(make("span", ""), ...names.map((name) => make("span", "", name)));
  };

  const wire = (row) => {
    const left = row.from === "phone" || (row.kind === "ethernet" && row.from === "host");
    const fate = row.frame ? row.frame.fate : "arrived";
    const classes = ["wire", left ? "left" : "right"];
    if (fate === "lost") classes.push("lost");
    if (fate !== "lost" && fate !== "arrived") classes.push("damaged");
    const label = make("span", "label", row.label);
    const mark = { lost: " ✕ lost", arrived: "" }[fate] ?? ` ⚡ ${fate}`;
    if (mark) label.append(make("span", "mark", mark));
    return make("span", classes.join(" "), label, make("span", "shaft"));
  };

  const spoken = (row) => {
    if (row.kind === "note") return `${NAMES[row.from]}: ${row.label}`;
    const to = { pc: "host", phone: "host", host: row.kind === "ethernet" ? "pc" : "phone" }[row.from];
    return `${NAMES[row.from]} to ${NAMES[to]}, ${row.at.toFixed(2)} milliseconds: ${row.label}`;
  };

  /** Words in which what stands between backticks is code. */
  const withCode = (words) => words.split("`").map((part, place) => (place % 2 ? make("code", "", part) : part));

  /** Adds a row of the engine's. */
  const add = (row, index) => {
    const item = make("li", row.bad ? `${row.kind} bad` : row.kind);
    at("ladder").append(item);
    if (row.kind === "act") return item.append(make("h3", "", row.label));
    if (row.kind === "text") return item.append(make("p", "", ...withCode(row.label)));
    const button = make("button", `row from-${row.from}`);
    button.type = "button";
    button.tabIndex = -1;
    button.dataset.index = index;
    button.setAttribute("aria-label", spoken(row));
    const time = row.kind === "note" && row.at === 0 ? "" : `${row.at.toFixed(2)} ms`;
    button.append(make("span", "time", time));
    const isPcs = row.kind === "ethernet" || row.from === "pc";
    if (hasPc && !isPcs) button.append(make("span", "gap"));
    button.append(row.kind === "note" ? make("span", "said", row.label) : wire(row));
    if (hasPc && isPcs) button.append(make("span", "gap"));
    button.addEventListener("click", () => onChoice(index));
    item.append(button);
    buttons.push(button);
  };

  /** Shows which row is looked at, and brings it into sight. */
  const choose = (index, focus) => {
    for (const button of buttons) {
      const chosen = Number(button.dataset.index) === index;
      if (!chosen && button.tabIndex === -1) continue;
      button.tabIndex = chosen ? 0 : -1;
      if (chosen) {
        button.setAttribute("aria-current", "true");
        const ladder = at("ladder");
        const top = button.offsetTop;
        if (top < ladder.scrollTop || top + button.offsetHeight > ladder.scrollTop + ladder.clientHeight) {
          ladder.scrollTop = top - ladder.clientHeight / 2;
        }
        if (focus) button.focus({ preventScroll: true });
      } else {
        button.removeAttribute("aria-current");
      }
    }
  };

  /** The row so many rows away from this one, or the last in that direction. */
  const neighbour = (index, by) => {
    const places = buttons.map((button) => Number(button.dataset.index));
    const here = Math.max(places.indexOf(index), 0);
    return places[Math.min(Math.max(here + by, 0), places.length - 1)];
  };

  usbmux.ladder = { clear, add, choose, neighbour };
})();

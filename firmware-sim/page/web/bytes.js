// The bytes of a frame, its fields coloured and named.
"use strict";

(() => {
  const { make, at, figure } = usbmux;

  const pairs = (hex) => hex.match(/../g) ?? [];

  const printable = (bytes) =>
    bytes.map((pair) => parseInt(pair, 16)).map((code) => (code > 31 && code < 127 ? String.fromCharCode(code) : "·")).join("");

  /** Marks a field in the dump and in the table, or none. */
  const mark = (place) => {
    for (const element of at("bytes").querySelectorAll("[data-field]")) {
      element.classList.toggle("marked", element.dataset.field === place);
    }
  };

  const dump = (frame, bytes) => {
    const hex = make("p", "dump");
    for (const [place, field] of frame.fields.entries()) {
      for (let i = field.at; i < Math.min(field.at + field.length, bytes.length); i += 1) {
        const byte = make("span", `byte k-${field.kind}`, bytes[i]);
        byte.dataset.field = String(place);
        byte.title = field.name;
        byte.addEventListener("mouseenter", () => mark(String(place)));
        hex.append(byte);
      }
    }
    hex.addEventListener("mouseleave", () => mark(""));
    if (frame.length > bytes.length) {
      hex.append(make("span", "more", `… ${figure(frame.length - bytes.length)} bytes more`));
    }
    return hex;
  };

  const table = (frame, bytes) => {
    const body = make("tbody", "");
    for (const [place, field] of frame.fields.entries()) {
      const own = bytes.slice(field.at, field.at + field.length);
      const hex = own.slice(0, 4).join(" ") + (field.length > 4 ? " …" : "");
      let value = field.value;
      if (field.kind === "payload") value += `: ${printable(own.slice(0, 24))}${field.length > 24 ? "…" : ""}`;
      const name = make("th", "", make("span", `swatch k-${field.kind}`), field.name);
      name.scope = "row";
      const row = make("tr", frame.fate === field.name ? "damaged" : "", name, make("td", "hex", hex), make("td", "", value));
      row.dataset.field = String(place);
      row.addEventListener("mouseenter", () => mark(String(place)));
      row.addEventListener("mouseleave", () => mark(""));
      body.append(row);
    }
    const heads = ["field", "bytes", "value"].map((text) => {
      const head = make("th", "", text);
      head.scope = "col";
      return head;
    });
    return make("table", "", make("thead", "", make("tr", "", ...heads)), body);
  };

  const packets = (lengths) => {
    const words = [];
    for (let i = 0; i < lengths.length; ) {
      let same = i;
      while (same < lengths.length && lengths[same] === lengths[i]) same += 1;
      const length = lengths[i] === 0 ? "ZLP" : String(lengths[i]);
      words.push(same - i > 1 ? `${same - i} × ${length}` : length);
      i = same;
    }
    return words.join(" + ");
  };

  /** Shows the frame of a row. */
  const show = (row) => {
    const place = at("bytes");
    if (!row || !row.frame) {
      const why = row ? "No frame went over USB here." : "Choose a message in the ladder.";
      return place.replaceChildren(make("p", "quiet", why));
    }
    const bytes = pairs(row.frame.bytes);
    const whose = row.from === "phone" ? "the phone’s" : "the host’s";
    const lengths = row.frame.packets;
    const facts = `${figure(row.frame.length)} bytes, ${whose}${lengths.length ? `, in USB packets of ${packets(lengths)}` : ""}`;
    place.replaceChildren(make("p", "facts", facts), dump(row.frame, bytes), table(row.frame, bytes));
  };

  usbmux.bytes = { show };
})();

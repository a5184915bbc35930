// Credit and window: a bar for each direction as it stands, and how it came to that over time.
"use strict";

(() => {
  const { make, at, figure } = usbmux;
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 320;
  const HEIGHT = 90;

  const draw = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  const same = (pair) => (other) => other.host_port === pair.host_port && other.phone_port === pair.phone_port;

  /** What each row says of this direction of this connection; null before it was opened. */
  const history = (rows, pair, way) =>
    rows.map((row) => {
      const now = row.view && row.view.connections.findLast(same(pair));
      return now ? { room: now[way].room, window: now[way].window, flight: now[way].in_flight, held: now.program && way === "to_host" ? now.program.held : 0 } : null;
    });

  const bar = (flow, held, full) => {
    const part = (name, bytes, text) => {
      const element = make("span", name);
      element.style.flexGrow = String(bytes);
      element.title = `${figure(bytes)} bytes ${text}`;
      return element;
    };
    const most = Math.max(full, flow.in_flight + flow.room + held, 1);
    const rest = most - flow.in_flight - flow.room - held;
    return make("div", "bar",
      part("held", held, "unread in the buffer"), part("flight", flow.in_flight, "not acknowledged"),
      part("room", flow.room, "may still be sent"), part("rest", Math.max(rest, 0), "not granted"));
  };

  /** Steps over time: room as an area, what is unacknowledged and unread as lines. */
  const chart = (points, chosen, full, name) => {
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name, preserveAspectRatio: "none" });
    const x = (i) => (points.length < 2 ? 0 : (i / (points.length - 1)) * WIDTH);
    const y = (bytes) => HEIGHT - 2 - (Math.min(bytes, full) / full) * (HEIGHT - 8);
    const steps = (key) => {
      let line = "";
      for (const [i, point] of points.entries()) {
        if (!point) continue;
        line += line ? `H${x(i).toFixed(1)}V${y(point[key]).toFixed(1)}` : `M${x(i).toFixed(1)} ${y(point[key]).toFixed(1)}`;
      }
      return line && `${line}H${WIDTH}`;
    };
    const area = steps("room");
    if (area) {
      const first = points.findIndex(Boolean);
      svg.append(draw("path", { class: "room", d: `${area}V${HEIGHT}H${x(first).toFixed(1)}Z` }));
      svg.append(draw("path", { class: "flight", d: steps("flight") }));
      if (points.some((point) => point && point.held > 0)) svg.append(draw("path", { class: "held", d: steps("held") }));
    }
    svg.append(draw("line", { class: "now", x1: x(chosen), x2: x(chosen), y1: 0, y2: HEIGHT }));
    return svg;
  };

  const direction = (title, rows, chosen, pair, way, sender) => {
    const flow = pair[way];
    const points = history(rows, pair, way);
    const full = Math.max(1, ...points.filter(Boolean).map((point) => Math.max(point.window, point.room, point.flight, point.held)));
    const program = way === "to_host" ? pair.program : null;
    const held = program ? program.held : 0;
    const over = pair.host === "Closed" && pair.phone === "Closed";
    const words = over ? ["The connection is over: nothing more may be sent"] : [`${sender} may send ${figure(flow.room)} bytes`];
    if (!over || flow.in_flight > 0) words.push(`${figure(flow.in_flight)} ${flow.in_flight === 1 ? "is" : "are"} not acknowledged`);
    if (program) {
      words.push(`${figure(held)} wait unread in the host’s buffer`);
      if (!program.reads) words.push("the program does not read");
    }
    if (way === "to_phone" && pair.program && pair.program.queued > 0) words.push(`${figure(pair.program.queued)} more wait in the program`);
    return make("div", "direction",
      make("h3", "", title), make("p", "words", `${words.join("; ")}.`),
      bar(flow, held, full), chart(points, chosen, full, `${title} over time`),
      make("p", "scale", `window ${figure(flow.window)} = ${flow.window / 256} × 256; the picture is ${figure(full)} bytes high`));
  };

  const legend = () => make("p", "legend",
    make("span", "", make("span", "key room"), "may still be sent"),
    make("span", "", make("span", "key flight"), "sent, not acknowledged"),
    make("span", "", make("span", "key held"), "unread by the host’s program"));

  /** Shows a connection's credit after the chosen row, and all rows' as a picture. */
  const show = (rows, chosen, pair) => {
    const place = at("credit");
    if (!pair) {
      return place.replaceChildren(make("p", "quiet", "A window says how many bytes may come before the receiver says more. There is no connection yet that has one."));
    }
    place.replaceChildren(
      direction("Phone → host", rows, chosen, pair, "to_host", "The phone"),
      direction("Host → phone", rows, chosen, pair, "to_phone", "The host"),
      legend(),
    );
  };

  usbmux.credit = { show };
})();

// Where both sides stand: the link's states and the connection's, each with what it means.
"use strict";

(() => {
  const { make, at } = usbmux;

  const LINK = {
    Down: "No cable, or nobody at its other end.",
    Greeting: "No version is agreed: nothing but VERSION may be said.",
    Up: "Frames of connections may pass.",
    Dead: "A frame’s number was wrong. It takes nothing but VERSION any more.",
    Failed: "No version could be agreed. Only a port reset or another cable helps.",
  };
  const CONNECTION = {
    Closed: "There is none, or it is over.",
    SynSent: "It asked for a connection and waits for the answer.",
    Incoming: "A SYN arrived; a program decides.",
    SynReceived: "It accepted and waits for the third frame.",
    Established: "Bytes may pass, both ways.",
    Draining: "Its program is done; what it sent is not acknowledged yet. Only then comes RST.",
  };
  const PATHS = {
    link: { host: ["Down", "Greeting", "Up", "Failed"], phone: ["Down", "Greeting", "Up", "Dead"] },
    connection: {
      host: ["Closed", "SynSent", "Established", "Draining"],
      phone: ["Closed", "Incoming", "SynReceived", "Established", "Draining"],
    },
  };

  const path = (names, state, meanings, whose) => {
    const list = make("ol", "path");
    list.setAttribute("aria-label", `${whose}: ${state}`);
    for (const name of names) {
      const item = make("li", name === state ? "here" : "", name);
      if (name === state) item.setAttribute("aria-current", "step");
      item.title = meanings[name];
      list.append(item);
    }
    return list;
  };

  const side = (whose, kind, state, meanings, number) => {
    const head = make("h4", "", whose);
    if (number) head.append(make("span", "quiet", number));
    return make("div", `side ${whose}`, head,
      path(PATHS[kind][whose], state, meanings, whose), make("p", "meaning", meanings[state]));
  };

  const tx = (number) => (number === null ? "" : ` last frame sent: #${number}`);

  /** Shows how things stand; `pair` is the connection that is looked at. */
  const show = (view, pair) => {
    const place = at("states");
    if (!view) return place.replaceChildren(make("p", "quiet", "Nothing has happened yet."));
    const version = view.version ? `, version ${view.version}` : "";
    place.replaceChildren(
      make("h3", "", `The link${version}`),
      make("div", "sides",
        side("host", "link", view.host, LINK, tx(view.host_tx)),
        side("phone", "link", view.phone, LINK, tx(view.phone_tx))),
    );
    if (!pair) return place.append(make("p", "quiet", "No connection yet."));
    place.append(
      make("h3", "", `The connection ${pair.host_port} → ${pair.phone_port}, ${pair.service}`),
      make("div", "sides",
        side("host", "connection", pair.host, CONNECTION),
        side("phone", "connection", pair.phone, CONNECTION)),
    );
  };

  usbmux.states = { show };
})();

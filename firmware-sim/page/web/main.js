// The page: which start is shown, how far it has come, what is looked at. Everything else is told by
// the engine.
"use strict";

(() => {
  const { at, make, ask } = usbmux;

  /** What is shown: a lab or a scene, its rows, and the row that is looked at. */
  const now = { kind: "lab", start: null, setup: null, rows: [], hidden: [], chosen: -1, done: new Set(), state: null, timer: 0 };

  const isShown = (row) => row.kind !== "text" && row.kind !== "act";

  // ---- looking

  /** The connection that a row is about, or else the one that actions are about, or the newest. */
  const pairOf = (row) => {
    if (!row || !row.view) return null;
    const pairs = row.view.connections;
    const ports = row.frame && row.frame.fields.filter((field) => field.kind === "port");
    if (ports && ports.length === 2) {
      const [source, dest] = ports.map((field) => Number(field.value.replace("port ", "")));
      const [host, phone] = row.from === "phone" ? [dest, source] : [source, dest];
      const own = pairs.findLast((pair) => pair.host_port === host && pair.phone_port === phone);
      if (own) return own;
    }
    const chosen = now.state && now.state.chosen;
    const mine = chosen && pairs.findLast((pair) => pair.host_port === chosen[0] && pair.phone_port === chosen[1]);
    return mine || pairs.at(-1) || null;
  };

  /** The rows of the act that a row belongs to, and its place among them. */
  const actOf = (index) => {
    let first = index;
    while (first > 0 && now.rows[first - 1].kind !== "act") first -= 1;
    let end = index + 1;
    while (end < now.rows.length && now.rows[end].kind !== "act") end += 1;
    return { rows: now.rows.slice(first, end).filter(isShown), place: now.rows.slice(first, index).filter(isShown).length };
  };

  /** What is said of a row; of news in a laboratory, first what the message says that brought it. */
  const saidOf = (index) => {
    const row = now.rows[index];
    const said = [row.sentence || row.label];
    if (now.kind === "lab" && row.kind === "note" && row.from !== "you") {
      let place = index - 1;
      while (place >= 0 && now.rows[place].at === row.at && now.rows[place].kind === "note" && now.rows[place].from !== "you") place -= 1;
      const cause = now.rows[place];
      if (cause && cause.at === row.at && cause.kind === "message") said.unshift(cause.sentence);
    }
    return said.join("\n");
  };

  const look = (index, focus) => {
    const row = now.rows[index];
    if (!row) return;
    now.chosen = index;
    usbmux.ladder.choose(index, focus);
    const pair = pairOf(row);
    const act = actOf(index);
    at("see").textContent = saidOf(index);
    usbmux.bytes.show(row);
    usbmux.states.show(row.view, pair);
    usbmux.credit.show(act.rows, act.place, pair);
    if (now.kind !== "lab") at("clock").textContent = `${row.at.toFixed(2)} ms`;
  };

  const nothing = (sentence) => {
    at("see").textContent = sentence;
    usbmux.bytes.show(null);
    usbmux.states.show(null, null);
    usbmux.credit.show([], 0, null);
  };

  // ---- rows

  const reveal = (row) => {
    now.rows.push(row);
    usbmux.ladder.add(row, now.rows.length - 1);
    if (now.kind === "scene" && row.kind === "act") onwardFrom(row);
    tick(row);
  };

  const lastShown = () => now.rows.findLastIndex(isShown);

  /** Marks the tasks that a row fulfils: each only after those before it. */
  const tick = (row) => {
    if (now.kind !== "lab") return;
    const tasks = now.start.tasks;
    const next = tasks.findIndex((_, place) => !now.done.has(place));
    const task = tasks[next];
    if (!task || task.from !== row.from || !(task.shows.test(row.label) || task.shows.test(row.sentence))) return;
    now.done.add(next);
    const item = at("tasks").children[next];
    item.classList.add("done");
    item.append(make("span", "visually-hidden", " (done)"));
  };

  const hear = (answer) => {
    for (const row of answer.rows) reveal(row);
    now.state = answer.state;
    const last = lastShown();
    if (answer.rows.length || now.chosen < 0) {
      if (last >= 0) look(last, false);
    } else if (now.chosen >= 0) {
      look(now.chosen, false);
    }
    const row = now.rows[last];
    usbmux.lab.show(answer.state, row && row.view);
    return answer.rows.length > 0;
  };

  // ---- time

  const pause = () => {
    clearInterval(now.timer);
    now.timer = 0;
    at("run").setAttribute("aria-pressed", "false");
    at("run").lastChild.textContent = " Run";
  };

  /** One row more; `false` if there is none. */
  const step = () => {
    if (now.kind === "lab") {
      if (hear(ask({ step: 1 }))) return true;
      at("see").textContent = "Nothing more happens by itself. Do something: the buttons are yours.";
      return false;
    }
    if (now.kind === "trace") {
      const next = usbmux.ladder.neighbour(now.chosen, 1);
      if (next === now.chosen) return false;
      look(next, false);
      return true;
    }
    while (now.hidden.length) {
      const row = now.hidden.shift();
      reveal(row);
      if (isShown(row)) {
        look(now.rows.length - 1, false);
        // What belongs to the row before: a kernel's words stand below their arrow.
        return true;
      }
    }
    at("ladder").scrollTop = at("ladder").scrollHeight;
    return false;
  };

  const speed = () => Number(at("speed").value);

  const run = () => {
    if (now.timer) return pause();
    at("run").setAttribute("aria-pressed", "true");
    at("run").lastChild.textContent = " Pause";
    now.timer = setInterval(() => {
      if (!step()) pause();
    }, 1000 / speed());
    if (!step()) pause();
  };

  const all = () => {
    pause();
    if (now.kind === "lab") {
      hear(ask({ step: 200 }));
      return;
    }
    while (now.hidden.length) reveal(now.hidden.shift());
    const last = lastShown();
    if (last >= 0) look(last, false);
    at("ladder").scrollTop = at("ladder").scrollHeight;
  };

  // ---- starts

  const guarded = (work) => (...values) => {
    try {
      return work(...values);
    } catch (error) {
      pause();
      at("failure").hidden = false;
      at("failure").textContent = `The engine has stopped: ${error.message}. Load the page again.`;
      return undefined;
    }
  };

  const onwardFrom = (act) => {
    const place = Number.parseInt(act.label, 10) - 1;
    const lab = usbmux.labs.find((one) => one.id === now.start.labs[place]);
    if (!lab) return;
    const link = make("a", "", `try it yourself: ${lab.title}`);
    link.href = `#lab-${lab.id}`;
    at("onward").replaceChildren(`You are in act ${act.label.split(":")[0]}. Or `, link, ".");
  };

  /** Goes on, or back, to the first arrow of an act. */
  const jump = (label) => {
    pause();
    const at = () => now.rows.findIndex((row) => row.kind === "act" && row.label === label);
    while (at() < 0 && now.hidden.length) reveal(now.hidden.shift());
    const first = () => now.rows.findIndex((row, place) => place > at() && isShown(row));
    while (first() < 0 && now.hidden.length) reveal(now.hidden.shift());
    look(first(), true);
  };

  const actItem = (act) => {
    const button = make("button", "act-link", act.label.replace(/^\d+\. /, ""));
    button.type = "button";
    button.addEventListener("click", guarded(() => jump(act.label)));
    return make("li", "", button);
  };

  const dress = (kind, start) => {
    pause();
    Object.assign(now, { kind, start, rows: [], hidden: [], chosen: -1, done: new Set(), state: null });
    document.body.dataset.kind = kind;
    at("title").textContent = start.title;
    at("purpose").textContent = start.purpose;
    at("onward").replaceChildren();
    const tasks = kind === "lab" ? start.tasks : [];
    at("tasks").replaceChildren(...tasks.map((task) => make("li", "", task.text)));
    at("controls").hidden = kind !== "lab";
    for (const link of document.querySelectorAll("nav a")) {
      const here = link.getAttribute("href") === `#${kind}-${start.id}`;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };

  const showLab = (start, setup) => {
    dress("lab", start);
    now.setup = setup;
    usbmux.ladder.clear(false, (index) => look(index, true));
    nothing("");
    usbmux.lab.begin(start, setup);
    const scene = usbmux.scenes.find((one) => one.id === start.scene);
    if (!scene) return;
    const link = make("a", "", `watch the scene: ${scene.title}`);
    link.href = `#scene-${scene.id}`;
    at("onward").replaceChildren("Or ", link, ".");
  };

  const showRows = (kind, start, rows) => {
    dress(kind, start);
    now.hidden = rows;
    usbmux.ladder.clear(rows.some((row) => row.from === "pc"), (index) => look(index, true));
    if (kind === "scene") at("tasks").replaceChildren(...rows.filter((row) => row.kind === "act").map(actItem));
    nothing("Press Step: the scene goes on row by row. “To the end” shows all of it.");
    // What stands in front of the first arrow.
    while (now.hidden.length && !isShown(now.hidden[0])) reveal(now.hidden.shift());
  };

  const showScene = (start) => showRows("scene", start, ask({ scene: start.id }).rows);

  /** Shows a trace file, all of it at once, or why it cannot be shown. */
  const showTrace = (name, answer, complaint) => {
    const words = answer ? answer.words.join("\n") : complaint;
    showRows("trace", { id: "", title: `The trace ${name}`, purpose: words, labs: [] }, answer ? answer.rows : []);
    all();
    const first = now.rows.findIndex(isShown);
    if (first >= 0) look(first, false);
    else nothing(words);
  };

  const startOver = () => {
    if (now.kind === "lab") showLab(now.start, now.setup);
    else if (now.kind === "scene") showScene(now.start);
    else look(now.rows.findIndex(isShown), false);
  };

  const route = () => {
    const [kind, id] = location.hash.slice(1).split("-");
    const scene = kind === "scene" && usbmux.scenes.find((one) => one.id === id);
    if (scene) return showScene(scene);
    const lab = usbmux.labs.find((one) => kind === "lab" && one.id === id) || usbmux.labs[0];
    return showLab(lab, lab.setup);
  };

  // ---- keys

  const KEYS = { n: "step", p: "run", a: "all", r: "again", s: "send", t: "ask" };
  const MOVES = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity };

  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    const inLadder = at("ladder").contains(target);
    if (inLadder && event.key in MOVES) {
      event.preventDefault();
      look(usbmux.ladder.neighbour(now.chosen, MOVES[event.key]), true);
      return;
    }
    if (target instanceof HTMLInputElement && target.type === "number") return;
    if (target instanceof HTMLSelectElement) return;
    const button = KEYS[event.key] && at(KEYS[event.key]);
    if (button && button.offsetParent !== null) button.click();
  };

  const links = (list, kind, starts) => {
    list.replaceChildren(...starts.map((start) => {
      const link = make("a", "", start.title);
      link.href = `#${kind}-${start.id}`;
      // The address does not change where it stands there already.
      link.addEventListener("click", () => { if (location.hash === link.hash) guarded(route)(); });
      return make("li", "", link);
    }));
  };

  usbmux.start = async (engine) => {
    try {
      await usbmux.load(engine);
    } catch (error) {
      at("failure").hidden = false;
      at("failure").textContent = `This browser does not run the engine: ${error.message}`;
      return;
    }
    links(at("labs"), "lab", usbmux.labs);
    links(at("scenes"), "scene", usbmux.scenes);
    usbmux.lab.wire(guarded(hear));
    usbmux.trace.wire(guarded(showTrace));
    at("step").addEventListener("click", guarded(() => { pause(); step(); }));
    at("run").addEventListener("click", guarded(run));
    at("all").addEventListener("click", guarded(all));
    at("again").addEventListener("click", guarded(startOver));
    at("set").addEventListener("click", guarded(() => showLab(now.start, usbmux.lab.settings())));
    at("speed").addEventListener("input", () => {
      at("speed").setAttribute("aria-valuetext", `${speed()} steps a second`);
      if (now.timer) { pause(); run(); }
    });
    document.addEventListener("keydown", guarded(onKey));
    window.addEventListener("hashchange", guarded(route));
    guarded(route)();
    document.body.dataset.ready = "true";
  };
})();

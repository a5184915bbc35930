// Where one may begin: laboratories with things to try, and scenes. Words only.
"use strict";

(() => {
  const USUAL = { explicit_zlp: false, window: 4096, credit: true, max_frame: 4096, high_speed: false, quirk: "" };

  /**
   * `scene` shows the same with a dongle and a PC. `begin` happens at once, `count` stands in the field for bytes. A task is done when a row `from`
   * somebody has a label or a sentence that `shows`.
   */
  usbmux.labs = [
    {
      id: "contact",
      title: "First contact",
      purpose: "A phone is plugged in. Before anybody may say anything, both agree on a version; then a program opens a connection, says something, and ends it.",
      setup: USUAL,
      begin: ["plug_in"],
      count: 5,
      tasks: [
        { text: "Press Step (or the key n) until the phone has answered VERSION.", from: "phone", shows: /^VERSION/ },
        { text: "Send 5 bytes to the phone. A connection is opened first: three frames, as in TCP.", from: "host", shows: /data 5 B/ },
        { text: "Step on: the phone’s echo sends them back.", from: "phone", shows: /data 5 B/ },
        { text: "Close, and step. Look for a FIN: there is none. What is the end?", from: "host", shows: /RST win/ },
        { text: "Connect to port 22, where nobody listens.", from: "phone", shows: /refuses/ },
      ],
    },
    {
      id: "window",
      scene: "window",
      title: "The window",
      purpose: "The host has room for 4096 bytes for each connection. It says so in every frame, and the phone heeds it, if it is a good phone.",
      setup: USUAL,
      begin: ["plug_in", { step: 6 }],
      count: 1000,
      tasks: [
        { text: "Take 1000 bytes from the phone and press “To the end”: the phone has sent more than that. Where is the rest?", from: "phone", shows: /data \d+ B/ },
        { text: "Watch the window close: nobody reads, until it says 0.", from: "host", shows: /ACK win 0/ },
        { text: "Read again, for a few steps: the window opens at once as far as there is room (from 0 to 16, of 256 bytes each), and bytes come.", from: "you", shows: /reads again/ },
        { text: "Stop reading again, and step on until the window is closed.", from: "you", shows: /stops reading/ },
        { text: "Let the phone overrun the window, and take 300 bytes more. What becomes of the connection?", from: "host", shows: /more than its window/ },
        { text: "And of the session? Connect to the echo, send 10 bytes, and press “To the end”: the phone first sends what stands in its queue already.", from: "phone", shows: /data 10 B/ },
      ],
    },
    {
      id: "zlp",
      scene: "zlp",
      title: "The empty packet",
      purpose: "28 bytes of payload make a frame of 64: exactly one USB packet. This host sends such frames as they are, with an empty packet (ZLP) behind them.",
      setup: { ...USUAL, explicit_zlp: true },
      begin: ["plug_in", { step: 6 }, { open: 7 }, { step: 6 }],
      count: 28,
      tasks: [
        { text: "Send 28 bytes: the frame fills its packet, and a ZLP follows.", from: "host", shows: /64 \+ ZLP/ },
        { text: "Lose the next ZLP, and send 28 bytes again. The phone still waits for the message’s end.", from: "hand", shows: /is lost/ },
        { text: "Send 10 bytes: two frames stick together.", from: "host", shows: /stuck together/ },
        { text: "Step on: for the phone, the host’s next frame is one too far. What does it say?", from: "phone", shows: /duplicate packet/ },
        { text: "Step on: the session is dead. See how this engine mends it.", from: "host", shows: /link is up/ },
      ],
    },
    {
      id: "trimmed",
      scene: "zlp",
      title: "Never a ZLP",
      purpose: "The same 28 bytes, but this host makes its frames so that no empty packet is ever needed. That is the engine’s default: what is never sent cannot be lost.",
      setup: USUAL,
      begin: ["plug_in", { step: 6 }, { open: 7 }, { step: 6 }],
      count: 28,
      tasks: [
        { text: "Send 28 bytes. How long is the frame, and where is the last byte?", from: "host", shows: /data 27 B/ },
        { text: "Step on: the byte that was left over goes with the next frame.", from: "host", shows: /data 1 B/ },
      ],
    },
    {
      id: "dead",
      title: "A session dies",
      purpose: "Every frame has a number, and a phone takes only the very next one. Lose a single frame, and nothing works any more, on all connections at once.",
      setup: USUAL,
      begin: ["plug_in", { step: 6 }, { open: 7 }, { step: 6 }],
      count: 10,
      tasks: [
        { text: "Lose the host’s next frame, and send 10 bytes: the frame is numbered, and gone.", from: "host", shows: /never arrives/ },
        { text: "Send 10 bytes more. The phone complains of a duplicate packet: that is its word for a wrong number.", from: "phone", shows: /duplicate packet/ },
        { text: "Step on: all connections end, VERSION is said again, and the device was never unplugged.", from: "host", shows: /link is up/ },
        { text: "Connect again: everything works.", from: "host", shows: /connection to port 7 is open/ },
      ],
    },
    {
      id: "bits",
      title: "A bit turns over",
      purpose: "USB checks its packets, but memory and drivers do not. The protocol has no checksum of its own: what happens to a wrong bit depends on where it is.",
      setup: USUAL,
      begin: ["plug_in", { step: 6 }, { open: 7 }, { step: 6 }],
      count: 20,
      tasks: [
        { text: "Flip a bit in the payload of the host’s next data, and send 20 bytes. The echo brings the error back; nobody noticed.", from: "host", shows: /bit of the field payload/ },
        { text: "Flip a bit in seq of the host’s next data, and send: for the phone bytes are missing, and that connection ends.", from: "phone", shows: /ends this connection/ },
        { text: "Connect again. Flip a bit in flags, and send (what opens the connection is spared): a phone takes only a lone ACK.", from: "phone", shows: /th_flags/ },
        { text: "Connect again. Flip a bit in tx_seq, and send: this time everything ends.", from: "phone", shows: /duplicate packet/ },
      ],
    },
    {
      id: "cap",
      scene: "cap",
      title: "The longest frame",
      purpose: "A frame has at most 65535 bytes. This host could send one, with 65499 bytes of payload; over USB it goes in 1024 packets.",
      setup: { ...USUAL, explicit_zlp: true, window: 65536, max_frame: 65535 },
      begin: ["plug_in", { step: 6 }, { open: 7 }, { step: 6 }],
      count: 65499,
      tasks: [
        { text: "Send 65499 bytes: one frame of 65535.", from: "host", shows: /data 65499 B/ },
        { text: "Step on: the echo comes back just as long.", from: "phone", shows: /data 65499 B/ },
        { text: "Flip a bit in length of the host’s next data, and send 65499 bytes: the field says one byte less now. What is dropped?", from: "host", shows: /bit of the field length/ },
      ],
    },
    {
      id: "cable",
      title: "Pull the cable",
      purpose: "Connections do not survive the cable, and a phone that is silent is asked three times.",
      setup: { ...USUAL, quirk: "silent-version=2" },
      begin: ["plug_in"],
      count: 100,
      tasks: [
        { text: "Step: this phone does not hear the first two VERSIONs (quirk silent-version=2). The host asks again after 2.5 seconds.", from: "phone", shows: /^VERSION/ },
        { text: "Connect to the echo, unplug, and see what the program learns.", from: "host", shows: /cable is out/ },
        { text: "Plug the phone in again.", from: "you", shows: /plug the phone in/ },
      ],
    },
  ];

  /** `labs` names the laboratory that goes on from each act. */
  usbmux.scenes = [
    { id: "zlp", title: "Empty packets", purpose: "The scene of “usbmux-sim show zlp”: a program on a PC, the dongle with the engine in it, and a phone.", labs: ["zlp", "trimmed", "zlp", "zlp"] },
    { id: "window", title: "The window", purpose: "The scene of “usbmux-sim show window”: a program that does not read, then a phone that does not heed the window.", labs: ["window", "window"] },
    { id: "cap", title: "The cap", purpose: "The scene of “usbmux-sim show cap”: the longest frame there is, and one byte more.", labs: ["cap", "cap", "cap"] },
  ];

  usbmux.quirks = ["lenient-seq", "stale-session", "trailing-bytes", "v1", "tiny-window", "overrun", "silent-version=2", "silent-version", "silent-connect", "slow", "rst-text"];
})();

"""A capture of Linux's usbmon, as dumpcap writes it, of a phone whose host loses a frame."""

import struct

OUT, IN = 0x04, 0x85
VERSION = struct.pack(">IIIII", 0, 20, 2, 0, 0)


def numbered(protocol, tx, rx, body, magic=0xFEEDFACE):
    return struct.pack(">IIIHH", protocol, 16 + len(body), magic, tx, rx) + body


def segment(tx, rx, ports, seq, ack, flags, window, payload=b"", magic=0xFEEDFACE):
    header = struct.pack(">HHIIBBHHH", *ports, seq, ack, 0x50, flags, window, 0, 0)
    return numbered(6, tx, rx, header + payload, magic)


def phone(tx, rx, seq, ack, flags, payload=b""):
    return segment(tx, rx, (7, 1), seq, ack, flags, 512, payload, 0xFACEFACE)


def exchange():
    """Who sends what: number 3 of the host's is never seen, and the session dies of number 4."""
    ports = (1, 7)
    complaint = b"\x04detected duplicate packet. Expected 3 received 4"
    return [
        (OUT, VERSION),
        (IN, VERSION),
        (OUT, numbered(2, 0, 0xFFFF, b"\x07")),
        (OUT, segment(1, 0xFFFF, ports, 0, 0, 0x02, 512)),
        (IN, phone(0, 1, 0, 1, 0x12)),
        (OUT, segment(2, 0, ports, 1, 1, 0x10, 512)),
        (OUT, segment(4, 0, ports, 21, 1, 0x10, 512, b"twenty bytes further")),
        (IN, numbered(1, 1, 2, complaint, 0xFACEFACE)),
    ]


def write(path):
    """Writes the capture; how many frames are in it."""
    packets = []
    for number, (endpoint, data) in enumerate(exchange(), start=1):
        asked = data if endpoint == OUT else b""
        answered = data if endpoint == IN else b""
        for kind, status, payload in [(b"S", -115, asked), (b"C", 0, answered)]:
            length = len(payload) if kind == b"C" and endpoint == IN else len(data) if endpoint == OUT else 65536
            head = struct.pack(
                "<QcBBBHBBqiiII8sIIII", number, kind, 3, endpoint, 7, 1, ord("-"), 0 if payload else ord("<"),
                1000, 100 * number + (kind == b"C"), status, length, len(payload), bytes(8), 0, 0, 0, 0,
            )
            packets.append(head + payload)
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 220))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", 1000, 50 * number, len(packet), len(packet)) + packet)
    return len(exchange())

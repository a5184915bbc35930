//! The same for programs.

use super::{Cursor, Place, Status, address, head, row};
use crate::text::Window;

/// Writes one row of `status.json`.
pub(super) fn put(at: Cursor, status: &Status<'_>, out: &mut Window<'_>) -> Place {
    let first = at.row == 0;
    match at.section {
        0 if first => head(out, "200 OK", "application/json"),
        1 if first => summary(status, out),
        2 if first => phone(status, out),
        3 if first => {
            out.text("\"connections_max\": ");
            out.number(status.connections_max);
            out.text(",\n\"connections\": [");
        }
        4 => match row(status.connections, at) {
            Some(connection) => {
                separate(at, out);
                out.text("{\"peer\": \"");
                address(out, connection.peer);
                out.text("\", \"peer_port\": ");
                out.number(connection.peer_port);
                out.text(", \"what\": ");
                out.quoted(connection.what);
                out.text(", \"phone_port\": ");
                out.number(connection.phone_port);
                out.text(", \"from_phone\": ");
                out.number(connection.from_phone);
                out.text(", \"to_phone\": ");
                out.number(connection.to_phone);
                out.text("}");
            }
            None => return Place::SectionEnd,
        },
        5 if first => out.text("],\n\"counters\": {"),
        6 => match row(status.counters, at) {
            Some(&counter) => member(at, out, counter),
            None => return Place::SectionEnd,
        },
        7 if first => out.text("},\n\"memory\": {"),
        8 => match row(status.memory, at) {
            Some(&memory) => member(at, out, memory),
            None => return Place::SectionEnd,
        },
        9 if first => out.text("}}\n"),
        ..=9 => return Place::SectionEnd,
        _ => return Place::End,
    }
    Place::Row
}

fn summary(status: &Status<'_>, out: &mut Window<'_>) {
    out.text("{\"link\": ");
    out.quoted(status.link);
    out.text(",\n\"address\": \"");
    address(out, status.address);
    out.text("\",\n\"address_source\": ");
    out.quoted(status.address_source);
    out.text(",\n\"uptime_s\": ");
    out.number(status.uptime_s);
    out.text(",\n");
}

fn phone(status: &Status<'_>, out: &mut Window<'_>) {
    let Some(phone) = status.phone else {
        out.text("\"phone\": null,\n");
        return;
    };
    out.text("\"phone\": {\"serial\": ");
    out.quoted(&phone.serial);
    out.text(", \"device_id\": ");
    out.number(phone.device_id);
    out.text(", \"product_id\": ");
    out.number(phone.product_id);
    out.text(", \"location_id\": ");
    out.number(phone.location_id);
    out.text(", \"speed\": ");
    out.number(phone.speed);
    out.text("},\n");
}

fn member(at: Cursor, out: &mut Window<'_>, (name, number): (&str, u32)) {
    separate(at, out);
    out.quoted(name);
    out.text(": ");
    out.number(number);
}

fn separate(at: Cursor, out: &mut Window<'_>) {
    if at.row > 0 {
        out.text(",\n");
    }
}

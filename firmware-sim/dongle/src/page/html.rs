//! The page for people: readable on a phone, in light and dark, without scripts.

use super::{Cursor, Place, Status, address, head, row};
use crate::text::Window;

const STYLE: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <title>usbmux dongle</title>\n<style>\n\
    :root { color-scheme: light dark; font: 100%/1.5 system-ui, sans-serif }\n\
    body { max-width: 44rem; margin: 0 auto; padding: 1rem }\n\
    h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 1.5rem 0 .25rem }\n\
    div { overflow-x: auto }\n\
    table { border-collapse: collapse; width: 100% }\n\
    th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8886 }\n\
    th { font-weight: 600 } td { overflow-wrap: anywhere }\n\
    .n { text-align: right; font-variant-numeric: tabular-nums } td.n { white-space: nowrap }\n\
    </style>\n</head>\n<body>\n<h1>usbmux dongle</h1>\n";

/// Writes one row of the page.
pub(super) fn put(at: Cursor, status: &Status<'_>, out: &mut Window<'_>) -> Place {
    let first = at.row == 0;
    match at.section {
        0 if first => head(out, "200 OK", "text/html; charset=utf-8"),
        1 if first => out.text(STYLE),
        2 if first => summary(status, out),
        3 if first => phone(status, out),
        4 if first => connections(status, out),
        5 => match row(status.connections, at) {
            Some(connection) => {
                out.text("<tr><td>");
                address(out, connection.peer);
                out.text(":");
                out.number(connection.peer_port);
                out.text("<td>");
                out.escaped(connection.what);
                out.text("<td class=\"n\">");
                if connection.phone_port > 0 {
                    out.number(connection.phone_port);
                }
                out.text("<td class=\"n\">");
                out.number(connection.from_phone);
                out.text("<td class=\"n\">");
                out.number(connection.to_phone);
                out.text("\n");
            }
            None => return Place::SectionEnd,
        },
        6 if first => list(out, "Counters", "Count"),
        7 => match row(status.counters, at) {
            Some(&counter) => count(out, counter),
            None => return Place::SectionEnd,
        },
        8 if first => list(out, "RAM", "Bytes"),
        9 => match row(status.memory, at) {
            Some(&memory) => count(out, memory),
            None => return Place::SectionEnd,
        },
        10 if first => out.text(
            "</table></div>\n<p><a href=\"/\">Refresh</a> · <a href=\"/status.json\">status.json</a></p>\n\
             </body>\n</html>\n",
        ),
        ..=10 => return Place::SectionEnd,
        _ => return Place::End,
    }
    Place::Row
}

fn summary(status: &Status<'_>, out: &mut Window<'_>) {
    out.text("<div><table>\n<tr><th>Link<td>");
    out.escaped(status.link);
    out.text("\n<tr><th>Address<td>");
    address(out, status.address);
    out.text(" (");
    out.escaped(status.address_source);
    out.text(")\n<tr><th>Running for<td>");
    let (minutes, seconds) = (status.uptime_s / 60, status.uptime_s % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    out.number(hours);
    out.text(" h ");
    out.number(minutes);
    out.text(" min ");
    out.number(seconds);
    out.text(" s\n</table></div>\n");
}

fn phone(status: &Status<'_>, out: &mut Window<'_>) {
    out.text("<h2>Phone</h2>\n");
    let Some(phone) = status.phone else {
        out.text("<p>None is plugged in.</p>\n");
        return;
    };
    out.text("<div><table>\n<tr><th>UDID<td>");
    out.escaped(&phone.serial);
    out.text("\n<tr><th>Product<td>0x");
    out.hex(phone.product_id);
    out.text("\n<tr><th>DeviceID<td>");
    out.number(phone.device_id);
    out.text("\n<tr><th>Cable<td>");
    out.number(phone.speed / 1_000_000);
    out.text(" Mbit/s\n</table></div>\n");
}

fn connections(status: &Status<'_>, out: &mut Window<'_>) {
    out.text("<h2>Connections: ");
    out.number(u64::try_from(status.connections.len()).unwrap_or(u64::MAX));
    out.text(" of ");
    out.number(status.connections_max);
    out.text(
        "</h2>\n<div><table>\n<tr><th>Client<th>What<th class=\"n\">Port<th class=\"n\">From phone\
         <th class=\"n\">To phone\n",
    );
}

/// Ends the table before, and begins one of names and numbers.
fn list(out: &mut Window<'_>, title: &str, unit: &str) {
    out.text("</table></div>\n<h2>");
    out.text(title);
    out.text("</h2>\n<div><table>\n<tr><th>Name<th class=\"n\">");
    out.text(unit);
    out.text("\n");
}

fn count(out: &mut Window<'_>, (name, number): (&str, u32)) {
    out.text("<tr><td>");
    out.escaped(name);
    out.text("<td class=\"n\">");
    out.number(number);
    out.text("\n");
}

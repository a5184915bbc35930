//! The socket protocol's types, with which a dongle serves clients on its Ethernet.

use crate::{any, sink};
use usbmux_core::session::{
    Device, Fields, HEADER_LEN, Header, MessageKind, Request, ResultCode, Session, is_record_id,
    records, request, swap_port,
};

/// Every call: a message of any bytes in either form, its answers, the events.
pub fn all() {
    let header = Header::parse(&any([0; HEADER_LEN]));
    sink(header.body_len());
    let mut session = Session::new();
    sink(any(&mut session).receive(&header));
    let body = any([0; 64]);
    let asked = Request::from_binary(header.message, any(body.as_slice()));
    for request in [asked, fields(core::str::from_utf8(any(body.as_slice())).ok()).request()] {
        sink(request);
        any(&mut session).begin(any(&request));
        any(&mut session).connected(any(ResultCode::OK));
        sink(session.envelope(&header));
        sink((session.state(), session.form()));
        if let Request::Invalid(fault) = any(request) {
            sink(fault.code());
        }
    }
    answers();
}

fn fields(text: Option<&str>) -> Fields<'_> {
    Fields {
        message_type: any(text),
        device_id: any(None),
        port_number: any(None),
        pair_record_id: any(text),
        pair_record_data: any(None),
        prog_name: any(text),
        bundle_id: any(text),
        lib_version: any(None),
    }
}

fn answers() {
    let device = Device {
        device_id: any(1),
        serial: any("00008030"),
        product_id: any(0x12a8),
        location: any(1),
        speed: any(480_000_000),
    };
    sink(records::device_add(&any(device).record()));
    sink(records::device_remove(any(1)));
    sink(records::device_paired(any(1)));
    sink(records::result(any(0), any(ResultCode::OK)));
    sink(records::Connect::parse(&any([0; records::CONNECT_LEN])).emit());
    sink(records::DeviceAdd::parse(&any([0; records::DEVICE_ADD_LEN])).emit());
    sink(records::parse_result(&any([0; records::RESULT_LEN])));
    sink(records::parse_device(&any([0; records::DEVICE_LEN])));
    sink(Header::new(any(1), any(MessageKind::Plist), any(0), any(0)).emit());
    sink(swap_port(any(0)));
    sink(is_record_id(any("")));
    sink(request::MAX_RECORD_ID);
}

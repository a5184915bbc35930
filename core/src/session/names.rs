//! The words of plist messages, spelled as on the wire; for servers and clients alike.

/// Values of [`MESSAGE_TYPE`](key::MESSAGE_TYPE).
pub mod message {
    /// Asks for a connection to a port of a phone.
    pub const CONNECT: &str = "Connect";
    /// Asks to forget a pair record.
    pub const DELETE_PAIR_RECORD: &str = "DeletePairRecord";
    /// Asks for the phones that are here now.
    pub const LIST_DEVICES: &str = "ListDevices";
    /// Asks who is listening for events.
    pub const LIST_LISTENERS: &str = "ListListeners";
    /// Asks for events from now on.
    pub const LISTEN: &str = "Listen";
    /// Asks for the identity of this system.
    pub const READ_BUID: &str = "ReadBUID";
    /// Asks why a connection ended, by the token of its Connect. Only umuxd knows it.
    pub const READ_END_REASON: &str = "ReadEndReason";
    /// Asks for a pair record.
    pub const READ_PAIR_RECORD: &str = "ReadPairRecord";
    /// Asks to keep a pair record.
    pub const SAVE_PAIR_RECORD: &str = "SavePairRecord";

    /// Answers with a number.
    pub const RESULT: &str = "Result";
    /// Tells of a phone that is here.
    pub const ATTACHED: &str = "Attached";
    /// Tells of a phone that went.
    pub const DETACHED: &str = "Detached";
    /// Tells of a phone whose pair record was saved.
    pub const PAIRED: &str = "Paired";
}

/// Keys of the dictionaries.
pub mod key {
    /// What the message is; see [`message`](super::message).
    pub const MESSAGE_TYPE: &str = "MessageType";
    /// The number of a Result.
    pub const NUMBER: &str = "Number";

    /// The daemon's number for a phone, above 0, never used twice.
    pub const DEVICE_ID: &str = "DeviceID";
    /// A port of the phone **with its two bytes swapped**.
    pub const PORT_NUMBER: &str = "PortNumber";
    /// The UDID a pair record is kept under.
    pub const PAIR_RECORD_ID: &str = "PairRecordID";
    /// A pair record: a property list inside the property list, as data.
    pub const PAIR_RECORD_DATA: &str = "PairRecordData";

    /// A word of the client's own choice in its Connect, by which it asks for the end's reason.
    pub const END_TOKEN: &str = "EndToken";
    /// Why a connection ended.
    pub const END_REASON: &str = "EndReason";

    /// The client's program.
    pub const PROG_NAME: &str = "ProgName";
    /// The client's bundle, which few give.
    pub const BUNDLE_ID: &str = "BundleID";
    /// The client's library.
    pub const CLIENT_VERSION_STRING: &str = "ClientVersionString";
    /// The version of the protocol in the client's library, 3 today.
    pub const LIB_USBMUX_VERSION: &str = "kLibUSBMuxVersion";

    /// The identity of this system.
    pub const BUID: &str = "BUID";
    /// The same in the file `SystemConfiguration.plist`.
    pub const SYSTEM_BUID: &str = "SystemBUID";
    /// Answers ListDevices.
    pub const DEVICE_LIST: &str = "DeviceList";
    /// What is known about a phone.
    pub const PROPERTIES: &str = "Properties";
    /// Bit/s of the cable.
    pub const CONNECTION_SPEED: &str = "ConnectionSpeed";
    /// Always [`USB`](super::USB) here.
    pub const CONNECTION_TYPE: &str = "ConnectionType";
    /// Bus number × 65536 + address.
    pub const LOCATION_ID: &str = "LocationID";
    /// The product id of the USB device.
    pub const PRODUCT_ID: &str = "ProductID";
    /// The UDID.
    pub const SERIAL_NUMBER: &str = "SerialNumber";

    /// Answers ListListeners.
    pub const LISTENER_LIST: &str = "ListenerList";
    /// Always false.
    pub const BLACKLISTED: &str = "Blacklisted";
    /// Always 0.
    pub const CONN_TYPE: &str = "ConnType";
    /// Number and program name of a listener, joined by a hyphen.
    pub const ID_STRING: &str = "ID String";
}

/// The value of [`CONNECTION_TYPE`](key::CONNECTION_TYPE).
pub const USB: &str = "USB";

/// The program name of a listener that gave none.
pub const UNKNOWN_PROGRAM: &str = "unknown";

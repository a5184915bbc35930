//! From a device in the system's list to a pipe: open it, see to its configuration, take the mux
//! interface. And what to do when that fails.
//!
//! Leaves out: which configuration that is (`choose`), and when to open what (`hotplug`).

use std::error::Error;
use std::fmt;
use std::time::Duration;

use nusb::descriptors::language_id::US_ENGLISH;
use nusb::{Device, DeviceInfo, ErrorKind, MaybeFuture, Speed};

use super::PhoneInfo;
use super::choose::{self, MuxInterface};
use super::mode::{self, Mode};
use super::pipe::NusbPipe;

/// How long a phone may take to tell its serial number.
const PATIENCE: Duration = Duration::from_secs(1);

/// A phone that was opened: what it is, and the pipe to it.
pub struct Opened {
    /// What USB says of it.
    pub info: PhoneInfo,
    /// Its mux interface's endpoints.
    pub pipe: NusbPipe,
}

/// Why a phone could not be opened; displays as what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The system does not let this user use the device.
    Permission,
    /// Another program uses the phone.
    Busy,
    /// The device is not there any more.
    Gone,
    /// None of its configurations has the mux interface.
    NoMux {
        /// The mode it is in, if it tells.
        mode: Option<Mode>,
    },
    /// It tells no serial number, by which clients would know it.
    NoSerial,
    /// The system failed.
    Failed {
        /// What was being done.
        step: &'static str,
        /// What the system says.
        error: nusb::Error,
    },
}

impl OpenError {
    fn at(step: &'static str) -> impl Fn(nusb::Error) -> Self {
        move |error| match error.kind() {
            ErrorKind::PermissionDenied => Self::Permission,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Disconnected => Self::Gone,
            _ => Self::Failed { step, error },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission => f.write_str(
                "permission denied: run as root, or let a udev rule give this user the device: \
                 SUBSYSTEM==\"usb\", ATTR{idVendor}==\"05ac\", GROUP=\"plugdev\", MODE=\"0660\"",
            ),
            Self::Busy => f.write_str(
                "another program uses it: stop the other usbmuxd (systemctl stop usbmuxd), or the \
                 program that reads its pictures",
            ),
            Self::Gone => f.write_str(
                "its device file is not there: it was just unplugged, or /dev/bus/usb is not part \
                 of this container",
            ),
            Self::NoMux { mode: Some(mode) } => {
                write!(f, "it has no mux interface ({mode}): replug it")
            }
            Self::NoMux { mode: None } => f.write_str("it has no mux interface: replug it"),
            Self::NoSerial => f.write_str("it does not tell its serial number: replug it"),
            Self::Failed { step, error } => write!(f, "cannot {step}: {error}"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Opens a phone. Its active configuration is left only if it has no mux interface, for one with a
/// value up to `highest` if there is one ([`choose::USUAL_HIGHEST`]). Kernel drivers are detached
/// where they are in the way, other programs never. Blocks, for seconds with a phone that is slow.
///
/// # Errors
/// As [`OpenError`] says. What was changed so far, the phone's configuration, stays so.
pub fn open(info: &DeviceInfo, highest: u8) -> Result<Opened, OpenError> {
    let device = info.open().wait().map_err(OpenError::at("open it"))?;
    let serial = serial(info, &device)?;
    let active = device.active_configuration().map_or(0, |active| active.configuration_value());
    let all = device.configurations().map(|configuration| configuration.as_bytes());
    // The mode explains why there is none; else a phone that another program serves is not asked.
    let no_mux = || OpenError::NoMux { mode: mode::mode(&device).ok() };
    let mux = choose::choose(all, active, highest).ok_or_else(no_mux)?;
    if mux.configuration != active {
        log::debug!("{serial}: from configuration {active} to {}", mux.configuration);
        set_configuration(info, &device, &mux)?;
    }
    let pipe = NusbPipe::new(device, mux).map_err(OpenError::at("take its mux interface"))?;
    Ok(Opened { info: describe(info, serial), pipe })
}

/// Tells who a phone is and leaves it as it is, whoever uses it. Only a phone whose serial number
/// the system does not know is opened for that, which blocks.
///
/// # Errors
/// As [`OpenError`] says.
pub(crate) fn identify(info: &DeviceInfo) -> Result<PhoneInfo, OpenError> {
    let serial = match known_serial(info) {
        Some(serial) => serial,
        None => serial(info, &info.open().wait().map_err(OpenError::at("open it"))?)?,
    };
    Ok(describe(info, serial))
}

fn describe(info: &DeviceInfo, serial: String) -> PhoneInfo {
    PhoneInfo {
        serial,
        product_id: info.product_id(),
        location_id: choose::location_id(bus(info), info.device_address()),
        speed: bits_per_second(info.speed()),
    }
}

/// Returns the UDID: from the system's memory, or else from the phone itself.
fn serial(info: &DeviceInfo, device: &Device) -> Result<String, OpenError> {
    let asked = || {
        let index = device.device_descriptor().serial_number_string_index()?;
        device.get_string_descriptor(index, US_ENGLISH, PATIENCE).wait().ok()
    };
    known_serial(info).or_else(|| choose::udid(&asked()?)).ok_or(OpenError::NoSerial)
}

fn known_serial(info: &DeviceInfo) -> Option<String> {
    info.serial_number().and_then(choose::udid)
}

/// Changes the active configuration; for that no interface of it may be bound to a driver.
fn set_configuration(
    info: &DeviceInfo,
    device: &Device,
    mux: &MuxInterface,
) -> Result<(), OpenError> {
    if let Ok(active) = device.active_configuration() {
        for interface in choose::interfaces(active.as_bytes()) {
            if is_used_by_program(info, active.configuration_value(), interface) {
                return Err(OpenError::Busy);
            }
            // Most have no driver, which is an error too; one that stays shows in the next step.
            if let Err(error) = device.detach_kernel_driver(interface) {
                log::debug!("interface {interface}: {error}");
            }
        }
    }
    device
        .set_configuration(mux.configuration)
        .wait()
        .map_err(OpenError::at("change its configuration"))
}

/// Whether a program has claimed an interface: to the kernel it is bound to the driver `usbfs`, and
/// detaching that would take the phone away from the program.
#[cfg(target_os = "linux")]
fn is_used_by_program(info: &DeviceInfo, configuration: u8, interface: u8) -> bool {
    let path = info.sysfs_path();
    let Some(device) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let driver = path.join(format!("{device}:{configuration}.{interface}/driver"));
    std::fs::read_link(driver).is_ok_and(|driver| driver.ends_with("usbfs"))
}

#[cfg(not(target_os = "linux"))]
fn is_used_by_program(_: &DeviceInfo, _: u8, _: u8) -> bool {
    false
}

/// Returns the number of the bus; 0 where the system gives buses other names.
fn bus(info: &DeviceInfo) -> u8 {
    info.bus_id().parse().unwrap_or(0)
}

/// Returns what ConnectionSpeed says (PROTOCOL §1). A speed that the system does not tell or that
/// is newer than this program counts as high speed, what phones have had for long.
fn bits_per_second(speed: Option<Speed>) -> u64 {
    match speed {
        Some(Speed::Low) => 1_500_000,
        Some(Speed::Full) => 12_000_000,
        Some(Speed::Super) => 5_000_000_000,
        Some(Speed::SuperPlus) => 10_000_000_000,
        _ => 480_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_bits_per_second() {
        let all = [Speed::Low, Speed::Full, Speed::High, Speed::Super, Speed::SuperPlus];
        let expected = [1_500_000, 12_000_000, 480_000_000, 5_000_000_000, 10_000_000_000];
        assert_eq!(all.map(|speed| bits_per_second(Some(speed))), expected);
        assert_eq!(bits_per_second(None), 480_000_000);
    }

    #[test]
    fn errors_are_one_line_that_says_what_to_do() {
        for (error, advice) in [
            (OpenError::Permission, "udev rule"),
            (OpenError::Busy, "stop the other usbmuxd"),
            (OpenError::Gone, "/dev/bus/usb"),
            (OpenError::NoMux { mode: Some(Mode::Extended) }, "(extended mode): replug it"),
            (OpenError::NoMux { mode: None }, "replug it"),
            (OpenError::NoSerial, "replug it"),
        ] {
            let text = error.to_string();
            assert!(text.contains(advice) && !text.contains('\n'), "{text}");
        }
    }
}

//! `umux pair-record`: the keys with which phones trust this computer, as the daemon keeps them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use usbmux_host::address::{Address, DEFAULT_PATH};
use usbmux_host::client::{ClientError, Daemon, MAX_REQUEST};

use crate::args::PairRecord;
use crate::failure::Failure;
use crate::{choose, output};

/// Where daemons keep records unless told otherwise.
const SYSTEM_FOLDER: &str = "/var/lib/lockdown";

/// Where a daemon of one user keeps them: beside its socket.
const USER_FOLDER: &str = "lockdown";

/// The file beside the records that is none.
const SYSTEM_CONFIGURATION: &str = "SystemConfiguration";

pub(crate) async fn run(daemon: &Daemon, command: PairRecord) -> Result<(), Failure> {
    match command {
        PairRecord::List => list(daemon).await,
        PairRecord::Read { name } => {
            let udid = udid(daemon, name.udid()).await?;
            output::bytes(&daemon.read_pair_record(&udid).await?)
        }
        PairRecord::Save(what) => {
            let (named, file) = what.parts().map_err(Failure::usage)?;
            let record = read(&file).map_err(|error| {
                Failure::failed(format!("cannot read the record from {} ({error})", file.display()))
            })?;
            let udid = udid(daemon, named).await?;
            let phones = daemon.phones().await?;
            let attached = phones.iter().find(|phone| phone.is_called(&udid));
            Ok(daemon
                .save_pair_record(&udid, record, attached.map(|phone| phone.device_id))
                .await?)
        }
        PairRecord::Delete { name } => {
            let udid = udid(daemon, name.udid()).await?;
            Ok(daemon.delete_pair_record(&udid).await?)
        }
    }
}

/// The UDID as given, for a phone may be away, or that of the only phone.
async fn udid(daemon: &Daemon, given: Option<String>) -> Result<String, Failure> {
    match given {
        Some(udid) => Ok(udid),
        None => Ok(choose::phone(daemon, None).await?.udid),
    }
}

/// The protocol cannot list records. So the daemon is asked for those of the phones that are
/// there, and of all that its folder names, if it can be read from here.
async fn list(daemon: &Daemon) -> Result<(), Failure> {
    let mut names: BTreeSet<String> =
        daemon.phones().await?.into_iter().map(|phone| phone.udid).collect();
    names.extend(folder(daemon.address()).map(|folder| file_names(&folder)).unwrap_or_default());
    for name in names {
        match daemon.read_pair_record(&name).await {
            Ok(_) => output::line(&name)?,
            Err(ClientError::NoRecord | ClientError::BadRecord) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn folder(address: &Address) -> Option<PathBuf> {
    match address {
        Address::Unix(path) if path == Path::new(DEFAULT_PATH) => Some(SYSTEM_FOLDER.into()),
        Address::Unix(path) => Some(path.parent()?.join(USER_FOLDER)),
        _ => None,
    }
}

fn file_names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "plist"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != SYSTEM_CONFIGURATION)
        .collect()
}

/// Reads no more than what is certainly too much to be sent.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(File::open(file)?),
    };
    let mut record = Vec::new();
    source.by_ref().take(MAX_REQUEST as u64).read_to_end(&mut record)?;
    Ok(record)
}

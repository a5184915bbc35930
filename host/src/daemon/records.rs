//! Pair records and the identity of this system, as files in one folder.
//!
//! A record is what a phone and this computer agreed on when the user tapped "Trust": keys, among
//! other things, so the folder is 0700 and its files are 0600. Other programs read the folder
//! directly (`idevicepair list` does), therefore names and contents are those of the reference
//! daemon: `<UDID>.plist`, and `SystemConfiguration.plist` with the key `SystemBUID`.
//!
//! Files are replaced, never changed: a reader sees the old or the new one, whole. Every call but
//! [`Records::on_a_thread`] blocks, so the daemon makes them through that. What a record must look like is the
//! codec's business.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use plist::{Dictionary, Value};
use rustix::io::Errno;
use smol::lock::Semaphore;
use usbmux_core::session::names::key;
use usbmux_core::session::{ResultCode, is_record_id};
use uuid::Uuid;

use super::limits::{DISK_AT_ONCE, MAX_RECORD, MAX_RECORDS};
use crate::codec;

/// Where the records are unless told otherwise; other programs look there.
pub const DEFAULT_FOLDER: &str = "/var/lib/lockdown";

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const SYSTEM_CONFIGURATION: &str = "SystemConfiguration.plist";

/// Keeps the pair records of one folder; clones are the same.
#[derive(Debug, Clone)]
pub struct Records {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// Held while the system's identity is looked for and made, so that there is one.
    identity: Mutex<()>,
    /// One permit for each thread that may be busy here.
    disk: Semaphore,
}

impl Records {
    /// Keeps records in this folder, which is made when the first file is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let (folder, identity) = (folder.into(), Mutex::new(()));
        let disk = Semaphore::new(DISK_AT_ONCE);
        Self { shared: Arc::new(Shared { folder, identity, disk }) }
    }

    /// Reads or writes on another thread; waits while [`DISK_AT_ONCE`] are busy.
    pub async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let _permit = self.shared.disk.acquire().await;
        let records = self.clone();
        smol::unblock(move || work(&records)).await
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Reads the record kept under this id.
    ///
    /// # Errors
    /// The number to answer: [`ResultCode::NO_RECORD`], [`ResultCode::INVALID`] for an id that is
    /// none, or the system's errno.
    pub fn read(&self, id: &str) -> Result<Vec<u8>, ResultCode> {
        let path = self.record(id)?;
        read(&path).map_err(|error| told(&error, "read", &path))
    }

    /// Keeps a record under this id, in place of an older one.
    ///
    /// # Errors
    /// The number to answer: [`ResultCode::INVALID`] for an id that is none, or the system's errno;
    /// that of a full disk when there are [`MAX_RECORDS`].
    pub fn save(&self, id: &str, data: &[u8]) -> Result<(), ResultCode> {
        let path = self.record(id)?;
        self.check_room(&path)
            .and_then(|()| self.write(&path, data))
            .map_err(|error| told(&error, "write", &path))
    }

    /// Forgets the record kept under this id.
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn delete(&self, id: &str) -> Result<(), ResultCode> {
        let path = self.record(id)?;
        std::fs::remove_file(&path).map_err(|error| told(&error, "delete", &path))
    }

    /// The identity of this system, an upper-case UUID, made from the system's randomness when
    /// there is none yet.
    ///
    /// # Errors
    /// The number to answer. A file that cannot be read or understood is left as it is: a new
    /// identity would make every phone ask for trust again.
    pub fn buid(&self) -> Result<String, ResultCode> {
        let _one_at_a_time = self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder().join(SYSTEM_CONFIGURATION);
        let mut configuration = match read(&path) {
            Ok(bytes) => parse(&bytes).ok_or_else(|| {
                log::error!(
                    "{} is no property list of a dictionary; repair it, or remove it to get a new \
                     SystemBUID",
                    path.display()
                );
                ResultCode::IO
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Dictionary::new(),
            Err(error) => return Err(told(&error, "read", &path)),
        };
        if let Some(buid) = configuration.get(key::SYSTEM_BUID).and_then(Value::as_string) {
            return Ok(buid.to_owned());
        }
        let buid = Uuid::new_v4().hyphenated().encode_upper(&mut Uuid::encode_buffer()).to_owned();
        configuration.insert(key::SYSTEM_BUID.to_owned(), Value::String(buid.clone()));
        let mut bytes = Vec::new();
        Value::Dictionary(configuration)
            .to_writer_xml(&mut bytes)
            .map_err(io::Error::other)
            .and_then(|()| self.write(&path, &bytes))
            .map_err(|error| told(&error, "write", &path))?;
        log::info!("made the SystemBUID {buid} in {}", path.display());
        Ok(buid)
    }

    fn record(&self, id: &str) -> Result<PathBuf, ResultCode> {
        if !is_record_id(id) {
            return Err(ResultCode::INVALID);
        }
        Ok(self.folder().join(format!("{id}.plist")))
    }

    /// A new record needs a place; one that replaces another has it.
    fn check_room(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            return Ok(());
        }
        // If they cannot be counted, writing will say why.
        let files = std::fs::read_dir(self.folder()).into_iter().flatten();
        if files.take(MAX_RECORDS).count() < MAX_RECORDS {
            return Ok(());
        }
        log::error!("{} holds {MAX_RECORDS} files: remove some", self.folder().display());
        Err(Errno::NOSPC.into())
    }

    /// Puts a whole file in place of what is there, and on the disk.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = self.folder();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        // Opened and written past the crate, whose own errors have lost the system's number.
        let open =
            |path: &Path| File::options().write(true).create_new(true).mode(FILE_MODE).open(path);
        let mut file = tempfile::Builder::new().prefix(".new-").make_in(folder, open)?;
        file.as_file_mut().write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_RECORD) {
        Ok(bytes)
    } else {
        Err(Errno::FBIG.into())
    }
}

/// Parses the system's configuration, which another daemon may have written in binary form.
fn parse(bytes: &[u8]) -> Option<Dictionary> {
    if !codec::is_pair_record(bytes) {
        return None;
    }
    if bytes.starts_with(b"bplist") {
        Value::from_reader(io::Cursor::new(bytes)).ok()?.into_dictionary()
    } else {
        codec::dictionary(bytes, codec::MAX_ELEMENTS)
    }
}

/// Turns an error into the number to answer, and says so unless it is an everyday one.
fn told(error: &io::Error, what: &str, path: &Path) -> ResultCode {
    if error.kind() != io::ErrorKind::NotFound {
        log::error!("cannot {what} {}: {error}", path.display());
    }
    let errno = error.raw_os_error().and_then(|errno| u32::try_from(errno).ok());
    errno.map_or(ResultCode::IO, ResultCode)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    const ID: &str = "00008030-001A2B3C4D5E6F70";

    fn records() -> (TempDir, Records) {
        let parent = tempfile::tempdir().unwrap();
        let records = Records::new(parent.path().join("lockdown"));
        (parent, records)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(records: &Records) -> Vec<String> {
        let entries = fs::read_dir(records.folder()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn record_is_saved_replaced_read_and_deleted() {
        let (_parent, records) = records();
        assert_eq!(records.read(ID), Err(ResultCode::NO_RECORD));
        assert_eq!(records.delete(ID), Err(ResultCode::NO_RECORD));
        records.save(ID, b"one").unwrap();
        records.save(ID, b"two").unwrap();
        assert_eq!(records.read(ID).unwrap(), b"two");
        assert_eq!(names(&records), [format!("{ID}.plist")], "nothing temporary stays");
        records.delete(ID).unwrap();
        assert_eq!(records.read(ID), Err(ResultCode::NO_RECORD));
    }

    #[test]
    fn nobody_else_may_read() {
        let (_parent, records) = records();
        records.save(ID, b"secret").unwrap();
        records.buid().unwrap();
        assert_eq!(mode(records.folder()), 0o700);
        assert_eq!(mode(&records.folder().join(format!("{ID}.plist"))), 0o600);
        assert_eq!(mode(&records.folder().join("SystemConfiguration.plist")), 0o600);
    }

    #[test]
    fn ids_that_are_no_file_names_are_refused() {
        let (parent, records) = records();
        for id in ["", "..", "../../etc/hostname", "a/b", "SystemConfiguration"] {
            assert_eq!(records.read(id), Err(ResultCode::INVALID), "{id:?}");
            assert_eq!(records.save(id, b"x"), Err(ResultCode::INVALID), "{id:?}");
            assert_eq!(records.delete(id), Err(ResultCode::INVALID), "{id:?}");
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn unusable_files_and_folders_are_told_by_errno() {
        let (parent, records) = records();
        records.save(ID, &vec![b'x'; 65536]).unwrap();
        assert_eq!(records.read(ID).unwrap().len(), 65536);
        records.save(ID, &vec![b'x'; 65537]).unwrap();
        assert_eq!(records.read(ID), Err(ResultCode::TOO_LARGE));

        fs::create_dir(records.folder().join("DIRECTORY.plist")).unwrap();
        assert_eq!(records.read("DIRECTORY"), Err(ResultCode(21)), "EISDIR");

        let file = parent.path().join("file");
        fs::write(&file, b"").unwrap();
        let records = Records::new(file.join("lockdown"));
        assert_eq!(records.save(ID, b"x"), Err(ResultCode(20)), "ENOTDIR");
    }

    #[test]
    fn records_have_a_limit_and_those_that_are_there_can_be_replaced() {
        let (_parent, records) = records();
        records.save(ID, b"one").unwrap();
        for number in 1..MAX_RECORDS {
            File::create(records.folder().join(number.to_string())).unwrap();
        }
        assert_eq!(records.save("NEW", b"x"), Err(ResultCode(28)), "ENOSPC");
        records.save(ID, b"two").unwrap();
        fs::remove_file(records.folder().join("1")).unwrap();
        records.save("NEW", b"x").unwrap();
    }

    #[test]
    fn only_so_many_threads_are_busy() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (_parent, records) = records();
        let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |_| {
            let (busy, most) = (Arc::clone(&busy), Arc::clone(&most));
            records.on_a_thread(move |_| {
                most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                busy.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let all = smol::LocalExecutor::new();
        let tasks: Vec<_> = (0..20 * DISK_AT_ONCE).map(work).map(|work| all.spawn(work)).collect();
        smol::block_on(all.run(async {
            for task in tasks {
                task.await;
            }
        }));
        let most = most.load(Ordering::SeqCst);
        assert!((1..=DISK_AT_ONCE).contains(&most), "{most}");
    }

    #[test]
    fn identity_is_made_once() {
        let (_parent, records) = records();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let records = records.clone();
                std::thread::spawn(move || records.buid().unwrap())
            })
            .collect();
        let buid = records.buid().unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), buid);
        }
        assert_eq!(Records::new(records.folder()).buid().unwrap(), buid);

        let uuid = Uuid::parse_str(&buid).unwrap();
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(buid, uuid.hyphenated().to_string().to_uppercase());
    }

    #[test]
    fn identity_of_another_daemon_is_kept() {
        let (_parent, records) = records();
        fs::create_dir(records.folder()).unwrap();
        let path = records.folder().join("SystemConfiguration.plist");
        let mut dictionary = Dictionary::new();
        dictionary.insert("HostID".into(), "H".into());
        dictionary.insert("SystemBUID".into(), "91884CAA-23C3-9BA1-FEFF-07109DAB2C02".into());
        let value = Value::Dictionary(dictionary.clone());
        value.to_file_xml(&path).unwrap();
        assert_eq!(records.buid().unwrap(), "91884CAA-23C3-9BA1-FEFF-07109DAB2C02");
        value.to_file_binary(&path).unwrap();
        assert_eq!(records.buid().unwrap(), "91884CAA-23C3-9BA1-FEFF-07109DAB2C02");

        // Without an identity, one is added and the rest stays.
        dictionary.remove("SystemBUID");
        Value::Dictionary(dictionary).to_file_xml(&path).unwrap();
        let buid = records.buid().unwrap();
        let written = Value::from_file(&path).unwrap().into_dictionary().unwrap();
        assert_eq!(written.get("HostID"), Some(&Value::from("H")));
        assert_eq!(written.get("SystemBUID"), Some(&Value::from(buid)));
    }

    #[test]
    fn unreadable_configuration_is_not_overwritten() {
        let (_parent, records) = records();
        fs::create_dir(records.folder()).unwrap();
        let path = records.folder().join("SystemConfiguration.plist");
        for garbage in [&b"garbage"[..], b"", b"<plist><array/></plist>"] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(records.buid(), Err(ResultCode::IO));
            assert_eq!(fs::read(&path).unwrap(), garbage);
        }
    }
}

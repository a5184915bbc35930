//! The folders and files a daemon makes for itself: the folder of a simulating one, and the
//! pidfile.
//!
//! Leaves out: sockets (`listen`) and pair records (`records`).

use std::env;
use std::error::Error;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::getuid;

/// The variables that may name the folder for folders of running programs, the best one first.
const RUNTIME_VARIABLES: [&str; 2] = ["XDG_RUNTIME_DIR", "TMPDIR"];
/// Where such folders are when no variable says so.
const RUNTIME_DEFAULT: &str = "/tmp";

/// Why a place could not be had; displays as one line that names it.
#[derive(Debug)]
pub struct PlaceError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    System(io::Error),
    NotOurs,
    Running,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::System(error) => write!(f, "cannot use {path}: {error}"),
            Why::NotOurs => {
                write!(f, "{path} belongs to somebody else or is open to others: remove it")
            }
            Why::Running => write!(f, "another daemon holds {path}: stop it first"),
        }
    }
}

impl Error for PlaceError {}

/// Makes the folder of a simulating daemon, or finds it: `umuxd-<uid>`, for nobody else, in the
/// first set of XDG_RUNTIME_DIR and TMPDIR, or in /tmp.
///
/// # Errors
/// It cannot be made, or it is there and somebody else could put something in it.
pub fn runtime_folder() -> Result<PathBuf, PlaceError> {
    let set = RUNTIME_VARIABLES.iter().filter_map(env::var_os).find(|value| !value.is_empty());
    let parent = set.map_or_else(|| PathBuf::from(RUNTIME_DEFAULT), PathBuf::from);
    own_folder(parent.join(format!("umuxd-{}", getuid().as_raw())))
}

fn own_folder(path: PathBuf) -> Result<PathBuf, PlaceError> {
    let made = DirBuilder::new().mode(0o700).create(&path);
    let found = match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Not following links: in /tmp anybody could have made one.
        _ => fs::symlink_metadata(&path),
    };
    match found {
        Err(error) => Err(PlaceError { path, why: Why::System(error) }),
        Ok(found) => {
            let ours =
                found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o077 == 0;
            if ours { Ok(path) } else { Err(PlaceError { path, why: Why::NotOurs }) }
        }
    }
}

/// A file with the daemon's process number, locked while it runs and removed at its end.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

impl PidFile {
    /// Writes the file, or takes a stale one over.
    ///
    /// # Errors
    /// A running daemon holds it, or it cannot be written.
    pub fn new(path: &Path) -> Result<Self, PlaceError> {
        let failed = |why| PlaceError { path: path.to_owned(), why };
        let system = |error: io::Error| failed(Why::System(error));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(system)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| failed(Why::Running))?;
        file.set_len(0).map_err(system)?;
        writeln!(file, "{}", std::process::id()).map_err(system)?;
        Ok(Self { path: path.to_owned(), file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Only the file we hold: somebody may have put another one there.
        let same = |held: fs::Metadata, there: fs::Metadata| {
            (held.dev(), held.ino()) == (there.dev(), there.ino())
        };
        if let (Ok(held), Ok(there)) = (self.file.metadata(), fs::symlink_metadata(&self.path))
            && same(held, there)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folder_is_made_for_nobody_else_and_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("umuxd-0");
        for _ in 0..2 {
            assert_eq!(own_folder(path.clone()).unwrap(), path);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn folder_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("umuxd-0");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(own_folder(path).unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn link_is_refused_as_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("umuxd-0");
        let elsewhere = own_folder(parent.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(elsewhere, &path).unwrap();
        assert!(own_folder(path).is_err());
    }

    #[test]
    fn pidfile_is_written_held_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(&path, "123456789 stale").unwrap();
        let held = PidFile::new(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert!(PidFile::new(&path).unwrap_err().to_string().contains("another daemon"));
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn pidfile_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let held = PidFile::new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }
}

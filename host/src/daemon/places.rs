//! The folders and files a daemon makes for itself: the folder of a simulating one, the folder of
//! pair records if it is to be another user's, and the pidfile.
//!
//! Leaves out: sockets (`listen`), pair records (`records`), and asking who holds a pidfile
//! (`running`).

use std::env;
use std::error::Error;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::process::getuid;

use super::privileges::User;

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
    NotTheirs(String),
    Running,
}

impl PlaceError {
    /// Whether a running daemon holds the place.
    pub fn is_held(&self) -> bool {
        matches!(self.why, Why::Running)
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::System(error) => write!(f, "cannot use {path}: {error}"),
            Why::NotOurs => {
                write!(f, "{path} belongs to somebody else or is open to others: remove it")
            }
            Why::NotTheirs(user) => {
                write!(f, "{path} does not belong to {user}: chown -R {user} {path}")
            }
            Why::Running => write!(f, "another daemon holds {path}: stop it first"),
        }
    }
}

impl Error for PlaceError {}

/// Makes the folder of a simulating daemon, or finds it: `umuxd-<uid>`, for nobody else, in the
/// first set of XDG_RUNTIME_DIR and TMPDIR, or in /tmp. It is that of `user`, if we become one.
///
/// # Errors
/// It cannot be made, or it is there and somebody else could put something in it.
pub fn runtime_folder(user: Option<&User>) -> Result<PathBuf, PlaceError> {
    let set = RUNTIME_VARIABLES.iter().filter_map(env::var_os).find(|value| !value.is_empty());
    let parent = set.map_or_else(|| PathBuf::from(RUNTIME_DEFAULT), PathBuf::from);
    let uid = user.map_or_else(|| getuid().as_raw(), User::uid);
    private_folder(parent.join(format!("umuxd-{uid}")), user)
}

fn private_folder(path: PathBuf, user: Option<&User>) -> Result<PathBuf, PlaceError> {
    let found = own_folder(&path, user)?;
    let uid = user.map_or_else(|| getuid().as_raw(), User::uid);
    let ours = found.uid() == uid && found.mode() & 0o077 == 0;
    if ours { Ok(path) } else { Err(PlaceError { path, why: Why::NotOurs }) }
}

/// Makes the folder of pair records for a user we become, unless it is there; its parent must be.
///
/// # Errors
/// It cannot be made, or it is somebody else's: that is left to whoever gave it to them.
pub fn folder_for(user: &User, path: &Path) -> Result<(), PlaceError> {
    if own_folder(path, Some(user))?.uid() == user.uid() {
        return Ok(());
    }
    Err(PlaceError { path: path.to_owned(), why: Why::NotTheirs(user.name().to_owned()) })
}

/// Makes a folder for nobody else but its owner, or finds it and whose it is.
fn own_folder(path: &Path, owner: Option<&User>) -> Result<fs::Metadata, PlaceError> {
    let made = DirBuilder::new().mode(0o700).create(path).and_then(|()| match owner {
        Some(user) => chown(path, Some(user.uid()), Some(user.gid())),
        None => Ok(()),
    });
    let found = match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Not following links: in /tmp anybody could have made one.
        _ => fs::symlink_metadata(path),
    };
    let failed = |why| PlaceError { path: path.to_owned(), why };
    let found = found.map_err(|error| failed(Why::System(error)))?;
    if found.is_dir() { Ok(found) } else { Err(failed(Why::NotOurs)) }
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
        lock(&file).map_err(|_| failed(Why::Running))?;
        file.set_len(0).map_err(system)?;
        writeln!(file, "{}", std::process::id()).map_err(system)?;
        Ok(Self { path: path.to_owned(), file })
    }
}

/// Takes both locks of a pidfile, without waiting: ours, and the one that the reference daemon takes
/// and looks for. Closing any of this process's descriptors of the file gives the second one back.
pub(super) fn lock(file: &File) -> rustix::io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)?;
    fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
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
            // Who became another user may not remove it from root's folder, but empty it.
            let _ = fs::remove_file(&self.path).or_else(|_| self.file.set_len(0));
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
            assert_eq!(private_folder(path.clone(), None).unwrap(), path);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn folder_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("umuxd-0");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(private_folder(path, None).unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn link_is_refused_as_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("umuxd-0");
        let elsewhere = parent.path().join("elsewhere");
        private_folder(elsewhere.clone(), None).unwrap();
        std::os::unix::fs::symlink(elsewhere, &path).unwrap();
        assert!(private_folder(path, None).unwrap_err().to_string().contains("remove it"));
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

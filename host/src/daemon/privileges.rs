//! From root to an ordinary user, for good.
//!
//! A daemon that was started as root needs root for three things: the folder of its socket and
//! pidfile, and a log where only root may write. Phones need nothing but their device files, which a
//! udev rule gives to the user: claiming an interface, detaching a kernel driver, changing the
//! configuration and resetting the port are all allowed to whoever may write to that file. So **no
//! capability is kept**. CAP_DAC_OVERRIDE would open device files that no rule gave away, and with
//! them every other file of the system.
//!
//! It takes two steps. [`User::begin`] gives up what is never needed, by the thread that later makes
//! all others and before there are any: what a started program could win back, and what a capability
//! could be regained from. [`User::become_it`] changes the user of all threads at once, by which the
//! kernel takes the capabilities of each. Leaves out: the files that must be made in between.

use std::error::Error;
use std::fmt;

#[cfg(target_os = "linux")]
pub use linux::User;
#[cfg(not(target_os = "linux"))]
pub use other::User;

/// Why the daemon could not become another user; displays as one line.
#[derive(Debug)]
pub struct UserError {
    name: String,
    why: Why,
}

#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux gets further"))]
enum Why {
    Unknown,
    NotRoot,
    System(std::io::Error),
    #[cfg(not(target_os = "linux"))]
    NotHere,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.why {
            Why::Unknown => write!(f, "there is no user {name}: make it, or choose another (-U)"),
            Why::NotRoot => write!(f, "only root can become {name}: start as root, or without -U"),
            Why::System(error) => write!(f, "cannot become {name}: {error}"),
            #[cfg(not(target_os = "linux"))]
            Why::NotHere => write!(f, "cannot become {name}: -U works on Linux only"),
        }
    }
}

impl Error for UserError {}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::CString;
    use std::io;

    use nix::unistd;
    use rustix::process::geteuid;
    use rustix::thread::{
        CapabilitySet, capabilities, capability_is_in_bounding_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    };

    use super::{UserError, Why};

    /// How many capabilities a kernel can have: bits of two 32-bit words.
    const MAX_CAPABILITIES: u32 = 64;

    /// The user to become.
    #[derive(Debug, Clone)]
    pub struct User {
        entry: unistd::User,
        /// The one we are already.
        current: bool,
    }

    impl User {
        /// Looks a user up by its name.
        ///
        /// # Errors
        /// There is none of this name, or we are neither it nor root.
        pub fn find(name: &str) -> Result<Self, UserError> {
            let failed = |why| UserError { name: name.to_owned(), why };
            let found = unistd::User::from_name(name)
                .map_err(|error| failed(Why::System(error.into())))?
                .ok_or_else(|| failed(Why::Unknown))?;
            let us = geteuid();
            let current = us.as_raw() == found.uid.as_raw();
            if !current && !us.is_root() {
                return Err(failed(Why::NotRoot));
            }
            Ok(Self { entry: found, current })
        }

        /// Its name.
        pub fn name(&self) -> &str {
            &self.entry.name
        }

        /// Its number.
        pub fn uid(&self) -> u32 {
            self.entry.uid.as_raw()
        }

        /// Its group's number.
        pub fn gid(&self) -> u32 {
            self.entry.gid.as_raw()
        }

        /// Gives up what is never needed. Must be called before there is a second thread.
        ///
        /// # Errors
        /// The system refuses.
        pub fn begin(&self) -> Result<(), UserError> {
            if self.current {
                return Ok(());
            }
            self.told(give_up_what_can_be_regained())
        }

        /// Becomes the user, in all threads; there is no way back.
        ///
        /// # Errors
        /// The system refuses.
        pub fn become_it(&self) -> Result<(), UserError> {
            if self.current {
                return Ok(());
            }
            let unistd::User { uid, gid, ref name, .. } = self.entry;
            let change = || {
                let name = CString::new(name.as_str())?;
                unistd::initgroups(&name, gid)?;
                unistd::setresgid(gid, gid, gid)?;
                unistd::setresuid(uid, uid, uid)?;
                Ok(())
            };
            self.told(change())
        }

        fn told(&self, result: io::Result<()>) -> Result<(), UserError> {
            result.map_err(|error| UserError {
                name: self.entry.name.clone(),
                why: Why::System(error),
            })
        }
    }

    fn give_up_what_can_be_regained() -> io::Result<()> {
        set_no_new_privs(true)?;
        for number in 0..MAX_CAPABILITIES {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            match capability_is_in_bounding_set(capability) {
                Ok(true) => remove_capability_from_bounding_set(capability)?,
                Ok(false) => {}
                // This kernel has no more.
                Err(_) => break,
            }
        }
        // What is allowed now stays until the change of the user, which would leave these.
        let inheritable = CapabilitySet::empty();
        set_capabilities(
            None,
            rustix::thread::CapabilitySets { inheritable, ..capabilities(None)? },
        )?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{UserError, Why};

    /// The user to become, of which there is none here.
    #[derive(Debug, Clone)]
    pub enum User {}

    impl User {
        /// Refuses: other systems give up privileges in ways of their own.
        ///
        /// # Errors
        /// Always.
        pub fn find(name: &str) -> Result<Self, UserError> {
            Err(UserError { name: name.to_owned(), why: Why::NotHere })
        }

        /// Its name.
        pub fn name(&self) -> &str {
            match *self {}
        }

        /// Its number.
        pub fn uid(&self) -> u32 {
            match *self {}
        }

        /// Its group's number.
        pub fn gid(&self) -> u32 {
            match *self {}
        }

        /// Gives up what is never needed.
        ///
        /// # Errors
        /// None.
        pub fn begin(&self) -> Result<(), UserError> {
            match *self {}
        }

        /// Becomes the user.
        ///
        /// # Errors
        /// None.
        pub fn become_it(&self) -> Result<(), UserError> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn unknown_user_is_told_in_one_line() {
        let error = User::find("no such user").unwrap_err().to_string();
        assert_eq!(error, "there is no user no such user: make it, or choose another (-U)");
    }
}

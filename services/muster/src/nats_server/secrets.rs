//! The passwords of the parts: made once, kept in files only their owner reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A user of our server's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The manager.
    Manager,
    /// All workers.
    Worker,
    /// The API, and whoever reads the log.
    Api,
}

impl User {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Manager, Self::Worker, Self::Api];

    /// The name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
            Self::Api => "api",
        }
    }

    /// The variable the configuration takes the password from.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Manager => "MUSTER_MANAGER_PASSWORD",
            Self::Worker => "MUSTER_WORKER_PASSWORD",
            Self::Api => "MUSTER_API_PASSWORD",
        }
    }
}

/// The file with a user's password, in a server's folder.
pub(crate) fn file(folder: &Path, user: User) -> PathBuf {
    folder.join(format!("{}.password", user.name()))
}

/// The passwords.
#[derive(Clone)]
pub(crate) struct Secrets {
    by_user: [String; 3],
    route: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Those in `folder`; made where they are not there yet.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let [manager, worker, api] = User::ALL.map(|user| read_or_make(&file(folder, user)));
        Ok(Self { by_user: [manager?, worker?, api?], route: read_or_make(&folder.join("route.password"))? })
    }

    /// What servers of a cluster say to each other to be let in.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// One user's.
    pub(crate) fn of_user(&self, user: User) -> &str {
        &self.by_user[user as usize]
    }
}

fn read_or_make(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        // An empty file is what a crash between making and writing it leaves.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Two random UUIDs: 244 bits from the system's generator.
    let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn secrets_are_made_once_and_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = Secrets::of(folder.path()).unwrap();
        let read = Secrets::of(folder.path()).unwrap();
        for user in User::ALL {
            assert_eq!(made.of_user(user), read.of_user(user));
            let mode = fs::metadata(file(folder.path(), user)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_ne!(made.of_user(User::Api), made.of_user(User::Worker));
        assert!(!format!("{made:?}").contains(made.of_user(User::Api)));
    }
}

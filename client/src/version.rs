//! Which versions go together.

/// This client's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether a cluster's version goes with this client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// Same major version (and, before 1.0, same minor version).
    Compatible,
    /// Other major version: calls may fail or mean something else.
    Incompatible {
        /// The cluster's.
        cluster: String,
        /// This client's.
        client: &'static str,
    },
    /// The cluster did not say a version that can be read.
    Unknown,
}

impl Compatibility {
    /// How a cluster of version `cluster` goes with this client.
    pub fn of(cluster: &str) -> Self {
        match (line(cluster), line(VERSION)) {
            (Some(theirs), Some(ours)) if theirs == ours => Self::Compatible,
            (Some(_), Some(_)) => Self::Incompatible { cluster: cluster.to_owned(), client: VERSION },
            _ => Self::Unknown,
        }
    }
}

/// The part of a version that must be the same, as semantic versioning has it: `1`, or `0.3` before 1.0.
fn line(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, if major == 0 { minor } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_line_goes_together() {
        assert_eq!(Compatibility::of(VERSION), Compatibility::Compatible);
        assert!(matches!(Compatibility::of("99.0.0"), Compatibility::Incompatible { .. }));
        assert_eq!(Compatibility::of(""), Compatibility::Unknown);
        assert_eq!(line("1.2.3"), line("1.9.0"));
        assert_ne!(line("0.2.3"), line("0.3.0"));
    }
}

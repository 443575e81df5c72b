//! What of a worker a constraint can speak of.

/// The name of an attribute, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute<'a> {
    /// `worker`: its id.
    Worker,
    /// `hostname`.
    Hostname,
    /// `zone`: its failure domain.
    Zone,
    /// `os`.
    Os,
    /// `version`: muster's on it.
    Version,
    /// `runtime`: what it can run; a set.
    Runtime,
    /// `tools`: what is installed on it; a set.
    Tools,
    /// `tags`: words of its own; a set.
    Tags,
    /// `label.<key>`.
    Label(&'a str),
    /// `device.<name>`: how many of them it has.
    Device(&'a str),
}

/// What an attribute may be, for people.
pub(super) const ATTRIBUTES: &str = "must be `worker`, `zone`, `hostname`, `os`, `version`, `runtime`, `tools`, `tags`, `label.<key>` or \
     `device.<name>`";

impl<'a> Attribute<'a> {
    /// By its name.
    pub fn parse(name: &'a str) -> Option<Self> {
        Some(match name {
            "worker" => Self::Worker,
            "hostname" => Self::Hostname,
            "zone" => Self::Zone,
            "os" => Self::Os,
            "version" => Self::Version,
            "runtime" => Self::Runtime,
            "tools" => Self::Tools,
            "tags" => Self::Tags,
            other => match other.split_once('.')? {
                (_, "") => return None,
                ("label", key) => Self::Label(key),
                ("device", name) => Self::Device(name),
                _ => return None,
            },
        })
    }

    /// Whether a worker has one value of it, by which tasks can be spread or kept apart.
    pub const fn divides(self) -> bool {
        matches!(self, Self::Worker | Self::Hostname | Self::Zone | Self::Label(_))
    }

    /// Whether no two workers need have it in common.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Worker | Self::Hostname)
    }
}

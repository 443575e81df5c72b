//! Subjects that others name.

use muster_events::subject::Cell;

use crate::error::{LogError, Result};

/// The most bytes of a reply subject.
const REPLY_BYTES_MAX: usize = 255;

/// Whether an outcome or an answer may be sent to `reply`: a subject without wildcards that is neither the server's (`$…`) nor one
/// of the cell's own. Otherwise any publisher could make the manager write, with its own permissions, wherever it
/// likes.
pub(crate) fn check_reply(reply: &str, cell: &Cell) -> Result<()> {
    let reason = if reply.is_empty() {
        "is empty"
    } else if reply.len() > REPLY_BYTES_MAX {
        "is longer than 255 bytes"
    } else if reply.split('.').any(str::is_empty) {
        "has an empty token"
    } else if reply.chars().any(|c| c.is_whitespace() || c.is_control() || c == '*' || c == '>') {
        "holds a wildcard, a space or a control character"
    } else if reply.starts_with('$') {
        "belongs to the server"
    } else if reply.split('.').next() == Some(cell.as_str()) {
        "belongs to muster itself"
    } else {
        return Ok(());
    };
    Err(LogError::Refused(format!(
        "nothing can be sent to `{}`: it {reason}; name a subject such as one of your own inbox",
        reply.chars().take(100).collect::<String>()
    )))
}

/// Whether `subject` is one of those `filter` stands for: `*` is any one token, a last `>` any further ones.
pub(crate) fn matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_tokens() {
        for (filter, subject) in
            [("a.b", "a.b"), ("a.*", "a.b"), ("*.b", "a.b"), (">", "a.b"), ("a.>", "a.b.c")]
        {
            assert!(matches(filter, subject), "{filter} {subject}");
        }
        for (filter, subject) in [("a", "a.b"), ("a.*", "a"), ("a.*", "a.b.c"), ("a.>", "a"), ("b.*", "a.b")]
        {
            assert!(!matches(filter, subject), "{filter} {subject}");
        }
    }

    #[test]
    fn only_plain_foreign_subjects_pass() {
        let cell = Cell::default();
        for good in ["_INBOX.abc.1", "replies", "musterx.evt"] {
            assert!(check_reply(good, &cell).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            "a b",
            "a.*",
            ">",
            "a..b",
            ".a",
            "a.",
            "$JS.API.x",
            "$SYS",
            "muster",
            "muster.evt",
            "a\r\nb",
            &long,
        ] {
            assert!(check_reply(bad, &cell).is_err(), "{bad:?}");
        }
    }
}

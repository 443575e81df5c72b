//! Brings what older builds wrote up to date. `schemas/golden/` holds one message per shipped version; a test decodes
//! them all.

use crate::codec::CodecError;
use crate::commit::{Commit, VERSION};

/// The commit in this build's form. There is one version so far, so there is nothing to change, only to refuse what
/// a later build wrote.
pub(crate) fn commit(commit: Commit) -> Result<Commit, CodecError> {
    if commit.version > VERSION {
        return Err(CodecError::Newer { found: commit.version, known: VERSION });
    }
    Ok(commit)
}

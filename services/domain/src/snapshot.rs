//! A [`Fold`] as bytes and back. That bytes are whole is the codec's business ([`muster_events::snapshot`]); here it is
//! made sure that the state is the one that was written: this build hashes what it has read, and a field it does not
//! know, lacks or reads otherwise gives another hash.

use muster_events::hash::Hash;
use muster_events::snapshot::{self, Header, SnapshotError};

use crate::fold::{Fold, Head};
use crate::state::State;

/// Why a snapshot cannot be used. Nothing is lost by it: the log is the truth.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its bytes.
    #[error(transparent)]
    Bytes(#[from] SnapshotError),
    /// The state is not the one that was written.
    #[error("its state has the hash {found} to this build, and had {named} when it was written")]
    State {
        /// By the header.
        named: Hash,
        /// By this build.
        found: Hash,
    },
    /// It is of another log, or of one that has been changed since.
    #[error("it stands behind commit {position} with the hash {named}; in this log that commit {found}")]
    Elsewhere {
        /// Its position.
        position: u64,
        /// By the header.
        named: Hash,
        /// In words, what the log has there.
        found: String,
    },
}

/// The snapshot of a fold.
///
/// # Errors
/// [`SnapshotError`], in practice only when it is too large.
pub fn seal(fold: &Fold) -> Result<Vec<u8>, SnapshotError> {
    seal_parts(&fold.state, fold.head)
}

/// The snapshot of a fold whose parts lie apart.
///
/// # Errors
/// As [`seal`].
pub fn seal_parts(state: &State, head: Head) -> Result<Vec<u8>, SnapshotError> {
    let hash = state.hash()?;
    let header = Header {
        position: head.position,
        commit: head.hash,
        seq: state.last_seq(),
        at: state.at,
        state: hash,
    };
    snapshot::seal(&header, state)
}

/// Whether a snapshot fits a log that has, at the snapshot's position, a commit with this hash, or none.
///
/// # Errors
/// [`Unusable::Elsewhere`].
pub fn fits(header: &Header, commit: Option<Hash>) -> Result<(), Unusable> {
    let found = match commit {
        Some(hash) if hash == header.commit => return Ok(()),
        Some(hash) => format!("has the hash {hash}"),
        None => "is not there".to_owned(),
    };
    Err(Unusable::Elsewhere { position: header.position, named: header.commit, found })
}

/// The fold a snapshot was made of, with all that is derived.
///
/// # Errors
/// [`Unusable::Bytes`], [`Unusable::State`].
pub fn open(bytes: &[u8]) -> Result<Fold, Unusable> {
    let (header, mut state): (Header, State) = snapshot::open(bytes)?;
    let found = state.hash().map_err(SnapshotError::from)?;
    if found != header.state {
        return Err(Unusable::State { named: header.state, found });
    }
    state.rebuild();
    Ok(Fold { state, head: Head { position: header.position, hash: header.commit } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        batch, definition, drain, given, job_submit, pipeline, register, register_http, retried, service,
        submit_all, submit_remote, system,
    };
    use proptest::prelude::*;

    /// A little of much that a state holds.
    fn fold() -> Fold {
        let world = given([
            register("w-1"),
            register("w-2"),
            register_http("h-1", 2),
            submit_all([definition("a"), definition("b"), retried("c", |_| {})]),
            submit_remote("r"),
            job_submit(batch("batch", 3)),
            job_submit(service("service", 2)),
            job_submit(system("system")),
            job_submit(pipeline("steps", &[("one", &[]), ("two", &["one"])])),
        ]);
        let world = world.reconciled().placed().one_ends("batch", 1, 1).and(drain("w-2", Some(9.0)));
        Fold { state: world.state, head: Head { position: 9, hash: Hash::of(b"the ninth commit") } }
    }

    #[test]
    fn a_fold_comes_back_whole_with_all_that_is_derived() {
        let fold = fold();
        let back = open(&seal(&fold).unwrap()).unwrap();
        assert_eq!((back.head, &back.state), (fold.head, &fold.state));
        assert_eq!(back.state.hash().unwrap(), fold.state.hash().unwrap());
    }

    /// Should this fail, a state means something else than before: snapshots of earlier builds must be passed over, so
    /// `snapshot::FORM` goes up by one, and here stand the new numbers.
    #[test]
    fn what_a_state_means_is_pinned_to_the_form_of_its_snapshots() {
        let hash = fold().state.hash().unwrap().to_string();
        assert_eq!((snapshot::FORM, &hash[..16]), (2, "91fb660796811d75"));
    }

    #[test]
    fn a_state_this_build_reads_otherwise_is_refused() {
        let fold = fold();
        let bytes = seal(&fold).unwrap();
        let (header, state): (Header, State) = snapshot::open(&bytes).unwrap();
        let named = Hash::of(b"another");
        let wrong = snapshot::seal(&Header { state: named, ..header }, &state).unwrap();
        assert!(matches!(open(&wrong), Err(Unusable::State { named: n, .. }) if n == named));
    }

    #[test]
    fn a_snapshot_of_another_log_does_not_fit() {
        let header = snapshot::header(&seal(&fold()).unwrap()).unwrap();
        assert!(fits(&header, Some(header.commit)).is_ok());
        let altered = fits(&header, Some(Hash::of(b"altered"))).unwrap_err().to_string();
        assert!(altered.contains("commit 9") && altered.contains("has the hash"), "{altered}");
        let shorter = fits(&header, None).unwrap_err().to_string();
        assert!(shorter.ends_with("in this log that commit is not there"), "{shorter}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_byte_that_is_changed_and_any_end_that_is_missing_is_noticed(
            at in any::<prop::sample::Index>(), flip in 1..=u8::MAX, cut in any::<bool>(),
        ) {
            let mut bytes = seal(&fold()).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(open(&bytes).is_err());
        }
    }
}

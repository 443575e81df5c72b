//! An answer to a publisher, as messages that the server takes: a large group's outcomes are several messages, and an
//! outcome that is too large by itself is shortened. So the publisher always hears.

use std::borrow::Cow;

use muster_events::codec::{self, CodecError, Encoding};
use muster_events::outcome::{GroupOutcome, Outcome};

/// Bytes of a message left for its headers, which count as well.
const HEADERS_BYTES: usize = 128;
/// Bytes for what frames the outcomes of a page: names, brackets, `more`.
const FRAME_BYTES: usize = 64;
/// The most characters of its message that an outcome keeps which is too large; halved until it fits.
const CHARS_MAX: usize = 512;

/// The messages of an answer, for a server that takes `max_payload` bytes.
pub(super) fn messages(
    encoding: Encoding,
    outcomes: Vec<Outcome>,
    group: bool,
    max_payload: usize,
) -> Result<Vec<Vec<u8>>, CodecError> {
    let room = max_payload.saturating_sub(HEADERS_BYTES);
    if let ([one], false) = (outcomes.as_slice(), group) {
        return Ok(vec![fitting(encoding, one, room)?.1]);
    }
    let whole = GroupOutcome { outcomes, more: false };
    let encoded = codec::encode(encoding, &whole)?;
    if encoded.len() <= room {
        return Ok(vec![encoded]);
    }
    let mut pages = pages(encoding, &whole.outcomes, room.saturating_sub(FRAME_BYTES))?;
    if let Some(last) = pages.last_mut() {
        last.more = false;
    }
    pages.iter().map(|page| codec::encode(encoding, page)).collect()
}

/// Outcomes in their order on as few pages as hold them, each of `room` bytes at most.
fn pages(encoding: Encoding, outcomes: &[Outcome], room: usize) -> Result<Vec<GroupOutcome>, CodecError> {
    let mut pages: Vec<GroupOutcome> = Vec::new();
    let mut used = 0;
    for outcome in outcomes {
        let (outcome, encoded) = fitting(encoding, outcome, room)?;
        let outcome = outcome.into_owned();
        // JSON has a comma between two.
        let bytes = encoded.len() + 1;
        match pages.last_mut().filter(|_| used + bytes <= room) {
            Some(page) => {
                page.outcomes.push(outcome);
                used += bytes;
            }
            None => {
                pages.push(GroupOutcome { outcomes: vec![outcome], more: true });
                used = bytes;
            }
        }
    }
    Ok(pages)
}

/// An outcome in `room` bytes, shortened if it must be. The bare minimum, some two hundred bytes, is given even where
/// there is less room.
fn fitting(
    encoding: Encoding,
    outcome: &Outcome,
    room: usize,
) -> Result<(Cow<'_, Outcome>, Vec<u8>), CodecError> {
    let mut encoded = codec::encode(encoding, outcome)?;
    let mut fitting = Cow::Borrowed(outcome);
    let mut chars = CHARS_MAX;
    while encoded.len() > room && chars > 0 {
        chars /= 2;
        fitting = Cow::Owned(outcome.shortened(chars));
        encoded = codec::encode(encoding, &*fitting)?;
    }
    Ok((fitting, encoded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::id::CommandId;
    use muster_events::outcome::{Details, FieldError, Problem};

    fn outcome(n: usize, error: Option<Problem>) -> Outcome {
        let id = CommandId::new(&format!("command-{n}")).unwrap();
        Outcome { id, accepted: error.is_none(), seq: n as u64, error }
    }

    fn accepted(n: usize) -> Outcome {
        outcome(n, None)
    }

    /// As large as a refusal gets: a hundred fields, in letters that JSON spells with six bytes.
    fn refused(n: usize) -> Outcome {
        let long = "\u{1}".repeat(1000);
        let fields = (0..100).map(|_| FieldError::new(long.as_str(), &long, long.as_str())).collect();
        outcome(n, Some(Problem::invalid(fields)))
    }

    fn read(encoding: Encoding, messages: &[Vec<u8>]) -> Vec<GroupOutcome> {
        messages.iter().map(|message| codec::decode(encoding, message).unwrap()).collect()
    }

    const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

    #[test]
    fn what_fits_is_one_message() {
        for encoding in ENCODINGS {
            let outcomes: Vec<_> = (0..100).map(accepted).collect();
            let messages = messages(encoding, outcomes.clone(), true, 1 << 20).unwrap();
            assert_eq!(read(encoding, &messages), [GroupOutcome { outcomes, more: false }]);
        }
    }

    #[test]
    fn what_does_not_fit_is_several_that_say_so_and_lack_nothing() {
        for (encoding, max) in ENCODINGS.into_iter().flat_map(|e| [(e, 64 << 10), (e, 1 << 20)]) {
            let outcomes: Vec<_> =
                (0..4096).map(|n| if n % 150 == 7 { refused(n) } else { accepted(n) }).collect();
            let messages = messages(encoding, outcomes.clone(), true, max).unwrap();
            assert!(messages.len() > 1 && messages.iter().all(|m| m.len() + HEADERS_BYTES <= max));
            let pages = read(encoding, &messages);
            let (last, others) = pages.split_last().unwrap();
            assert!(!last.more && others.iter().all(|page| page.more));
            let heard: Vec<_> = pages.into_iter().flat_map(|page| page.outcomes).collect();
            assert_eq!(heard.len(), outcomes.len());
            for (heard, sent) in heard.iter().zip(&outcomes) {
                assert_eq!((&heard.id, heard.accepted, heard.seq), (&sent.id, sent.accepted, sent.seq));
                assert_eq!(heard.error.as_ref().map(|e| e.code), sent.error.as_ref().map(|e| e.code));
            }
            if max == 1 << 20 {
                assert_eq!(heard, outcomes, "with this much room nothing is shortened");
            }
        }
    }

    #[test]
    fn one_that_is_too_large_by_itself_is_shortened_and_says_where_the_rest_is() {
        for (encoding, group) in ENCODINGS.into_iter().flat_map(|e| [(e, false), (e, true)]) {
            let sent = refused(7);
            let Some(Details::Fields(_)) = sent.error.as_ref().unwrap().details else { panic!("no details") };
            let messages = messages(encoding, vec![sent], group, 1024).unwrap();
            assert_eq!(messages.len(), 1);
            assert!(messages[0].len() + HEADERS_BYTES <= 1024);
            let heard = if group {
                read(encoding, &messages).remove(0).outcomes.remove(0)
            } else {
                codec::decode(encoding, &messages[0]).unwrap()
            };
            let problem = heard.error.unwrap();
            assert_eq!((problem.code, problem.details), (400, None));
            assert!(problem.message.starts_with("invalid: "), "{}", problem.message);
            assert!(problem.message.contains("event 7 has it all"), "{}", problem.message);
        }
    }
}

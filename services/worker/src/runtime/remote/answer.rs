//! What an HTTP worker's answer means. Pure: status and body in, the end of the attempt out.

use muster_events::id::WorkerId;
use muster_events::report::{Ending, RESULT_BYTES_MAX};

use super::client::{ANSWER_BYTES_MAX, Said};
use crate::execution::ExecutionResponse;

/// The most characters of a foreign answer that are repeated.
const SHOWN_CHARS_MAX: usize = 200;
/// The most bytes of an error's text that go to the attempt's output.
const TRACE_BYTES_MAX: usize = 64 << 10;

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ending: Ending,
    /// What the module hands on.
    pub(super) result: Option<String>,
    /// What is said about an error at length: it goes to the attempt's stderr.
    pub(super) said: String,
}

impl Answer {
    pub(super) const fn of(ending: Ending) -> Self {
        Self { ending, result: None, said: String::new() }
    }

    pub(super) const fn failed(message: String) -> Self {
        Self::of(Ending::Failed { message })
    }
}

pub(super) fn too_large(worker: &WorkerId) -> String {
    format!("HTTP worker {worker} answered more than the {ANSWER_BYTES_MAX} bytes that are read")
}

/// What `worker` said about `execution`.
pub(super) fn judge(worker: &WorkerId, execution: &str, said: &Said) -> Answer {
    let foreign =
        |why: &str| Answer::failed(format!("HTTP worker {worker} answered {}, {why}", said.in_short()));
    if (300..400).contains(&said.status) {
        return foreign("a redirection, which is not followed");
    }
    let Ok(response) = serde_json::from_slice::<ExecutionResponse>(&said.body) else {
        return foreign("which is no execution's response");
    };
    if response.execution_id.as_deref().is_some_and(|id| id != execution) {
        return foreign("which is about another execution");
    }
    if !response.success {
        return failure(&response);
    }
    if !(200..300).contains(&said.status) {
        return foreign("with a body that tells of success");
    }
    match response.serialized_result {
        Some(result) if result.len() > RESULT_BYTES_MAX => {
            Answer::failed(format!("its result is larger than the {RESULT_BYTES_MAX} bytes that are kept"))
        }
        result => Answer { result, ..Answer::of(Ending::Exited { code: 0 }) },
    }
}

fn failure(response: &ExecutionResponse) -> Answer {
    let words = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    let message = words(&response.error_message).unwrap_or_else(|| "failed without a word".to_owned());
    let message = match words(&response.exception_type) {
        Some(kind) => format!("{kind}: {message}"),
        None => message,
    };
    let mut said = message.clone();
    if let Some(trace) = words(&response.stack_trace) {
        said = format!("{said}\n{trace}");
    }
    said.truncate(said.floor_char_boundary(TRACE_BYTES_MAX));
    said.push('\n');
    Answer { said, ..Answer::failed(message) }
}

impl Said {
    /// Whether the worker has begun nothing and may take it later.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503)
            && !serde_json::from_slice::<ExecutionResponse>(&self.body)
                .is_ok_and(|r| r.execution_id.is_some())
    }

    /// Status and the beginning of the body.
    pub(super) fn in_short(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String =
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS_MAX).collect();
        format!("{} `{}`", self.status, text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Answer {
        let said = Said { status, retry_after: None, body: body.as_bytes().to_vec() };
        judge(&WorkerId::new("h1").unwrap(), "e-1", &said)
    }

    fn fails(status: u16, body: &str, words: &str) {
        let Ending::Failed { message } = judged(status, body).ending else { panic!("{status} {body}") };
        assert!(message.contains(words) && message.contains("h1"), "{message}");
    }

    #[test]
    fn success_hands_on_its_result() {
        let body = r#"{"executionId":"e-1","success":true,"serializedResult":"{\"n\":1}","duration":"00:00:01","novelty":[1]}"#;
        let answer = judged(200, body);
        assert_eq!(
            answer,
            Answer { result: Some(r#"{"n":1}"#.into()), ..Answer::of(Ending::Exited { code: 0 }) }
        );
        assert_eq!(judged(200, r#"{"success":true}"#).result, None);
        assert_eq!(judged(200, r#"{"success":true,"serializedResult":null,"duration":"odd"}"#).result, None);
    }

    #[test]
    fn failure_speaks_in_the_workers_words() {
        let body = r#"{"executionId":"e-1","success":false,"errorMessage":"no","exceptionType":"System.Exception","stackTrace":"at X"}"#;
        for status in [500, 200, 400] {
            let answer = judged(status, body);
            assert_eq!(answer.ending, Ending::Failed { message: "System.Exception: no".into() });
            assert_eq!(answer.said, "System.Exception: no\nat X\n");
        }
        let silent = judged(500, r#"{"success":false,"errorMessage":null}"#);
        assert_eq!(silent.ending, Ending::Failed { message: "failed without a word".into() });
        let long = format!(r#"{{"success":false,"stackTrace":"{}"}}"#, "ä".repeat(TRACE_BYTES_MAX));
        assert!(judged(500, &long).said.len() <= TRACE_BYTES_MAX + 1);
    }

    #[test]
    fn what_is_no_answer_is_a_failure_that_shows_it() {
        fails(200, "<html>\nhello</html>", "200 `<html> hello</html>`, which is no execution's response");
        fails(200, "", "no execution's response");
        fails(200, "{}", "no execution's response");
        fails(200, r#"{"success":"yes"}"#, "no execution's response");
        fails(502, "bad gateway", "502 `bad gateway`");
        fails(302, r#"{"success":true}"#, "not followed");
        fails(200, r#"{"executionId":"other","success":true}"#, "another execution");
        fails(500, r#"{"success":true}"#, "tells of success");
    }

    #[test]
    fn a_result_that_cannot_be_kept_is_a_failure() {
        let body = format!(r#"{{"success":true,"serializedResult":"{}"}}"#, "x".repeat(RESULT_BYTES_MAX + 1));
        let Ending::Failed { message } = judged(200, &body).ending else { panic!() };
        assert!(message.contains("larger"), "{message}");
    }

    #[test]
    fn a_busy_worker_is_asked_again_but_an_execution_that_failed_is_not() {
        let busy =
            |status, body: &str| Said { status, retry_after: None, body: body.as_bytes().to_vec() }.is_busy();
        assert!(busy(503, "") && busy(429, r#"{"success":false,"errorMessage":"full"}"#));
        assert!(!busy(503, r#"{"executionId":"e-1","success":false}"#) && !busy(500, ""));
    }
}

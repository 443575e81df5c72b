//! Bearer tokens and the actors they stand for.

use std::path::Path;
use std::sync::Arc;

use muster_events::hash::Hash;
use muster_events::id::Actor;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::ListenError;

/// The actor of a token that bears no name.
pub const ADMIN: &str = "admin";
/// The actor of everybody where there are no tokens.
pub const ANONYMOUS: &str = "anonymous";
/// Actors that are muster's own parts: no token may bear their names.
pub const RESERVED: [&str; 5] = ["manager", "api", "scheduler", "deadline", "leader"];
/// The fewest characters of a token.
const CHARS_MIN: usize = 16;
/// The most tokens of a file: each is compared at every request.
const TOKENS_MAX: usize = 1000;

/// The tokens that are let in. Only their hashes are kept.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<[(Hash, Actor)]>);

impl Tokens {
    /// Reads a token file: a line each, `name:token`, or `token` alone for the actor `admin`; blank lines and lines
    /// that begin with `#` are passed over.
    pub fn load(path: &Path) -> Result<Self, ListenError> {
        let wrong = |problem| ListenError::Tokens { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path)
            .map_err(|e| wrong(format!("{e}; make it with one `name:token` a line")))?;
        Self::parse(&text).map_err(wrong)
    }

    /// The tokens in `text`, or which line is wrong and how. Tokens themselves are never repeated in an error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let lines = text.lines().map(str::trim).enumerate();
        for (index, line) in lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
            let at = index + 1;
            let (name, token) = line.split_once(':').unwrap_or((ADMIN, line));
            let (name, token) = (name.trim(), token.trim());
            let actor = Actor::new(name).map_err(|e| format!("line {at}: {e}"))?;
            if RESERVED.contains(&name) {
                return Err(format!("line {at}: the name `{name}` is muster's own; choose another"));
            }
            if token.len() < CHARS_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!(
                    "line {at}: a token has at least {CHARS_MIN} visible ASCII characters and no spaces; make one with \
                     `openssl rand -hex 32`"
                ));
            }
            tokens.push((Hash::of(token.as_bytes()), actor));
        }
        if tokens.is_empty() {
            return Err("holds no token; write one `name:token` a line".to_owned());
        }
        if tokens.len() > TOKENS_MAX {
            return Err(format!("holds {} tokens; {TOKENS_MAX} is the most", tokens.len()));
        }
        Ok(Self(tokens.into()))
    }

    /// Who bears `token`. Takes the same time whatever is given: hashes are compared, all of them, bit for bit.
    pub fn actor(&self, token: &str) -> Option<&Actor> {
        let given = Hash::of(token.as_bytes());
        let mut found = Choice::from(0);
        let mut place = 0_u32;
        for ((hash, _), index) in self.0.iter().zip(0_u32..) {
            let same = hash.as_bytes().ct_eq(given.as_bytes());
            place.conditional_assign(&index, same);
            found |= same;
        }
        if bool::from(found) { self.0.get(place as usize).map(|(_, actor)| actor) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bare_tokens() {
        let tokens = Tokens::parse("# who may\n\n alice: 0123456789abcdef0 \n fedcba9876543210 \n").unwrap();
        assert_eq!(tokens.actor("0123456789abcdef0").unwrap().as_str(), "alice");
        assert_eq!(tokens.actor("fedcba9876543210").unwrap().as_str(), ADMIN);
        assert!(tokens.actor("fedcba987654321").is_none());
        assert!(tokens.actor("").is_none());
    }

    #[test]
    fn a_wrong_line_is_named_but_not_its_token() {
        for (text, word) in [
            ("", "no token"),
            ("# only words", "no token"),
            ("ok:0123456789abcdef\nshort:secret", "line 2"),
            ("a.b:0123456789abcdef", "a.b"),
            ("manager:0123456789abcdef", "muster's own"),
            ("x:0123456789 abcdef", "line 1"),
        ] {
            let problem = Tokens::parse(text).unwrap_err();
            assert!(problem.contains(word) && !problem.contains("secret"), "{text}: {problem}");
        }
    }
}

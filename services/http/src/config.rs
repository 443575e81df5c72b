//! Where to listen, who may ask, and how much.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::tokens::Tokens;

/// A listener, as the command line describes it.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serve HTTPS with this certificate; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Who may ask; everybody, as `anonymous`, without.
    pub tokens: Option<Tokens>,
    /// Bind off loopback without token and TLS all the same.
    pub insecure: bool,
    /// The path that lists what is served, for who asks for something else; absent: none does.
    pub index: Option<&'static str>,
    /// How much.
    pub limits: Limits,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a request's body; 413 beyond.
    pub body_bytes: usize,
    /// Most bytes of a request's head, 8192 at least; 431 beyond.
    pub header_bytes: usize,
    /// Longest time a head may take to arrive, and longest idle time of a kept connection; closed beyond.
    pub header_read_timeout: Duration,
    /// Longest time a body may take to arrive; 408 beyond.
    pub body_read_timeout: Duration,
    /// Longest time until an answer begins; 504 beyond. Answers that stream may go on, and an execution is answered when
    /// it ends.
    pub request_timeout: Duration,
    /// Most connections at a time. Some more are taken and answered 503; beyond those, connections are closed.
    pub connections: usize,
    /// How long requests under way may still take once the listener is told to end; then they are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            header_bytes: 64 << 10,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            connections: 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It would be open to the network.
    #[error(
        "refusing to listen on {listen}: it is not a loopback address, and {missing}. Everybody who reaches it could run \
         programs on this cluster. Listen on 127.0.0.1, or give {remedy}, or say --insecure if the network itself \
         keeps others away"
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
        /// What is not there, in words.
        missing: &'static str,
        /// The options to add.
        remedy: &'static str,
    },
    /// The address cannot be had.
    #[error("cannot listen on {listen}: {source}. Is another program using it? Choose another with --listen")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// A token file cannot be used.
    #[error("token file {}: {problem}", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A certificate or key cannot be used.
    #[error("TLS file {}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The listener ended by itself.
    #[error("the HTTP listener on {listen} ended: {source}")]
    Ended {
        /// The address.
        listen: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
}

impl ListenConfig {
    /// A listener without TLS and tokens, and with the default limits.
    pub fn plain(listen: SocketAddr) -> Self {
        Self { listen, tls: None, tokens: None, insecure: false, index: None, limits: Limits::default() }
    }

    /// Refuses what would open the cluster to a network: binding off loopback needs a token and TLS, or `insecure`,
    /// which is said loudly.
    pub fn check(&self) -> Result<(), ListenError> {
        if self.listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let (missing, remedy) = match (&self.tokens, &self.tls) {
            (Some(_), Some(_)) => return Ok(()),
            (None, None) => (
                "neither a token nor TLS protects it",
                "--token-file FILE, --tls-cert FILE and --tls-key FILE",
            ),
            (None, Some(_)) => ("no token protects it", "--token-file FILE"),
            (Some(_), None) => {
                ("its tokens would cross the network in the clear", "--tls-cert FILE and --tls-key FILE")
            }
        };
        if self.insecure {
            tracing::warn!(
                listen = %self.listen,
                "INSECURE: listening beyond this machine although {missing}; whoever reaches this address can run programs here"
            );
            return Ok(());
        }
        Err(ListenError::Exposed { listen: self.listen, missing, remedy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str) -> ListenConfig {
        ListenConfig::plain(listen.parse().unwrap())
    }

    #[test]
    fn loopback_is_free() {
        for listen in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            at(listen).check().unwrap();
        }
    }

    #[test]
    fn elsewhere_needs_a_token_and_tls() {
        let tokens = Tokens::parse("t0ken-of-sixteen").unwrap();
        let tls = TlsFiles { cert: "c".into(), key: "k".into() };
        for listen in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1"] {
            let bare = at(listen);
            let text = bare.check().unwrap_err().to_string();
            assert!(
                text.contains("--token-file") && text.contains("--tls-cert") && text.contains("--insecure")
            );
            assert!(ListenConfig { tokens: Some(tokens.clone()), ..bare.clone() }.check().is_err());
            assert!(ListenConfig { tls: Some(tls.clone()), ..bare.clone() }.check().is_err());
            ListenConfig { tls: Some(tls.clone()), tokens: Some(tokens.clone()), ..bare.clone() }
                .check()
                .unwrap();
            ListenConfig { insecure: true, ..bare }.check().unwrap();
        }
    }
}

//! Who may ask what listens, and over what.

use std::net::SocketAddr;
use std::path::PathBuf;

use muster_http::{ListenConfig, TlsFiles, Tokens};

use crate::exit::Failure;

/// Options of everything that listens.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityArgs {
    /// Ask for a bearer token: a file with lines `name:token`, or a token alone for `admin`
    #[arg(long, env = "MUSTER_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Serve HTTPS with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listen beyond this machine without token and TLS all the same
    #[arg(long)]
    insecure: bool,
}

impl SecurityArgs {
    /// `http` or `https`.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }

    /// A listener at `listen`, not yet bound; one that would be open to a network is refused now.
    pub(crate) fn listener(&self, listen: SocketAddr) -> Result<ListenConfig, Failure> {
        let wrong = |e: muster_http::ListenError| Failure::usage(e.to_string());
        let tls = self.tls_cert.clone().zip(self.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key });
        let tokens = self.token_file.as_deref().map(Tokens::load).transpose().map_err(wrong)?;
        let config = ListenConfig { tls, tokens, insecure: self.insecure, ..ListenConfig::plain(listen) };
        config.check().map_err(wrong)?;
        Ok(config)
    }
}

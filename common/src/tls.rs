//! TLS towards NATS: whom this process trusts, and who it is.

use std::fs::File;
use std::path::PathBuf;

use async_nats::ConnectOptions;

/// The files of TLS; all may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that a server's certificate must come from, in place of those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// This process's own certificate and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Whoever names a file wants TLS: a server without it is refused.
    pub(crate) fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, String> {
        if let Some(ca) = &self.ca {
            readable("nats_ca", ca)?;
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = &self.identity {
            readable("nats_cert", certificate)?;
            readable("nats_key", key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        Ok(options)
    }
}

fn readable(setting: &str, path: &PathBuf) -> Result<(), String> {
    File::open(path).map(drop).map_err(|error| format!("{setting} {}: {error}", path.display()))
}

/// Whether a connection failed because one side does not take the other's certificate, or misses it: trying again does not help.
/// The client libraries have no kind of error for it.
pub(crate) fn is_about_certificates(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["certificate", "unknownca", "could not load", "private key"].iter().any(|words| reason.contains(words))
}

//! A bucket of an S3-compatible service. The service, its region and the credentials come from the usual `AWS_` variables.

use std::path::Path as FilePath;
use std::time::Duration;

use async_nats::rustls::crypto::ring;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, RetryConfig};

/// The service must begin to answer by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As long as an object of some hundred MB takes on a slow link.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Who asks tries again itself.
const RETRIES: usize = 1;

/// A bucket, and where in it: `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket; it must exist.
    pub name: String,
    /// What all keys in it begin with; may be empty.
    pub prefix: String,
}

impl Bucket {
    /// What follows `s3://`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let named = (3..=63).contains(&name.len()) && name.bytes().all(allowed);
        named.then(|| Self { name: name.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }

    /// Says nothing to the service yet: whether it answers is the first use's to find out.
    pub(super) fn open(&self) -> Result<PrefixStore<AmazonS3>, String> {
        // Whichever of two libraries opens the first TLS connection must find one; another may have been there before.
        let _ = ring::default_provider().install_default();
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: REQUEST_TIMEOUT, ..RetryConfig::default() };
        let client = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
        // From the environment last: AWS_ALLOW_HTTP and AWS_TIMEOUT are the client's.
        let mut builder =
            from_environment(AmazonS3Builder::new().with_client_options(client)).with_bucket_name(&self.name).with_retry(retry);
        if let Some(file) = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|file| !file.is_empty()) {
            let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned());
            let keys = read_keys(FilePath::new(&file), &profile)?;
            builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
            if let Some(token) = keys.token {
                builder = builder.with_token(token);
            }
        }
        Ok(PrefixStore::new(builder.build().map_err(|error| error.to_string())?, Path::from(self.prefix.as_str())))
    }
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.name, self.prefix)
    }
}

/// As `AmazonS3Builder::from_env`, over options that are there.
fn from_environment(mut builder: AmazonS3Builder) -> AmazonS3Builder {
    for (name, value) in std::env::vars().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()) {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

/// A profile of a credentials file, as AWS' own tools write it.
fn read_keys(file: &FilePath, profile: &str) -> Result<Keys, String> {
    let fail = |reason: &str| format!("AWS_SHARED_CREDENTIALS_FILE {}: {reason}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(&error.to_string()))?;
    let header = format!("[{profile}]");
    let lines = text.lines().map(str::trim).skip_while(|line| *line != header).skip(1);
    let entries = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    let (mut id, mut secret, mut token) = (None, None, None);
    for (key, value) in entries {
        let value = Some(value.trim().to_owned());
        match key.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Keys { id, secret, token }),
        _ => Err(fail(&format!("expected a profile {header} with aws_access_key_id and aws_secret_access_key"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_profile_that_is_named() {
        let file = std::env::temp_dir().join(format!("zisk-keys-{}", std::process::id()));
        std::fs::write(
            &file,
            "[default]\naws_access_key_id = one\naws_secret_access_key=two=2\n\n[other]\naws_access_key_id=three\n",
        )
        .unwrap();
        let keys = read_keys(&file, "default").unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token), ("one", "two=2", None));
        for profile in ["other", "none"] {
            let error = read_keys(&file, profile).err().unwrap();
            assert!(error.contains(profile) && !error.contains("three"), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(read_keys(&file, "default").err().unwrap().contains("AWS_SHARED_CREDENTIALS_FILE"));
    }
}

//! How far we get: name, port, TLS, login, version.

use zisk_common::bus::{Bus, BusConfig, ConnectError, MIN_SERVER_VERSION};
use zisk_common::survey::{Reached, reach};

use super::{Check, Part, Report};

/// Messages of large jobs come close to this; it is also nats-server's default.
const MAX_PAYLOAD: usize = 1 << 20;

const START: &str = "Start one (`zisk up` runs a whole cluster here; scripts/install-nats.sh fetches nats-server, `nats-server -js` runs \
                     it), or name another with --nats-url or ZISK_NATS_URL.";

/// Which of the servers can be reached at all. Of several, one that cannot is worth a warning.
pub(super) async fn servers(config: &BusConfig, report: &mut Report) -> Vec<Reached> {
    // A URL that cannot be read is what connecting says next.
    let reached = reach(&config.url).await.unwrap_or_default();
    if reached.iter().any(|server| server.obstacle.is_none()) {
        let missing: Vec<String> = reached.iter().filter_map(obstacle).collect();
        if !missing.is_empty() {
            let found = format!("{} of {} servers cannot be reached: {}", missing.len(), reached.len(), missing.join("; "));
            let advice = "The others are used meanwhile. Start it again, or take it out of the URL.";
            report.checks.push(Check::warning(Part::Nats, found, advice));
        }
    }
    reached
}

fn obstacle(server: &Reached) -> Option<String> {
    Some(format!("{}: {}", server.server, server.obstacle.as_ref()?))
}

/// Why there is no connection.
pub(super) fn refused(error: &ConnectError, reached: &[Reached]) -> Vec<Check> {
    let in_at = |url: &str| Check::ok(Part::Nats, format!("{url} answers"));
    let server = |version: &str| Check::ok(Part::Server, version);
    match error {
        ConnectError::Unreachable { url, reason } => {
            let obstacles: Vec<String> = reached.iter().filter_map(obstacle).collect();
            if obstacles.len() == reached.len() {
                let found = format!("no NATS server answers at {url}: {}", obstacles.join("; "));
                return vec![Check::failed(Part::Nats, found, START)];
            }
            let advice = "Check that this is the port of a nats-server, for clients, and that it is not stopped or overloaded: its log \
                          says more.";
            vec![Check::failed(Part::Nats, format!("something listens at {url} and gives no NATS connection: {reason}"), advice)]
        }
        ConnectError::Certificate { url, reason } => {
            let advice = "The server's certificate must be for this host name, unexpired, and from the authority in --nats-ca (ZISK_NATS_CA) \
                          or one that this machine trusts. Where the server asks for one, --nats-cert and --nats-key (ZISK_NATS_CERT, \
                          ZISK_NATS_KEY) are ours.";
            vec![Check::failed(Part::Nats, format!("something listens at {url} and there is no TLS with it: {reason}"), advice)]
        }
        ConnectError::Refused { url, who, reason } => {
            let advice = "Check user and password (ZISK_NATS_USER, ZISK_NATS_PASSWORD, or in the URL), or the credentials file \
                          (--nats-creds, ZISK_NATS_CREDS).";
            vec![Check::failed(Part::Nats, format!("the NATS server at {url} refuses {who}: {reason}"), advice)]
        }
        ConnectError::Configuration { url, reason } => {
            let advice = "Correct --nats-url (nats://HOST:PORT, several separated by commas) or --nats-creds.";
            vec![Check::failed(Part::Nats, format!("cannot connect to {url:?}: {reason}"), advice)]
        }
        ConnectError::ServerTooOld { url, name, version } => {
            let (major, minor) = MIN_SERVER_VERSION;
            let found = format!(
                "nats-server {version} ({name}), at least {major}.{minor} is needed: older ones lose acknowledged messages"
            );
            let advice = "Replace it: scripts/install-nats.sh fetches a newer one, which reads the same store.";
            vec![in_at(url), Check::failed(Part::Server, found, advice)]
        }
        ConnectError::Denied { url, who, reason } => {
            let advice = "Allow that user to publish on $JS.API.> and to subscribe to _INBOX.>, or come as another.";
            let found = format!("{who} may not use it: {reason}");
            vec![in_at(url), server("new enough"), Check::failed(Part::JetStream, found, advice)]
        }
        ConnectError::NoJetStream { url, reason } => {
            let advice = "Start the server with `-js` or a `jetstream` block, or enable JetStream for this account.";
            vec![in_at(url), server("new enough"), Check::failed(Part::JetStream, format!("there is none: {reason}"), advice)]
        }
    }
}

/// Where we got in, and what is there.
pub(super) fn connected(bus: &Bus, reached: &[Reached]) -> Vec<Check> {
    let info = bus.client().server_info();
    let mut found = format!("connected to {}", bus.config().url);
    if let Some(login) = &bus.config().login {
        found.push_str(&format!(" as {:?}", login.user));
    }
    if reached.len() > 1 {
        found.push_str(&format!(", at {}", info.server_name));
    }
    if let Some(cluster) = &info.cluster {
        found.push_str(&format!(", cluster {cluster}"));
    }
    let version = format!("nats-server {}", info.version);
    let server = match info.max_payload {
        small if small < MAX_PAYLOAD => Check::warning(
            Part::Server,
            format!("{version}, whose max_payload is {small} bytes"),
            format!("Raise max_payload to {MAX_PAYLOAD} or more: messages of large jobs are refused otherwise."),
        ),
        _ => Check::ok(Part::Server, version),
    };
    vec![Check::ok(Part::Nats, found), server]
}

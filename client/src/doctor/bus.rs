//! What is on the bus, how it is set, and what we may do there.

use zisk_common::bus::Bus;
use zisk_common::ids::{JobId, WorkerId};
use zisk_common::mark::MarkError;
use zisk_common::messages::BusCondition;
use zisk_common::objects::{Objects, ProbeError, StoreUrl};
use zisk_common::settings::Thing;
use zisk_common::subjects::{BucketKind, RequestKind, StreamKind};
use zisk_common::survey::{Access, Standing};

use super::{Check, Part};

/// What a client reads; how segments are and who aggregates is for coordinators and workers.
const READ: [BucketKind; 6] =
    [BucketKind::Jobs, BucketKind::Workers, BucketKind::Programs, BucketKind::Queue, BucketKind::Cluster, BucketKind::Leader];
/// Of JetStream's limit, from which a warning is due.
const NEARLY_FULL: f64 = 0.9;

/// Limits and room.
pub(super) async fn jetstream(bus: &Bus) -> Check {
    let account = match bus.jetstream().query_account().await {
        Ok(account) => account,
        Err(error) => return Check::failed(Part::JetStream, error.to_string(), "Look into the log of nats-server."),
    };
    let used = account.storage;
    let Some(limit) = account.limits.max_storage.and_then(|limit| u64::try_from(limit).ok()) else {
        let found = format!("{} stored, no limit on this account; the server's own is max_file_store", bytes(used));
        return Check::ok(Part::JetStream, found);
    };
    let found = format!("{} of {} stored", bytes(used), bytes(limit));
    match used as f64 >= limit as f64 * NEARLY_FULL {
        false => Check::ok(Part::JetStream, found),
        true => Check::warning(
            Part::JetStream,
            found,
            "Give the account more (max_file), or keep proofs and inputs for a shorter time (`[storage]` of the coordinator): jobs \
             are refused when it is full.",
        ),
    }
}

/// A server on which no cluster has ever been.
pub(super) fn nothing(bus: &Bus) -> [Check; 2] {
    let found = format!("there is nothing with the prefix {}", bus.prefix());
    let advice = "The first coordinator makes it all. If a cluster should be here, check --prefix (ZISK_PREFIX).";
    let start = "Start zisk-coordinator with the same --nats-url and --prefix.";
    [
        Check::warning(Part::Streams, found, advice),
        Check::failed(Part::Coordinator, "none has ever led here, and no job was ever submitted", start),
    ]
}

/// Streams, consumers and buckets.
pub(super) async fn streams(bus: &Bus, survey: &[(Thing, Standing)]) -> Check {
    let (mut missing, mut altered, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (thing, standing) in survey {
        let name = thing.name(bus);
        match standing {
            Standing::Set => {}
            Standing::Missing => missing.push(name),
            Standing::Altered(changes) => altered.push(format!("{name} ({})", changes.join(", "))),
            Standing::Unknown(reason) => unknown.push(format!("{name} ({reason})")),
        }
    }
    if !unknown.is_empty() {
        let advice = "Allow this user to publish on $JS.API.STREAM.INFO.* and $JS.API.CONSUMER.INFO.*.*, or see whether the servers \
                      are electing a leader and try again.";
        return Check::failed(Part::Streams, format!("cannot be looked at: {}", unknown.join("; ")), advice);
    }
    match stuck(bus).await {
        Ok(stuck) if !stuck.is_empty() => {
            let advice = "The server does not change this in place: back up what you need and delete it, and the coordinator makes it again.";
            return Check::failed(Part::Streams, stuck.join("; "), advice);
        }
        // A bucket that is missing is said below, one that may not be read is said by the permissions.
        _ => {}
    }
    let mut wrong = Vec::new();
    if !missing.is_empty() {
        wrong.push(format!("missing: {}", missing.join(", ")));
    }
    if !altered.is_empty() {
        wrong.push(format!("altered: {}", altered.join(", ")));
    }
    if !wrong.is_empty() {
        let advice = "A leading coordinator mends this within seconds: look again, and into its log if it stays so.";
        return Check::warning(Part::Streams, wrong.join("; "), advice);
    }
    bus.read_times().await;
    let copies = bus.copies(StreamKind::Requests).await.unwrap_or(1);
    let count = |is: fn(&Thing) -> bool| survey.iter().filter(|(thing, _)| is(thing)).count();
    let found = format!(
        "{} streams, {} consumers, {} buckets as they should be; replicas {copies}, ack_wait {} s, lease {} s",
        count(|thing| matches!(thing, Thing::Stream(_))),
        count(|thing| matches!(thing, Thing::Consumer(_))),
        count(|thing| matches!(thing, Thing::Bucket(_) | Thing::Objects)),
        bus.ack_wait().as_secs(),
        bus.lease().as_secs(),
    );
    Check::ok(Part::Streams, found)
}

/// What the leading coordinator says it cannot bring back.
async fn stuck(bus: &Bus) -> Result<Vec<String>, zisk_common::buckets::BucketError> {
    let entry = bus.bucket::<BusCondition>(BucketKind::Cluster).await?.get(BusCondition::KEY).await?;
    let stuck = entry.map(|entry| entry.value.stuck).unwrap_or_default();
    Ok(stuck.into_iter().map(|(name, what)| format!("{name}: {what}")).collect())
}

/// What a client does, tried without doing it.
pub(super) async fn permissions(bus: &Bus) -> Check {
    let prefix = bus.prefix();
    let mut tried: Vec<(String, Access)> = Vec::new();
    for &kind in RequestKind::ALL {
        tried.push((format!("submit {kind} jobs"), bus.may_publish(&prefix.request(kind)).await));
    }
    tried.push(("stream inputs".to_owned(), bus.may_publish(&prefix.input_chunk(JobId::random(), 0)).await));
    tried.push(("cancel jobs".to_owned(), bus.may_publish(&prefix.cancel(JobId::random())).await));
    tried.push(("follow events".to_owned(), bus.may_follow().await));
    for kind in READ {
        tried.push((format!("read the bucket {}", prefix.bucket(kind)), bus.may_read(kind).await));
    }
    let denied: Vec<String> = tried
        .iter()
        .filter_map(|(what, access)| match access {
            Access::Denied(words) => Some(format!("{what} ({words})")),
            Access::Granted | Access::Unknown(_) => None,
        })
        .collect();
    let unknown = tried.iter().filter(|(_, access)| matches!(access, Access::Unknown(_))).count();
    if !denied.is_empty() {
        let who = bus.config().login.as_ref().map_or_else(|| "this user".to_owned(), |login| format!("user {:?}", login.user));
        let advice =
            format!("Allow {who} the subjects named, in the permissions of nats-server's configuration, or come as another.");
        return Check::failed(Part::Permissions, format!("{who} may not {}", denied.join(", nor ")), advice);
    }
    let found = format!("may submit and cancel jobs, stream inputs, follow events, read {} buckets", READ.len());
    match unknown {
        0 => Check::ok(Part::Permissions, found),
        // Nothing was denied: what is not there cannot be tried.
        _ => Check::warning(
            Part::Permissions,
            format!("nothing is denied, but {unknown} of {} things could not be tried", tried.len()),
            "See streams: what is missing there has to be made first.",
        ),
    }
}

/// The object store.
pub(super) async fn objects(bus: &Bus, store: &StoreUrl) -> Check {
    const OTHER: &str = "Give client, coordinator and workers the same --object-store (ZISK_OBJECT_STORE).";
    // Opening would make it.
    let is_there = match store {
        StoreUrl::Directory(path) => path.is_dir(),
        StoreUrl::S3(_) => true,
        StoreUrl::JetStream => bus.standing(Thing::Objects).await != Standing::Missing,
    };
    if !is_there {
        let found = format!("{store} is not there");
        return match bus.store_mark().await {
            Ok(None) | Err(_) => Check::warning(Part::Objects, found, "The first coordinator that uses it makes it."),
            Ok(Some(_)) => Check::failed(Part::Objects, format!("{found}, and the cluster has a store"), OTHER),
        };
    }
    // A denied upload just gets no answer.
    let chunk = format!("$O.{}.C.doctor", bus.prefix().objects_bucket());
    if *store == StoreUrl::JetStream
        && let Access::Denied(words) = bus.may_publish(&chunk).await
    {
        let advice = "Allow this user to publish on $O.>, in the permissions of nats-server's configuration.";
        return Check::failed(Part::Objects, format!("{store}: nothing may be uploaded ({words})"), advice);
    }
    let objects = match Objects::open(store, bus).await {
        Ok(objects) => objects,
        Err(error) => return Check::failed(Part::Objects, error.to_string(), OTHER),
    };
    let room = match objects.takes_uploads(WorkerId::random()).await {
        Ok(room) => room,
        Err(error @ ProbeError::Silent) => {
            return Check::failed(Part::Objects, format!("{store}: {error}"), "Check the server or the mount behind it.");
        }
        Err(error) => {
            let advice = "Check who may write there: permissions of the directory, of the bucket's key, or of this user on $O.> and $JS.API.>.";
            return Check::failed(Part::Objects, format!("{store}: {error}"), advice);
        }
    };
    let mark = match bus.check_mark(&objects).await {
        Ok(mark) => mark,
        Err(error @ MarkError::OtherStore(_)) => {
            return Check::failed(Part::Objects, format!("{store}: {error}"), OTHER);
        }
        Err(error) => return Check::failed(Part::Objects, format!("{store}: {error}"), "Mend what is named, and look again."),
    };
    if !room {
        let advice = "Make room: let jobs end, raise max_file_store of nats-server or `[storage] max_object_bytes` of the coordinator, or \
                      keep proofs and inputs for a shorter time (`[storage]`). Uploads are taken again by themselves.";
        return Check::failed(Part::Objects, format!("{store} is full: it takes no uploads"), advice);
    }
    let tried = match store {
        StoreUrl::JetStream => "takes uploads",
        StoreUrl::Directory(_) | StoreUrl::S3(_) => "written, read, compared, deleted",
    };
    match mark {
        Some(_) => Check::ok(Part::Objects, format!("{store}: {tried}; it is the coordinator's")),
        None => Check::warning(
            Part::Objects,
            format!("{store}: {tried}; no coordinator has marked its own yet"),
            "Once a coordinator leads, look again whether it is the same store.",
        ),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

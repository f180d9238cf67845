//! The bus against a real nats-server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use zisk_common::bus::{Bus, BusConfig, ConnectError};
use zisk_common::follow::Broadcast;
use zisk_common::ids::{Digest, JobId, WorkerId};
use zisk_common::keep_alive::KeepAlive;
use zisk_common::messages::{
    ByteBuf, Cancel, Challenge, Event, EventBody, JobParams, JobRequest, Load, ObjectKey, ObjectRef, ObjectScope, ProgramEntry,
    ProgramKeys, Progress, Version, Versions, WorkerPresence, WorkerState, decode, unix_ms,
};
use zisk_common::objects::{JetStreamStore, ObjectError, Objects, StoreUrl};
use zisk_common::presence::Presence;
use zisk_common::subjects::{BucketKind, ConsumerKind, RequestKind, StreamKind, Subject};
use zisk_tests::NatsServer;

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

fn config(server: &NatsServer) -> BusConfig {
    BusConfig { url: server.url(), ack_wait: Duration::from_secs(2), lease: Duration::from_millis(1500), ..BusConfig::default() }
}

async fn connect(server: &NatsServer) -> Bus {
    connect_as(config(server)).await
}

async fn connect_as(config: BusConfig) -> Bus {
    let bus = Bus::connect(config).await.unwrap();
    bus.prepare().await.unwrap();
    bus
}

/// Where nothing is to come again but what is given back.
async fn connect_patiently(server: &NatsServer) -> Bus {
    connect_as(BusConfig { ack_wait: LONG, leader_lease: LONG, ..config(server) }).await
}

fn request() -> JobRequest {
    JobRequest {
        v: Version::default(),
        job: JobId::random(),
        program: Digest::of(b"elf"),
        input: None,
        input_stream: false,
        params: JobParams::default(),
        client: "test".to_owned(),
        metadata: Default::default(),
    }
}

fn challenge(job: JobId) -> Challenge {
    Challenge { v: Version::default(), job, challenge: ByteBuf::from(vec![7; 32]), segments: 3, round: 0 }
}

fn event(job: JobId, body: EventBody) -> Event {
    Event { v: Version::default(), job, at_ms: unix_ms(), progress: Progress::default(), metadata: Default::default(), body }
}

async fn publish(bus: &Bus) -> JobRequest {
    let request = request();
    bus.publish_request(RequestKind::Prove, &request).await.unwrap();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_created_by_many_at_once() {
    let server = NatsServer::start().unwrap();
    let buses = join_all((0..6).map(|_| Bus::connect(config(&server)))).await;
    let prepared = join_all(buses.iter().map(|bus| bus.as_ref().unwrap().prepare())).await;
    for outcome in prepared {
        outcome.unwrap();
    }
    let bus = buses[0].as_ref().unwrap();
    for &kind in StreamKind::ALL {
        let stream = bus.jetstream().get_stream(bus.prefix().stream(kind)).await.unwrap();
        assert_eq!(stream.cached_info().config.subjects, bus.prefix().stream_subjects(kind));
    }
    for &kind in ConsumerKind::ALL {
        let consumer: async_nats::jetstream::consumer::Consumer<pull::Config> =
            bus.jetstream().get_consumer_from_stream(kind.durable_name(), bus.prefix().stream(kind.stream())).await.unwrap();
        let info = &consumer.cached_info().config;
        assert_eq!((info.ack_wait, info.max_deliver), (Duration::from_secs(2), -1));
    }
    // Other settings on the next start are taken over, not refused.
    let longer = BusConfig { ack_wait: Duration::from_secs(9), ..config(&server) };
    Bus::connect(longer).await.unwrap().prepare().await.unwrap();
    // Who does not own them leaves them alone, and goes by them.
    let other = Bus::connect(config(&server)).await.unwrap();
    other.prepare_missing().await.unwrap();
    assert_eq!((other.ack_wait(), other.lease()), (Duration::from_secs(9), config(&server).lease));
}

#[tokio::test]
async fn a_message_id_is_stored_once() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let request = request();
    let first = bus.publish_request(RequestKind::Prove, &request).await.unwrap();
    let second = bus.publish_request(RequestKind::Prove, &request).await.unwrap();
    assert!(!first.duplicate && second.duplicate && first.sequence == second.sequence);
    assert_eq!(bus.queue_depth(ConsumerKind::Requests).await.unwrap().pending, 1);

    let error = bus.publish("zisk.v1.request.prove".to_owned(), "big", vec![0; 2 << 20].into()).await.unwrap_err();
    assert!(!error.transient, "{error}");
}

#[tokio::test]
async fn as_much_is_pulled_as_there_is_room_for() {
    let server = NatsServer::start().unwrap();
    let bus = connect_patiently(&server).await;
    let mut puller = bus.puller(ConsumerKind::Requests);
    let started = Instant::now();
    assert!(puller.fetch(3, SOON).await.is_empty());
    assert!(started.elapsed() < LONG / 2, "{:?}", started.elapsed());

    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(publish(&bus).await.job);
    }
    let taken = puller.fetch(3, LONG).await;
    assert_eq!(taken.len(), 3);
    let depth = bus.queue_depth(ConsumerKind::Requests).await.unwrap();
    assert_eq!((depth.pending, depth.in_flight), (2, 3));
    for (delivery, job) in taken.iter().zip(&sent) {
        assert_eq!(delivery.subject(), Ok(Subject::Request(RequestKind::Prove)));
        assert_eq!(decode::<JobRequest>(delivery.payload()).unwrap().job, *job);
        assert_eq!(delivery.delivered(), 1);
    }
    taken[0].ack().await.unwrap();
    taken[1].discard().await.unwrap();
    taken[2].nak(None).await.unwrap();
    let mut rest = puller.fetch(10, LONG).await;
    while rest.len() < 3 {
        rest.extend(puller.fetch(10, LONG).await);
    }
    assert_eq!(rest.iter().filter(|delivery| delivery.delivered() == 2).count(), 1);
    for delivery in &rest {
        delivery.ack().await.unwrap();
    }

    // One that waits gets the next at once; one that was dropped while waiting loses nothing.
    let waiting = tokio::time::timeout(SOON, puller.fetch(1, LONG)).await;
    assert!(waiting.is_err());
    let last = publish(&bus).await;
    let started = Instant::now();
    let taken = puller.fetch(1, LONG).await;
    assert_eq!(decode::<JobRequest>(taken[0].payload()).unwrap(), last);
    // What is lost comes again after `ack_wait`, for the second time.
    assert_eq!(taken[0].delivered(), 1, "{:?}", started.elapsed());
    taken[0].ack().await.unwrap();

    // One that was released leaves the next message to others.
    assert!(tokio::time::timeout(SOON, puller.fetch(1, LONG)).await.is_err());
    puller.release().await;
    publish(&bus).await;
    let taken = bus.puller(ConsumerKind::Requests).fetch(1, LONG).await;
    assert_eq!(taken[0].delivered(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pullers_never_share_a_message() {
    let server = NatsServer::start().unwrap();
    let bus = connect_patiently(&server).await;
    for _ in 0..200 {
        publish(&bus).await;
    }
    let count = Arc::new(AtomicUsize::new(0));
    let pull = |bus: Bus, count: Arc<AtomicUsize>| async move {
        let mut puller = bus.puller(ConsumerKind::Requests);
        while count.load(Ordering::SeqCst) < 200 {
            for delivery in puller.fetch(7, SOON).await {
                assert_eq!(delivery.delivered(), 1);
                count.fetch_add(1, Ordering::SeqCst);
                delivery.ack().await.unwrap();
            }
        }
    };
    tokio::join!(pull(bus.clone(), count.clone()), pull(bus.clone(), count.clone()), pull(bus, count.clone()));
    assert_eq!(count.load(Ordering::SeqCst), 200);
}

#[tokio::test]
async fn a_held_message_stays_while_every_core_is_busy() {
    let server = NatsServer::start().unwrap();
    // The shortest that a cluster has by default.
    let ack_wait = Duration::from_secs(5);
    let bus = connect_as(BusConfig { ack_wait, ..config(&server) }).await;
    publish(&bus).await;
    let keep_alive = KeepAlive::start(&bus).await.unwrap();
    let delivery = bus.puller(ConsumerKind::Requests).fetch(1, LONG).await.remove(0);
    let hold = keep_alive.hold(&delivery);

    let stop = Arc::new(AtomicBool::new(false));
    let cores = std::thread::available_parallelism().unwrap().get();
    let spinners: Vec<_> = (0..2 * cores)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut x = 1u64;
                while !stop.load(Ordering::Relaxed) {
                    x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                }
            })
        })
        .collect();
    // This test's own runtime is blocked, too, for four times ack_wait.
    std::thread::sleep(4 * ack_wait);
    let mut other = bus.puller(ConsumerKind::Requests);
    assert!(other.fetch(1, SOON).await.is_empty(), "the message went to another");
    stop.store(true, Ordering::Relaxed);
    for spinner in spinners {
        spinner.join().unwrap();
    }

    drop(hold);
    let again = other.fetch(1, LONG).await;
    assert_eq!(again[0].delivered(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_swap_one_wins() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let programs = bus.programs().await.unwrap();
    let program = Digest::of(b"elf");
    let key = ObjectRef { key: ObjectKey { scope: ObjectScope::Key, digest: program }, size: 1 };
    let entry = |milliseconds| ProgramEntry {
        v: Version::default(),
        program,
        backend: "test".to_owned(),
        keys: ProgramKeys { proving: key, verifying: key },
        verifying_key: ByteBuf::from(vec![1]),
        worker: WorkerId::random(),
        milliseconds,
    };
    assert!(programs.get(program).await.unwrap().is_none());
    let created = join_all((0..16).map(|n| {
        let (programs, entry) = (programs.clone(), entry(n));
        async move { programs.create(program, &entry).await }
    }))
    .await;
    assert_eq!(created.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(created.iter().all(|outcome| outcome.as_ref().err().is_none_or(|error| error.is_conflict())));

    let revision = programs.get(program).await.unwrap().unwrap().revision;
    let swapped = join_all((0..16).map(|n| {
        let (programs, entry) = (programs.clone(), entry(100 + n));
        async move { programs.update(program, &entry, revision).await }
    }))
    .await;
    assert_eq!(swapped.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(programs.keys().await.unwrap(), [program.to_string()]);
    assert_eq!(programs.entries().await.unwrap().len(), 1);

    programs.delete(program).await.unwrap();
    programs.delete(program).await.unwrap();
    assert!(programs.get(program).await.unwrap().is_none());
    programs.create(program, &entry(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_aggregator_is_replaced_with_a_higher_epoch() {
    let server = NatsServer::start().unwrap();
    let bus = connect_as(BusConfig { lease: Duration::from_secs(4), ..config(&server) }).await;
    let (alive, other) = (KeepAlive::start(&bus).await.unwrap(), KeepAlive::start(&bus).await.unwrap());
    let (job, first, second) = (JobId::random(), WorkerId::random(), WorkerId::random());
    let lease = bus.stand(&alive, job, first).await.unwrap().unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(bus.stand(&other, job, second).await.unwrap().is_none(), "taken from a living holder");
    }
    let holder = bus.holder(job).await.unwrap().unwrap();
    assert_eq!((holder.worker, holder.epoch), (first, lease.epoch()));
    assert!(!lease.is_lost());

    let epoch = lease.epoch();
    drop(lease);
    let deadline = Instant::now() + LONG;
    let taken = loop {
        if let Some(lease) = bus.stand(&other, job, second).await.unwrap() {
            break lease;
        }
        assert!(Instant::now() < deadline, "the lease never expired");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(taken.epoch() > epoch);

    // A resigned lease is free at once; a key that is removed is lost to its holder.
    taken.resign().await;
    let third = bus.stand(&alive, job, first).await.unwrap().unwrap();
    bus.close_election(job).await.unwrap();
    tokio::time::timeout(LONG, third.lost()).await.unwrap();
    assert!(third.is_lost() && bus.holder(job).await.unwrap().is_none());
}

#[tokio::test]
async fn a_worker_is_seen_while_it_lives() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let entry = |worker| WorkerPresence {
        v: Version::default(),
        worker,
        host: "here".to_owned(),
        capacity: 10,
        versions: Versions::default(),
        state: WorkerState::Idle,
        reason: None,
        load: Load::default(),
        started_ms: unix_ms(),
        seen_ms: 0,
    };
    let workers = bus.workers().await.unwrap();
    let keep_alive = KeepAlive::start(&bus).await.unwrap();
    let (leaving, dying) = (WorkerId::random(), WorkerId::random());
    workers.put(dying, &entry(dying)).await.unwrap(); // written once, never again
    let presence = Presence::start(&keep_alive, entry(leaving));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    presence.update(|entry| entry.state = WorkerState::Busy);
    let deadline = Instant::now() + LONG;
    loop {
        let seen: Vec<_> = workers.values().await.unwrap().into_iter().map(|entry| (entry.worker, entry.state)).collect();
        if seen == [(leaving, WorkerState::Busy)] {
            break;
        }
        assert!(Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    presence.leave().await;
    assert!(workers.values().await.unwrap().is_empty());
}

async fn check_objects(objects: &Objects, store: &dyn ObjectStore) {
    let job = JobId::random();
    let big: Bytes = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let small = objects.put(ObjectScope::Input, Bytes::from_static(b"input")).await.unwrap();
    let empty = objects.put(ObjectScope::Input, Bytes::new()).await.unwrap();
    let segment = objects.put(ObjectScope::Segment(job), big.clone()).await.unwrap();
    let node = objects.put(ObjectScope::Node(job), big.clone()).await.unwrap();
    assert_eq!(objects.get(small.key).await.unwrap(), "input");
    assert!(objects.get(empty.key).await.unwrap().is_empty());
    assert_eq!(objects.get(segment.key).await.unwrap(), big);
    assert_eq!(objects.head(node.key).await.unwrap(), Some(node));

    // The same bytes are not uploaded again.
    let path = Path::from(segment.key.to_string());
    let uploaded = store.head(&path).await.unwrap();
    assert_eq!(objects.put(ObjectScope::Segment(job), big.clone()).await.unwrap(), segment);
    assert!(store.head(&path).await.unwrap().last_modified >= uploaded.last_modified);
    assert_eq!(store.get_range(&path, 1_000_000..1_000_004).await.unwrap(), big[1_000_000..1_000_004]);
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("input"), Path::from("job")]);
    let copy = Path::from("copy/x");
    store.copy(&path, &copy).await.unwrap();
    assert_eq!(store.get(&copy).await.unwrap().bytes().await.unwrap(), big);
    store.delete(&copy).await.unwrap();

    // What is damaged is not handed out.
    store.put(&path, Bytes::from_static(b"damaged").into()).await.unwrap();
    let error = objects.get(segment.key).await.unwrap_err();
    assert!(matches!(error, ObjectError::Altered { bytes: 7, .. }), "{error}");

    assert_eq!(objects.delete_job(job).await.unwrap(), 2);
    assert_eq!(objects.delete_job(job).await.unwrap(), 0);
    assert!(matches!(objects.get(node.key).await, Err(ObjectError::NotFound { .. })));
    objects.delete(small.key).await.unwrap();
    objects.delete(small.key).await.unwrap();
    assert_eq!(objects.head(small.key).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_bucket() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let store = JetStreamStore::open(&bus).await.unwrap();
    let objects = Objects::open(&StoreUrl::JetStream, &bus).await.unwrap();
    check_objects(&objects, &store).await;

    // Chunks go with their objects: what is left are only the empty object's description.
    let name = format!("OBJ_{}", bus.prefix().objects_bucket());
    let stream = bus.jetstream().get_stream(name).await.unwrap();
    let bytes = stream.cached_info().state.bytes;
    assert!(bytes < 1_000, "{bytes} bytes left");

    // Other clients of NATS read what we write.
    let bucket = bus.jetstream().get_object_store(bus.prefix().objects_bucket()).await.unwrap();
    let payload = Bytes::from(vec![5u8; 1_500_000]);
    let object = objects.put(ObjectScope::Program, payload.clone()).await.unwrap();
    let mut read = Vec::new();
    let mut stream = bucket.get(object.key.to_string()).await.unwrap();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut read).await.unwrap();
    assert_eq!(read, payload);

    // By the server's clock: what was just renewed is not old; and of what is deleted nothing is left.
    let grace = Duration::from_secs(5);
    tokio::time::sleep(grace).await;
    assert!(objects.renew(object).await.unwrap());
    assert!(!objects.delete_old(object.key, grace).await.unwrap());
    tokio::time::sleep(grace).await;
    assert!(objects.delete_old(object.key, grace).await.unwrap());
    assert!(!objects.delete_old(object.key, grace).await.unwrap());
    assert_eq!(objects.head(object.key).await.unwrap(), None);
    // What another client deletes leaves a mark, and an upload that dies leaves chunks.
    objects.put(ObjectScope::Program, payload.clone()).await.unwrap();
    bucket.delete(object.key.to_string()).await.unwrap();
    let chunk = format!("$O.{}.C.died", bus.prefix().objects_bucket());
    bus.jetstream().publish(chunk, "half".into()).await.unwrap().await.unwrap();
    assert_eq!(objects.sweep_uploads(grace, 100).await.unwrap(), 0);
    tokio::time::sleep(grace).await;
    assert_eq!(objects.sweep_uploads(grace, 1).await.unwrap(), 1);
    assert_eq!(objects.sweep_uploads(grace, 100).await.unwrap(), 1);
    assert_eq!(objects.sweep_uploads(grace, 100).await.unwrap(), 0);
    assert_eq!(objects.list().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_description_of_an_object_breaks_nothing() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let objects = Objects::open(&StoreUrl::JetStream, &bus).await.unwrap();
    let payload = Bytes::from(vec![5u8; 1_500_000]);
    let object = objects.put(ObjectScope::Program, payload.clone()).await.unwrap();
    let bucket = bus.prefix().objects_bucket();
    let stream = bus.jetstream().get_stream(format!("OBJ_{bucket}")).await.unwrap();
    let true_one = stream.get_last_raw_message_by_subject(&format!("$O.{bucket}.M.>")).await.unwrap();
    let mut described: serde_json::Value = serde_json::from_slice(&true_one.payload).unwrap();
    let publish = async |subject: String, described: &serde_json::Value| {
        bus.jetstream().publish(subject, described.to_string().into()).await.unwrap().await.unwrap();
    };
    // More than any machine has: what is read is what there is.
    described["size"] = (1u64 << 62).into();
    publish(true_one.subject.to_string(), &described).await;
    let _outcome = objects.get(object).await;
    // A name that no object can have hides no other.
    described["name"] = "job//x/../".into();
    publish(format!("$O.{bucket}.M.am9iLy94Ly4uLw=="), &described).await;
    let listed = objects.list().await.unwrap();
    assert!(!listed.is_empty() && listed.iter().all(|stored| stored.key == object.key), "{listed:?}");
    objects.put(ObjectScope::Program, payload.clone()).await.unwrap();
    assert_eq!(objects.get(object).await.unwrap(), payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_directory() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let directory = server.directory().join("objects with space");
    let objects = Objects::open(&StoreUrl::Directory(directory.clone()), &bus).await.unwrap();
    let store = object_store::local::LocalFileSystem::new_with_prefix(&directory).unwrap();
    check_objects(&objects, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_after_the_server_was_killed() {
    let mut server = NatsServer::start().unwrap();
    // As in production: the outage is shorter than ack_wait, so what is held stays held.
    let bus = Bus::connect(BusConfig { ack_wait: Duration::from_secs(30), ..config(&server) }).await.unwrap();
    bus.prepare().await.unwrap();
    let job = JobId::random();
    bus.publish_event(&event(job, EventBody::Accepted { position: None })).await.unwrap();
    let objects = Objects::open(&StoreUrl::JetStream, &bus).await.unwrap();
    let object = objects.put(ObjectScope::Input, Bytes::from(vec![3u8; 700_000])).await.unwrap();
    let keep_alive = KeepAlive::start(&bus).await.unwrap();
    publish(&bus).await;
    let held = bus.puller(ConsumerKind::Requests).fetch(1, LONG).await.remove(0);
    let _hold = keep_alive.hold(&held);

    let mut events = bus.events(job);
    let mut broadcasts = bus.broadcasts();
    assert_eq!(events.next().await.unwrap().body, EventBody::Accepted { position: None });
    let puller_bus = bus.clone();
    let pulled = tokio::spawn(async move {
        let mut puller = puller_bus.puller(ConsumerKind::Requests);
        loop {
            if let Some(delivery) = puller.fetch(1, Duration::from_secs(60)).await.pop() {
                break delivery;
            }
        }
    });
    tokio::time::sleep(SOON).await;
    server.kill();
    let publisher = bus.clone();
    let published = tokio::spawn(async move { publish(&publisher).await });
    let reader = objects.clone();
    let read = tokio::spawn(async move { reader.get(object.key).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.restart().unwrap();
    let restarted = Instant::now();

    let request = tokio::time::timeout(LONG, published).await.unwrap().unwrap();
    let delivery = tokio::time::timeout(LONG, pulled).await.unwrap().unwrap();
    println!("published and pulled {:?} after the restart", restarted.elapsed());
    assert_eq!(decode::<JobRequest>(delivery.payload()).unwrap(), request);
    delivery.ack().await.unwrap();
    assert_eq!(tokio::time::timeout(LONG, read).await.unwrap().unwrap().unwrap().len(), 700_000);
    bus.broadcast_challenge(&challenge(job)).await.unwrap();
    let heard = tokio::time::timeout(LONG, broadcasts.next()).await.unwrap();
    assert_eq!(heard, Broadcast::Challenge(challenge(job)));
    bus.publish_event(&event(job, EventBody::Planned { n: 1 })).await.unwrap();
    let seen = tokio::time::timeout(LONG, events.next()).await.unwrap().unwrap();
    assert_eq!(seen.body, EventBody::Planned { n: 1 });
    held.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_comes_back() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let puller_bus = bus.clone();
    let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let pulled = tokio::spawn(async move {
        let mut puller = puller_bus.puller(ConsumerKind::Requests);
        for _ in 0..2 {
            let delivery = loop {
                if let Some(delivery) = puller.fetch(1, LONG).await.pop() {
                    break delivery;
                }
            };
            delivery.ack().await.unwrap();
            sender.send(()).unwrap();
        }
    });
    tokio::time::sleep(SOON).await;
    let stream = bus.prefix().stream(StreamKind::Requests);
    bus.jetstream().get_stream(&stream).await.unwrap().delete_consumer("coordinator").await.unwrap();
    publish(&bus).await;
    // Before the stream goes, and what is in it.
    tokio::time::timeout(LONG, taken.recv()).await.unwrap().unwrap();
    tokio::time::sleep(SOON).await;
    bus.jetstream().delete_stream(&stream).await.unwrap();
    publish(&bus).await;
    tokio::time::timeout(LONG, pulled).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_comes_late_hears_what_was_said() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let (job, other) = (JobId::random(), JobId::random());
    assert_eq!(bus.challenge(job).await.unwrap(), None);
    bus.broadcast_challenge(&challenge(job)).await.unwrap();
    bus.broadcast_challenge(&challenge(job)).await.unwrap();
    bus.broadcast_challenge(&challenge(other)).await.unwrap();
    assert_eq!(bus.challenge(job).await.unwrap(), Some(challenge(job)));
    let mut broadcasts = bus.broadcasts();
    assert_eq!(broadcasts.next().await, Broadcast::Challenge(challenge(job)));
    assert_eq!(broadcasts.next().await, Broadcast::Challenge(challenge(other)));
    assert!(tokio::time::timeout(SOON, broadcasts.next()).await.is_err());

    for n in 0..3 {
        bus.publish_event(&event(job, EventBody::Planned { n })).await.unwrap();
    }
    bus.publish_event(&event(other, EventBody::Planned { n: 9 })).await.unwrap();
    let mut events = bus.events(job);
    for n in 0..3 {
        assert_eq!(events.next().await.unwrap().body, EventBody::Planned { n });
    }
    assert_eq!(bus.purge(StreamKind::Events, &bus.prefix().events_of(job)).await.unwrap(), 3);
}

/// A job that is cancelled has ended a moment later, and what it left is purged.
#[tokio::test]
async fn a_cancellation_is_heard_though_it_is_gone_at_once() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let mut broadcasts = bus.broadcasts();
    let told = challenge(JobId::random());
    bus.broadcast_challenge(&told).await.unwrap();
    assert_eq!(broadcasts.next().await, Broadcast::Challenge(told), "it follows");
    for n in 0..50 {
        let cancel = Cancel::by_client(JobId::random());
        bus.broadcast_cancel(&cancel).await.unwrap();
        if n % 2 == 0 {
            bus.purge(StreamKind::Broadcast, &bus.prefix().cancel(cancel.job)).await.unwrap();
        }
        let heard = tokio::time::timeout(LONG, broadcasts.next()).await.unwrap();
        assert_eq!(heard, Broadcast::Cancel(cancel), "cancellation {n}, and the one before came once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broadcast_after_the_stream_was_made_again_is_heard() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    let mut broadcasts = bus.broadcasts();
    for _ in 0..3 {
        let challenge = challenge(JobId::random());
        bus.broadcast_challenge(&challenge).await.unwrap();
        assert_eq!(broadcasts.next().await, Broadcast::Challenge(challenge));
    }
    // One that follows all the time, and one that comes to it only after the stream was made again.
    let mut later = bus.broadcasts();
    for _ in 0..3 {
        later.next().await;
    }
    let following = tokio::spawn(async move { broadcasts.next().await });
    bus.jetstream().delete_stream(bus.prefix().stream(StreamKind::Broadcast)).await.unwrap();
    bus.prepare_missing_stream(StreamKind::Broadcast).await.unwrap();
    let challenge = challenge(JobId::random());
    bus.broadcast_challenge(&challenge).await.unwrap();
    let heard =
        [tokio::time::timeout(LONG, following).await.unwrap().unwrap(), tokio::time::timeout(LONG, later.next()).await.unwrap()];
    assert_eq!(heard, [Broadcast::Challenge(challenge.clone()), Broadcast::Challenge(challenge)]);
}

#[tokio::test]
async fn a_bus_that_will_not_do_is_refused_by_name() {
    let quick = |url: String| BusConfig { url, connect_wait: Duration::from_millis(500), ..BusConfig::default() };
    let error = Bus::connect(quick("nats://127.0.0.1:1".to_owned())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    let error = Bus::connect(quick("nats://no port:x".to_owned())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Configuration { .. }), "{error}");

    let old = NatsServer::start_version("2.10.26").unwrap();
    let error = Bus::connect(quick(old.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::ServerTooOld { .. }), "{error}");
    assert!(error.to_string().contains("2.10.26") && error.to_string().contains("2.11"), "{error}");

    let plain = NatsServer::start_without_jetstream().unwrap();
    let error = Bus::connect(quick(plain.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoJetStream { .. }), "{error}");
    assert!(error.to_string().contains("-js"), "{error}");
}

#[tokio::test]
async fn buckets_have_the_ages_that_expire_the_dead() {
    let server = NatsServer::start().unwrap();
    let bus = connect(&server).await;
    for &kind in BucketKind::ALL {
        let name = format!("KV_{}", bus.prefix().bucket(kind));
        let age = bus.jetstream().get_stream(name).await.unwrap().cached_info().config.max_age;
        let expected = match kind {
            BucketKind::Workers | BucketKind::Elections => bus.config().lease,
            BucketKind::Leader => bus.config().leader_lease,
            BucketKind::Jobs | BucketKind::Segments | BucketKind::Programs | BucketKind::Queue | BucketKind::Cluster => {
                Duration::ZERO
            }
        };
        assert_eq!(age, expected, "{kind:?}");
    }
}

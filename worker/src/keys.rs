//! Every setting of the worker, in one list: file, environment, flags, ranges, help and `--print-config` follow it.

use zisk_common::config::{Key, Kind, Program, Refused, bus_keys, log_keys};

/// The guide's flags that cannot do here what they are for.
const REFUSED: &[Refused] = &[
    Refused { flag: "gpu", short: Some('g'), value: None, reason: "this build proves on CPUs only" },
    Refused {
        flag: "max-streams",
        short: Some('t'),
        value: Some("N"),
        reason: "this build proves on CPUs only and has no GPU streams; --concurrency is the number of segments computed at once",
    },
    Refused {
        flag: "number-threads-witness",
        short: Some('n'),
        value: Some("N"),
        reason: "witnesses are computed by the same threads as proofs; RAYON_NUM_THREADS is the number of them all",
    },
    Refused {
        flag: "verify-constraints",
        short: None,
        value: None,
        reason: "workers check no constraints on their own: the proof is what checks them, and an aggregator verifies each before it is folded",
    },
    Refused {
        flag: "proving-key",
        short: None,
        value: Some("DIRECTORY"),
        reason: "there is no folder of proving keys: a program's keys are derived from its ELF by the first worker that needs them and kept in the object store",
    },
    Refused {
        flag: "elf",
        short: None,
        value: Some("FILE"),
        reason: "workers get programs with their assignments; `zisk setup --program FILE` prepares one for all workers",
    },
    Refused {
        flag: "shared-tables",
        short: None,
        value: None,
        reason: "each segment is proven with tables of its own: there are none to share",
    },
];

/// The binary.
pub fn program() -> Program {
    Program {
        name: "zisk-worker",
        about: "Proves segments for a ZisK cluster",
        version: env!("CARGO_PKG_VERSION"),
        variables: "ZISK_WORKER_",
        file: "worker.toml",
        second_file: None,
        keys: keys(),
        refused: REFUSED,
    }
}

fn keys() -> Vec<Key> {
    let mut keys = worker().to_vec();
    keys.extend(bus_keys(|field| match field {
        "nats_url" => Some("bus.nats_url"),
        "nats_creds" => Some("bus.nats_creds"),
        "nats_user" => Some("bus.nats_user"),
        "nats_password" => Some("bus.nats_password"),
        "nats_ca" => Some("bus.nats_ca"),
        "nats_cert" => Some("bus.nats_cert"),
        "nats_key" => Some("bus.nats_key"),
        "prefix" => Some("bus.prefix"),
        "replicas" => Some("bus.replicas"),
        "ack_wait_seconds" => Some("bus.ack_wait_seconds"),
        "lease_seconds" => Some("bus.lease_seconds"),
        "connect_seconds" => Some("bus.connect_seconds"),
        "object_store" => Some("bus.object_store"),
        _ => None,
    }));
    // connection.heartbeat_timeout_seconds is it.
    keys.iter_mut().filter(|key| key.name == "bus.ack_wait_seconds").for_each(|key| key.default = None);
    keys.extend(proving());
    keys.extend(log_keys());
    keys
}

fn worker() -> [Key; 6] {
    [
        Key::new(
            "worker.worker_id",
            Kind::Text(None),
            "Identity in logs: a UUID, or any name, from which one is derived; random when empty",
        )
        .default("")
        .flag("worker-id")
        .variables(&["ZISK_WORKER_ID"]),
        Key::new("worker.environment", Kind::OneOf(&["development", "production"]), "Where this worker runs")
            .default("development")
            .flag("environment")
            .variables(&["ZISK_WORKER_ENVIRONMENT"]),
        Key::new("worker.inputs_folder", Kind::Path, "Where the guide's worker writes inputs")
            .default("/var/lib/zisk-worker/inputs")
            .replaced("inputs are in the object store, and a worker keeps them in memory"),
        Key::number(
            "worker.shutdown_timeout_seconds",
            0,
            86_400,
            "0 to 86400 (a day)",
            "Seconds to finish what was begun after a signal to stop",
        )
        .default("30")
        .flag("shutdown-timeout-seconds")
        .variables(&["ZISK_WORKER_SHUTDOWN_TIMEOUT_SECONDS"]),
        Key::number("worker.compute_capacity.compute_units", 1, 4096, "1 to 4096", "Compute units this worker offers")
            .default("10")
            .flag("compute-capacity")
            .variables(&["ZISK_WORKER_COMPUTE_CAPACITY"]),
        Key::new(
            "coordinator.url",
            Kind::Url(None),
            "The NATS servers, in the guide's words: as bus.nats_url where it begins with nats:// or tls://, else without effect",
        )
        .default("http://127.0.0.1:50051")
        .flag("coordinator-url"),
    ]
}

fn proving() -> [Key; 9] {
    [
        Key::number(
            "connection.reconnect_interval_seconds",
            1,
            3600,
            "1 to 3600",
            "Pause between attempts to reach NATS at the start",
        )
        .default("5"),
        // Below 3 s a second's pause of the machine would cost a segment.
        Key::number(
            "connection.heartbeat_timeout_seconds",
            3,
            3600,
            "3 to 3600",
            "Seconds for which a silent worker keeps its assignments, unless bus.ack_wait_seconds says otherwise",
        )
        .default("30"),
        Key::number(
            "connection.store_full_wait_seconds",
            0,
            3600,
            "0 to 3600",
            "Seconds for which an upload waits for room in a full store before its attempt fails",
        )
        .default("60"),
        Key::number(
            "proving.concurrency",
            0,
            4096,
            "0 (as units, cores and memory allow) to 4096",
            "Segments computed at the same time; 0 is as many as units, cores and memory allow",
        )
        .default("0")
        .flag("concurrency")
        .variables(&["ZISK_WORKER_CONCURRENCY"]),
        Key::number(
            "proving.memory_gib",
            0,
            1 << 20,
            "0 (three quarters of what there is) to 1048576",
            "Memory the worker may use, GiB; 0 is three quarters of the machine's or the cgroup's",
        )
        .default("0")
        .flag("memory-gib")
        .variables(&["ZISK_WORKER_MEMORY_GIB"]),
        Key::number("proving.segment_memory_gib", 1, 1024, "1 to 1024", "Memory one segment takes while it is computed, GiB")
            .default("4"),
        Key::number("proving.programs_cached", 1, 1024, "1 to 1024", "Programs kept loaded").default("4"),
        Key::new("metrics.host", Kind::Text(None), "Listen address of /health, /ready and /metrics").default("0.0.0.0"),
        Key::port("metrics.port", "Port of /health, /ready and /metrics; without one there are none").flag("metrics-port"),
    ]
}

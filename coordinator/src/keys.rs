//! Every setting of the coordinator, in one list: file, environment, flags, ranges, help and `--print-config` follow it.

use zisk_common::config::{Key, Kind, Program, bus_keys, log_keys};

/// Ten years.
const KEPT: &str = "0 (for ever) to 315360000 (ten years)";
const YEARS: u64 = zisk_common::messages::MAX_RETENTION_SECONDS;
/// The most that TOML has.
const MOST: u64 = i64::MAX as u64;

const NO_API: &str = "clients reach the cluster through NATS, whose address is nats.url";
const NO_PORT: &str = "workers reach the cluster through NATS, whose address is nats.url";

/// The binary.
pub fn program() -> Program {
    Program {
        name: "zisk-coordinator",
        about: "Coordinates a ZisK cluster over NATS JetStream",
        version: env!("CARGO_PKG_VERSION"),
        variables: "ZISK_COORDINATOR_",
        file: "coordinator.toml",
        second_file: Some("coordinator.config_file"),
        keys: keys(),
        refused: &[],
    }
}

fn keys() -> Vec<Key> {
    let mut keys = service().to_vec();
    keys.extend(log_keys());
    keys.extend(bus_keys(|field| match field {
        "nats_url" => Some("nats.url"),
        "nats_creds" => Some("nats.credentials"),
        "nats_user" => Some("nats.user"),
        "nats_password" => Some("nats.password"),
        "nats_ca" => Some("nats.ca"),
        "nats_cert" => Some("nats.certificate"),
        "nats_key" => Some("nats.key"),
        "prefix" => Some("nats.prefix"),
        "replicas" => Some("nats.replicas"),
        "ack_wait_seconds" => Some("nats.ack_wait_seconds"),
        "lease_seconds" => Some("nats.lease_seconds"),
        "object_store" => Some("store.url"),
        _ => None,
    }));
    keys.extend(jobs());
    keys.extend(storage());
    keys
}

fn service() -> [Key; 12] {
    [
        Key::new("service.name", Kind::Text(None), "Shown in the log").default("ZisK Coordinator"),
        Key::new("service.environment", Kind::OneOf(&["development", "staging", "production"]), "Shown in the log")
            .default("development"),
        Key::new("server.host", Kind::Text(None), "Address of the guide's client API").default("0.0.0.0").replaced(NO_API),
        Key::port("server.port", "Port of the guide's client API")
            .default("7000")
            .flag("api-port")
            .variables(&["ZISK_COORDINATOR_API_PORT"])
            .replaced(NO_API),
        Key::number(
            "server.shutdown_timeout_seconds",
            0,
            86_400,
            "0 to 86400 (a day)",
            "Seconds to finish what is in hand after a signal, before a forced exit",
        )
        .default("30"),
        Key::number(
            "server.leader_lease_seconds",
            1,
            60,
            "1 to 60",
            "Seconds after which a leader that is silent is replaced by a coordinator that stands by",
        )
        .default("5"),
        Key::port("coordinator.port", "Port of the guide's API for workers")
            .default("50051")
            .flag("cluster-port")
            .variables(&["ZISK_COORDINATOR_CLUSTER_PORT"])
            .replaced(NO_PORT),
        Key::new(
            "coordinator.config_file",
            Kind::Path,
            "A second file of settings, for tuning: what it says goes over the first file",
        ),
        Key::new("metrics.enabled", Kind::Switch, "Whether /metrics shows anything; /health is there either way").default("true"),
        Key::new("metrics.host", Kind::Text(None), "Listen address of /health, /ready and /metrics").default("0.0.0.0"),
        Key::port("metrics.port", "Port of /health, /ready and /metrics; 0 picks a free one")
            .default("9090")
            .flag("metrics-port"),
        Key::new(
            "traces.endpoint",
            Kind::Url(Some(is_collector)),
            "OpenTelemetry collector that gets a trace of each job that has ended, by OTLP over HTTP",
        )
        .variables(&["OTEL_EXPORTER_OTLP_ENDPOINT"]),
    ]
}

fn is_collector(text: &str) -> Result<(), String> {
    match text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(()),
        false => Err("expected http://host:4318 or https://host".to_owned()),
    }
}

fn jobs() -> [Key; 10] {
    [
        Key::number("jobs.log_segment_steps", 10, 20, "10 to 20", "log2 of the steps of a segment, for jobs that do not say")
            .default("20"),
        Key::number(
            "jobs.max_steps",
            1,
            MOST,
            "1 to 2^63 - 1",
            "Steps after which a program is stopped, for jobs that do not say",
        )
        .default("17179869184"),
        Key::number(
            "jobs.timeout_seconds",
            1,
            YEARS,
            "1 to 315360000 (ten years)",
            "Seconds after which a job fails, for jobs that do not say",
        )
        .default("3600"),
        Key::number(
            "jobs.max_attempts",
            1,
            100,
            "1 to 100",
            "Failed attempts of one unit of work (a plan, a segment, an aggregation) after which a job fails",
        )
        .default("3"),
        Key::new(
            "jobs.verify_proofs",
            Kind::Switch,
            "Whether the coordinator verifies a job's final proof before the job counts as completed",
        )
        .default("true"),
        Key::number("dead.max_age_days", 1, 3650, "1 to 3650", "Days after which a dead letter goes").default("30"),
        Key::number("dead.max_entries", 10, 100_000, "10 to 100000", "Dead letters kept, the newest").default("1000"),
        Key::number(
            "queue.running_jobs",
            0,
            10_000,
            "0 (by compute units) to 10000",
            "Jobs that run at once; 0 is two more than the cluster has compute units, and at least four",
        )
        .default("0"),
        // The order of those that wait is one entry of a bucket, which must stay below the server's largest message.
        Key::number("queue.max_jobs", 1, 10_000, "1 to 10000", "Jobs that wait").default("10000"),
        Key::number("queue.max_bytes", 1, MOST, "1 to 2^63 - 1", "Bytes of their programs and inputs together")
            .default("17179869184"),
    ]
}

fn storage() -> [Key; 9] {
    [
        Key::number(
            "storage.proof_retention_seconds",
            0,
            YEARS,
            KEPT,
            "Seconds for which a job's proof is kept after its end, unless the job says",
        )
        .default("2592000"),
        Key::number(
            "storage.record_retention_seconds",
            0,
            YEARS,
            KEPT,
            "Seconds for which the record of a job that has ended is kept; longer while its proof is",
        )
        .default("2592000"),
        Key::number(
            "storage.input_retention_seconds",
            0,
            YEARS,
            KEPT,
            "Seconds for which an input is kept after it was last uploaded and the last job with it ended",
        )
        .default("604800"),
        Key::number(
            "storage.program_retention_seconds",
            0,
            YEARS,
            KEPT,
            "Seconds for which a program and its keys are kept, likewise",
        )
        .default("2592000"),
        Key::number(
            "storage.grace_seconds",
            1,
            604_800,
            "1 to 604800 (a week)",
            "Seconds for which whatever is in the store is left alone: longer than any upload takes",
        )
        .default("3600"),
        Key::number(
            "storage.sweep_seconds",
            1,
            86_400,
            "1 to 86400 (a day)",
            "Seconds from one look through the store to the next",
        )
        .default("600"),
        Key::number(
            "storage.reserve_bytes",
            0,
            1 << 30,
            "0 (none) to 1073741824 (1 GiB)",
            "Bytes in JetStream that are kept for what the coordinator must write when there is no other room",
        )
        .default("16777216"),
        Key::number(
            "storage.max_object_bytes",
            0,
            MOST,
            "0 (no limit) to 2^63 - 1",
            "Bytes that objects in JetStream may take; 0 is as many as there is room for",
        )
        .default("0"),
        Key::number(
            "storage.max_input_bytes",
            0,
            MOST,
            "0 (no limit) to 2^63 - 1",
            "Bytes of streamed inputs that are not whole yet, all together; 0 is as many as there is room for",
        )
        .default("1073741824"),
    ]
}

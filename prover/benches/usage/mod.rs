//! What this process has used; for the benchmarks here and in prover/recursion.

/// User and system CPU-seconds of this process, and its peak resident memory in GiB.
pub fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("name in parentheses");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: f64 = peak.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    (ticks / 100.0, kib / (1024.0 * 1024.0))
}

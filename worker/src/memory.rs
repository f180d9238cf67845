//! How much memory this process may use.

use std::fs;

/// The machine's memory, or the limit of this process's cgroup where that is lower, in bytes.
/// `None` where neither can be read.
pub fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    [machine, cgroup_limit()].into_iter().flatten().min()
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The lowest limit on the way from this process's cgroup (version 2) up to the root.
fn cgroup_limit() -> Option<u64> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    root.join(path)
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total() {
        assert_eq!(mem_total("MemTotal:       24512340 kB\nMemFree: 1 kB\n"), Some(24_512_340 * 1024));
        assert_eq!(mem_total("nonsense"), None);
    }
}

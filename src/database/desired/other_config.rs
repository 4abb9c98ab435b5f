//! Numbers and flags out of columns `other_config`, read as leniently as the peer reads them: what is
//! no number counts as not there.

use crate::bridge::config::SettingsConfig;
use crate::limits::THREADS_MAX;
use crate::ovsdb::replica::Row;

/// Least `stats-update-interval`, which is also the default, in milliseconds.
const STATS_INTERVAL_MIN_MS: u64 = 5000;

/// A flag that is off unless it says `true`.
pub fn boolean(row: &Row, key: &str) -> bool {
    row.key("other_config", key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A number that fits 32 bits, with or without sign.
pub fn int(row: &Row, column: &str, key: &str) -> Option<i32> {
    row.key(column, key)?.parse().ok()
}

fn unsigned(row: &Row, key: &str) -> Option<u32> {
    row.key("other_config", key)?.parse().ok()
}

/// The daemon's settings.
pub fn settings(root: &Row, restored: bool) -> SettingsConfig {
    let threads = |key| {
        let wanted = int(root, "other_config", key).filter(|n| *n > 0);
        wanted.and_then(|n| usize::try_from(n).ok())
    };
    let stats_ms = int(root, "other_config", "stats-update-interval");
    let stats_ms = stats_ms.and_then(|ms| u64::try_from(ms).ok());
    SettingsConfig {
        n_handler_threads: threads("n-handler-threads").map(|n| n.min(THREADS_MAX)),
        n_revalidator_threads: threads("n-revalidator-threads").map(|n| n.min(THREADS_MAX)),
        max_idle_ms: unsigned(root, "max-idle").map(u64::from),
        max_revalidator_ms: unsigned(root, "max-revalidator").map(u64::from),
        flow_limit: unsigned(root, "flow-limit").and_then(|n| n.try_into().ok()),
        // Less than 0 is no limit, as 0 is.
        vlan_limit: int(root, "other_config", "vlan-limit")
            .map(|limit| usize::try_from(limit).unwrap_or(0)),
        stats_update_interval_ms: stats_ms.map(|ms| ms.max(STATS_INTERVAL_MIN_MS)),
        flow_restore_wait: !restored && boolean(root, "flow-restore-wait"),
    }
}

/// Keys of the daemon's `other_config` that have no effect, of those that are there: they concern DPDK, the
/// user-space datapath, hardware offload or OpenFlow, or a revalidator of another build (ours looks at what changed
/// only).
pub fn ignored_settings(root: &Row) -> Vec<&str> {
    const IGNORED: [&str; 17] = [
        "bundle-idle-timeout",
        "emc-insert-inv-prob",
        "explicit-sampled-drops",
        "hw-offload",
        "hw-offload-priority",
        "min-revalidate-pps",
        "n-offload-threads",
        "offload-rebalance",
        "offloaded-stats-delay",
        "per-port-memory",
        "shared-mempool-config",
        "smc-enable",
        "tc-policy",
        "tx-flush-interval",
        "userspace-tso-enable",
        "vhost-iommu-support",
        "vhost-postcopy-support",
    ];
    let keys = root.map("other_config").map(|(key, _)| key);
    keys.filter(|key| {
        IGNORED.contains(key)
            || key.starts_with("dpdk-")
            || key.starts_with("pmd-")
            || *key == "vhost-sock-dir"
    })
    .collect()
}

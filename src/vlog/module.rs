//! The log modules, by the peer's names, and the levels and destinations a line is sorted by.
//!
//! What always holds: [`MODULES`] is sorted, so that a target string finds its module by binary
//! search and `vlog/list` needs no sorting. The names are those of a stock 3.1.0 daemon, in full,
//! so that `vlog/list` shows the same lines and every `vlog/set MODULE:...` that an operator has
//! in a script is accepted, whether or not we log under that name.

/// How grave a line is; also, as a threshold, which lines a destination takes.
///
/// `tracing` has five levels where the peer has five and "off": EMER is an ERROR event whose
/// name is `emer` (see [`crate::vlog::emer`]), DBG is DEBUG and TRACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// As a threshold: no line at all.
    Off,
    /// The process is about to end.
    Emer,
    /// An operation failed.
    Err,
    /// Something is odd and worth a look.
    Warn,
    /// Worth recording; the default threshold.
    Info,
    /// For someone who reads the source.
    Dbg,
}

impl Level {
    /// All levels, gravest first.
    pub const ALL: [Level; 6] =
        [Level::Off, Level::Emer, Level::Err, Level::Warn, Level::Info, Level::Dbg];

    /// The name as log lines and `vlog/list` show it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Off => "OFF",
            Level::Emer => "EMER",
            Level::Err => "ERR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Dbg => "DBG",
        }
    }

    /// The severity of RFC 5424 that the peer uses for this level (INFO is "notice").
    pub const fn syslog_severity(self) -> u8 {
        match self {
            Level::Off | Level::Emer => 1,
            Level::Err => 3,
            Level::Warn => 4,
            Level::Info => 5,
            Level::Dbg => 7,
        }
    }

    /// The level of that name, upper or lower case.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// The level of an event, from what `tracing` knows at its call site.
    pub fn of(metadata: &tracing::Metadata<'_>) -> Level {
        match *metadata.level() {
            tracing::Level::ERROR if metadata.name() == "emer" => Level::Emer,
            tracing::Level::ERROR => Level::Err,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Dbg,
        }
    }

    pub(super) const fn from_u8(value: u8) -> Level {
        match value {
            0 => Level::Off,
            1 => Level::Emer,
            2 => Level::Err,
            3 => Level::Warn,
            4 => Level::Info,
            _ => Level::Dbg,
        }
    }
}

/// Where lines go. The order is that of `vlog/list-pattern`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The system logger, by one of the methods of [`super::syslog::Method`].
    Syslog,
    /// Standard error.
    Console,
    /// The file of `--log-file`.
    File,
}

impl Destination {
    /// All destinations.
    pub const ALL: [Destination; 3] =
        [Destination::Syslog, Destination::Console, Destination::File];

    /// The name as `vlog/list-pattern` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Destination::Syslog => "SYSLOG",
            Destination::Console => "CONSOLE",
            Destination::File => "FILE",
        }
    }

    /// The pattern at start: the peer's.
    pub const fn default_pattern(self) -> &'static str {
        match self {
            Destination::Syslog => "ovs|%05N|%c%T|%p|%m",
            Destination::Console => "%D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c%T|%p|%m",
            Destination::File => "%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c%T|%p|%m",
        }
    }

    /// The destination of that name, upper or lower case.
    pub fn from_name(name: &str) -> Option<Destination> {
        Destination::ALL.into_iter().find(|dest| dest.name().eq_ignore_ascii_case(name))
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Destination::Syslog => 0,
            Destination::Console => 1,
            Destination::File => 2,
        }
    }
}

/// A log module: an index into [`MODULES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module(u16);

impl Module {
    /// All modules, in the order of their names.
    pub fn all() -> impl Iterator<Item = Module> {
        (0..MODULES.len() as u16).map(Module)
    }

    /// The name, such as `dpif`.
    pub fn name(self) -> &'static str {
        MODULES.get(self.index()).copied().unwrap_or_default()
    }

    /// The module of that name, upper or lower case, as an operator types it.
    pub fn from_name(name: &str) -> Option<Module> {
        let lower = name.to_ascii_lowercase();
        MODULES.binary_search(&lower.as_str()).ok().map(|at| Module(at as u16))
    }

    /// The module that an event's target stands for.
    ///
    /// A target is a module's name; of a Rust path the last segment counts (`rovs::bridge` is
    /// `bridge`); everything else is logged as `vswitchd`, so that no line is ever lost for want
    /// of a name.
    pub fn of_target(target: &str) -> Module {
        let last = target.rsplit("::").next().unwrap_or(target);
        match MODULES.binary_search(&last) {
            Ok(at) => Module(at as u16),
            Err(_) => Module(MODULES.len() as u16 - 1),
        }
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The names of all modules, sorted. `vswitchd` is the last.
#[rustfmt::skip]
pub const MODULES: &[&str] = &[
    "backtrace", "bfd", "bond", "bridge", "bundle", "bundles", "cfm", "collectors",
    "command_line", "connmgr", "conntrack", "conntrack_tp", "coverage", "ct_dpif", "daemon",
    "daemon_unix", "dns_resolve", "dpdk", "dpif", "dpif_lookup_autovalidator",
    "dpif_lookup_generic", "dpif_mfex_extract_study", "dpif_netdev", "dpif_netdev_extract",
    "dpif_netdev_impl", "dpif_netdev_lookup", "dpif_netlink", "dpif_netlink_rtnl", "entropy",
    "fail_open", "fatal_signal", "flow", "hmap", "in_band", "ipf", "ipfix", "jsonrpc", "lacp",
    "lldp", "lldpd", "lldpd_structs", "lockfile", "memory", "meta_flow", "native_tnl", "netdev",
    "netdev_afxdp", "netdev_dummy", "netdev_linux", "netdev_offload", "netdev_offload_tc",
    "netdev_vport", "netflow", "netlink", "netlink_conntrack", "netlink_notifier",
    "netlink_socket", "nx_match", "odp_execute", "odp_execute_impl", "odp_util", "ofp_actions",
    "ofp_bundle", "ofp_connection", "ofp_errors", "ofp_flow", "ofp_group", "ofp_match",
    "ofp_meter", "ofp_monitor", "ofp_msgs", "ofp_packet", "ofp_port", "ofp_protocol", "ofp_queue",
    "ofp_table", "ofp_util", "ofproto", "ofproto_dpif", "ofproto_dpif_mirror",
    "ofproto_dpif_monitor", "ofproto_dpif_rid", "ofproto_dpif_upcall", "ofproto_dpif_xlate",
    "ofproto_xlate_cache", "ovs_lldp", "ovs_numa", "ovs_rcu", "ovs_replay", "ovs_router",
    "ovs_thread", "ovsdb_cs", "ovsdb_error", "ovsdb_idl", "ox_stat", "pcap", "pmd_perf",
    "poll_loop", "process", "rconn", "reconnect", "route_table", "rstp", "rstp_sm", "sflow",
    "sha1", "signals", "socket_util", "socket_util_unix", "stp", "stream", "stream_fd",
    "stream_replay", "stream_ssl", "stream_tcp", "stream_unix", "svec", "system_stats", "tc",
    "timeval", "tunnel", "unixctl", "userspace_tso", "util", "uuid", "vconn", "vconn_stream",
    "vlog", "vswitchd",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_the_fallback_is_last() {
        assert!(MODULES.is_sorted());
        assert_eq!(MODULES.last(), Some(&"vswitchd"));
        assert_eq!(Module::of_target("mio::poll").name(), "vswitchd");
        assert_eq!(Module::of_target("rovs::bridge").name(), "bridge");
        assert_eq!(Module::of_target("dpif_netlink").name(), "dpif_netlink");
        assert_eq!(Module::from_name("DPIF").map(Module::name), Some("dpif"));
        assert_eq!(Module::from_name("nonexistent"), None);
    }

    #[test]
    fn emer_is_an_error_event_of_that_name() {
        assert_eq!(Level::from_name("Warn"), Some(Level::Warn));
        assert_eq!(Level::from_name("warning"), None);
        for level in Level::ALL {
            assert_eq!(Level::from_u8(level as u8), level);
        }
    }
}

//! Network namespaces, each the far side of one switch port.
//!
//! [`Host`] number n is namespace `hN` with `eth0` (MAC 02:00:00:00:00:0N, 10.0.0.N/24 and
//! fd00::N/64 when asked for) whose veth partner `vN` stays outside, ready to be a port.

use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};

use super::run;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A namespace and its cable. Dropping it removes both.
pub struct Host {
    n: u8,
    /// Name of the namespace.
    pub ns: String,
    /// Name of the cable's other end, outside.
    pub port: String,
}

impl Host {
    /// Host `n` (1 to 250) without addresses: it says nothing of its own accord.
    pub fn silent(n: u8) -> Self {
        let (ns, port) = (format!("h{n}"), format!("v{n}"));
        run(&["ip", "netns", "add", &ns]);
        let host = Self { n, ns, port };
        host.exec(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
        host.exec(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        let outer = format!("02:00:00:00:01:{n:02x}");
        let inner = text(host.mac());
        let (ns, port) = (host.ns.as_str(), host.port.as_str());
        run(&[
            "ip", "link", "add", port, "address", &outer, "type", "veth", "peer", "name", "eth0",
            "address", &inner, "netns", ns,
        ]);
        run(&["ip", "link", "set", port, "up"]);
        host.exec(&["ip", "link", "set", "lo", "up"]);
        host.exec(&["ip", "link", "set", "eth0", "up"]);
        host
    }

    /// Host `n` with 10.0.0.n/24 and fd00::n/64, no address detection.
    pub fn new(n: u8) -> Self {
        let host = Self::silent(n);
        host.exec(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"]);
        host.exec(&["sysctl", "-qw", "net.ipv6.conf.eth0.router_solicitations=0"]);
        host.exec(&["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"]);
        host.exec(&["ip", "addr", "add", &format!("{}/24", host.ipv4()), "dev", "eth0"]);
        host.exec(&["ip", "addr", "add", &format!("{}/64", host.ipv6()), "dev", "eth0", "nodad"]);
        host
    }

    /// Host `n` with 10.0.0.n/24 only.
    pub fn ipv4_only(n: u8) -> Self {
        let host = Self::silent(n);
        host.exec(&["ip", "addr", "add", &format!("{}/24", host.ipv4()), "dev", "eth0"]);
        host
    }

    /// MAC address of `eth0`.
    pub fn mac(&self) -> Mac {
        [2, 0, 0, 0, 0, self.n]
    }

    /// IPv4 address of `eth0`, without prefix length.
    pub fn ipv4(&self) -> String {
        format!("10.0.0.{}", self.n)
    }

    /// IPv6 address of `eth0`, without prefix length.
    pub fn ipv6(&self) -> String {
        format!("fd00::{:x}", self.n)
    }

    /// Runs a program in the namespace; panics unless it succeeds.
    pub fn exec(&self, argv: &[&str]) -> String {
        run(&self.argv(argv))
    }

    /// The command line that runs `argv` in the namespace.
    pub fn argv<'a>(&'a self, argv: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["ip", "netns", "exec", self.ns.as_str()];
        all.extend_from_slice(argv);
        all
    }

    /// Runs `work` on a thread of its own inside the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from("/run/netns").join(&self.ns);
        std::thread::scope(|s| {
            s.spawn(|| {
                let file = std::fs::File::open(&path).expect("namespace is there");
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("may enter the namespace");
                work()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = super::attempt(&["ip", "link", "del", &self.port]);
        let _ = super::attempt(&["ip", "netns", "del", &self.ns]);
    }
}

/// `02:00:…`, as the tools write it.
pub fn text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

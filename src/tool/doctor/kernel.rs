//! The kernel's side: its release, the openvswitch module, limits.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use ovs_netlink::Families;
use ovs_netlink::family::FamilyError;

use super::Finding;
use crate::limits::UPCALL_RCVBUF_BYTES;

/// Looks at the kernel.
pub(super) fn examine() -> Vec<Finding> {
    let release = read("/proc/sys/kernel/osrelease");
    let mut findings = vec![version(&release)];
    findings.push(match Families::resolve() {
        Ok(families) => families_there(families.meter.is_some(), families.ct_limit.is_some()),
        Err(FamilyError::Missing { name }) => {
            families_missing(name, &ModuleFacts::gather(&release))
        }
        Err(other) => Finding::missing(
            "openvswitch",
            other.to_string(),
            "generic netlink must be allowed here: a sandbox or seccomp filter may forbid it",
        ),
    });
    findings.push(receive_buffer(
        read("/proc/sys/net/core/rmem_max").parse().ok(),
        caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN)
            .unwrap_or(false),
    ));
    findings.push(open_files(getrlimit(Resource::RLIMIT_NOFILE).ok(), cpus()));
    findings
}

/// A file's text without white space at its ends; empty if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn version(release: &str) -> Finding {
    let check = "kernel";
    match numbers(release) {
        Some(numbers) if numbers >= (5, 15) => Finding::ok(check, format!("Linux {release}")),
        Some(_) => Finding::note(
            check,
            format!("Linux {release} cannot dispatch upcalls by CPU"),
            "5.15 or later can; until then they are dispatched by port",
        ),
        None => Finding::note(
            check,
            format!("unknown release {release:?}"),
            "is /proc mounted? a Linux kernel of 5.15 or later is wanted",
        ),
    }
}

fn families_there(meter: bool, ct_limit: bool) -> Finding {
    let check = "openvswitch";
    let absent: Vec<&str> = [(meter, "ovs_meter"), (ct_limit, "ovs_ct_limit")]
        .iter()
        .filter(|(there, _)| !there)
        .map(|(_, name)| *name)
        .collect();
    if absent.is_empty() {
        return Finding::ok(check, "the kernel has all six netlink families of the module");
    }
    Finding::note(
        check,
        format!("the kernel has the module without {}", absent.join(" and ")),
        "meters or connection limits will not work; a kernel with CONFIG_NETFILTER_CONNCOUNT has both",
    )
}

/// What is known about the module on a machine where it is not loaded.
#[derive(Clone, Debug, Default)]
struct ModuleFacts {
    release: String,
    /// The kernel says that it has it.
    in_sys: bool,
    /// The distribution's list of modules names it.
    on_disk: bool,
    /// The kernel loads modules at all.
    loads_modules: bool,
    /// We are in a container, as far as one can tell.
    in_container: bool,
}

impl ModuleFacts {
    fn gather(release: &str) -> Self {
        let list = |name: &str| read(&format!("/lib/modules/{release}/{name}"));
        let named = |text: String| text.contains("/openvswitch.ko");
        Self {
            release: release.to_owned(),
            in_sys: Path::new("/sys/module/openvswitch").exists(),
            on_disk: named(list("modules.dep")) || named(list("modules.builtin")),
            loads_modules: Path::new("/proc/modules").exists()
                && read("/proc/sys/kernel/modules_disabled") != "1",
            in_container: ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|path| Path::new(path).exists())
                || std::env::var_os("container").is_some(),
        }
    }
}

fn families_missing(name: &str, facts: &ModuleFacts) -> Finding {
    let release = &facts.release;
    let found = format!("the kernel has no netlink family {name}");
    let remedy = if facts.in_sys {
        "the module is loaded but does not serve this network namespace: run in one that it serves"
            .to_owned()
    } else if !facts.loads_modules {
        format!("this kernel ({release}) loads no modules: boot one that has openvswitch")
    } else if facts.in_container {
        "on the host (a container shares its kernel), run \"modprobe openvswitch\"".to_owned()
    } else if facts.on_disk {
        "run \"modprobe openvswitch\"".to_owned()
    } else {
        format!(
            "no openvswitch module is installed for Linux {release}: install the distribution's \
             kernel (Debian: linux-image-amd64; Ubuntu: linux-modules-extra-{release}), then run \
             \"modprobe openvswitch\""
        )
    };
    Finding::missing("openvswitch", found, remedy)
}

fn receive_buffer(rmem_max: Option<u64>, net_admin: bool) -> Finding {
    let (check, wanted) = ("receive buffers", UPCALL_RCVBUF_BYTES);
    match rmem_max {
        _ if net_admin => {
            Finding::ok(check, format!("{wanted} bytes for each handler, whatever the limit"))
        }
        Some(max) if max < wanted as u64 => Finding::note(
            check,
            format!("net.core.rmem_max is {max}, a handler wants {wanted}"),
            format!("run \"sysctl -w net.core.rmem_max={wanted}\", or run with CAP_NET_ADMIN"),
        ),
        Some(max) => Finding::ok(check, format!("net.core.rmem_max is {max}")),
        None => Finding::ok(check, "net.core.rmem_max is not told here"),
    }
}

/// Descriptors: a few for each CPU, one for each client, some for devices.
fn open_files(limit: Option<(u64, u64)>, cpus: usize) -> Finding {
    let (check, wanted) = ("open files", 256 + 8 * cpus as u64);
    match limit {
        Some((soft, hard)) if soft < wanted => Finding::missing(
            check,
            format!("the limit is {soft}, {cpus} CPUs want {wanted}"),
            if hard >= wanted {
                format!("run \"ulimit -n {wanted}\" first, or set LimitNOFILE= in the unit")
            } else {
                "set LimitNOFILE= in the unit, or a higher limit in /etc/security/limits.conf"
                    .to_owned()
            },
        ),
        Some((soft, _)) => Finding::ok(check, format!("the limit is {soft}")),
        None => Finding::ok(check, "the limit is not told here"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(numbers("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(numbers("5.10"), Some((5, 10)));
        assert_eq!(numbers(""), None);
        assert_eq!(version("6.12.6").status, Status::Ok);
        assert_eq!(version("5.10.0").status, Status::Note);
        assert_eq!(version("4.19.0").status, Status::Note);
    }

    #[test]
    fn the_remedy_for_a_missing_module_fits_the_machine() {
        let facts = |change: fn(&mut ModuleFacts)| {
            let mut facts =
                ModuleFacts { release: "6.1".into(), loads_modules: true, ..Default::default() };
            change(&mut facts);
            families_missing("ovs_flow", &facts).remedy.expect("a remedy")
        };
        assert!(facts(|_| {}).contains("linux-image"));
        assert_eq!(facts(|f| f.on_disk = true), "run \"modprobe openvswitch\"");
        assert!(facts(|f| (f.on_disk, f.in_container) = (true, true)).contains("on the host"));
        assert!(facts(|f| f.loads_modules = false).contains("loads no modules"));
        assert!(facts(|f| f.in_sys = true).contains("network namespace"));
    }

    #[test]
    fn limits_that_are_too_low() {
        assert_eq!(receive_buffer(Some(212_992), false).status, Status::Note);
        assert_eq!(receive_buffer(Some(212_992), true).status, Status::Ok);
        assert_eq!(open_files(Some((64, 64)), 2).status, Status::Missing);
        assert_eq!(open_files(Some((1024, 1024)), 2).status, Status::Ok);
        assert!(families_there(true, true).remedy.is_none());
        assert!(families_there(true, false).found.contains("ovs_ct_limit"));
    }
}

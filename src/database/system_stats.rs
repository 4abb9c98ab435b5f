//! `Open_vSwitch.statistics`, for those who set `other_config:enable-statistics`: CPUs, load, memory, file
//! systems and the daemons of Open vSwitch on this machine.
//!
//! What always holds: a thread of its own asks for them, every five seconds, since a file system that
//! hangs makes whoever asks for its size hang; a figure that cannot be had is left out. Our own pidfile
//! is never opened: closing it would let go of its lock.
//!
//! Source: ovs-vswitchd.conf.db(5), "Statistics"; proc(5).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::statvfs::statvfs;

use crate::daemon::pidfile;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Kernel ticks a second, as programs see them, on all machines but old ones.
const TICK_MS: u64 = 10;

/// The figures by name, as the column holds them.
pub type Figures = BTreeMap<String, String>;

/// Where daemons' pidfiles are.
#[derive(Clone, Debug)]
pub struct Pidfiles {
    /// The directory.
    pub dir: PathBuf,
    /// Ours, which may be elsewhere.
    pub ours: Option<PathBuf>,
}

/// See the module's page. Dropping it ends its thread, which is not waited for.
#[derive(Debug)]
pub struct SystemStats {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Figures>,
    has_ended: bool,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SystemStats {
    /// Begins to look.
    pub fn start(pidfiles: Pidfiles) -> Self {
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("system_stats".to_owned());
        let started = thread.spawn(move || {
            let (state, ended) = &*theirs;
            loop {
                let figures = look(&pidfiles);
                let mut state = lock(state);
                state.latest = Some(figures);
                let waited = ended.wait_timeout_while(state, INTERVAL, |state| !state.has_ended);
                let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if state.has_ended {
                    return;
                }
            }
        });
        if let Err(error) = started {
            tracing::warn!(target: "system_stats", "no thread for statistics: {error}");
        }
        Self { shared }
    }

    /// The last figures; `None` before the first.
    pub fn latest(&self) -> Option<Figures> {
        lock(&self.shared.0).latest.clone()
    }
}

impl Drop for SystemStats {
    fn drop(&mut self) {
        lock(&self.shared.0).has_ended = true;
        self.shared.1.notify_all();
    }
}

fn look(pidfiles: &Pidfiles) -> Figures {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut figures = Figures::new();
    if let Ok(cpus) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) {
        let count = nix::sched::CpuSet::count();
        let count = (0..count).filter(|cpu| cpus.is_set(*cpu).unwrap_or(false)).count();
        figures.insert("cpu".to_owned(), count.to_string());
    }
    let all = [
        ("load_average", load_average(&read("/proc/loadavg"))),
        ("memory", memory(&read("/proc/meminfo"))),
        ("file_systems", file_systems(&read("/proc/self/mounts"), size_of_file_system)),
    ];
    for (name, figure) in all {
        figures.extend(figure.map(|figure| (name.to_owned(), figure)));
    }
    figures.extend(daemons(pidfiles));
    figures
}

/// The three averages out of `/proc/loadavg`.
fn load_average(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let three = [words.next()?, words.next()?, words.next()?];
    Some(three.join(","))
}

/// Memory in all, in use, in caches, swap in all and in use, in KiB, out of `/proc/meminfo`.
fn memory(text: &str) -> Option<String> {
    let of = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| *key == name)?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let or_none = |name| of(name).unwrap_or(0);
    let total = of("MemTotal")?;
    let used = total.saturating_sub(or_none("MemFree"));
    let cache = or_none("Buffers") + or_none("Cached");
    let swap = or_none("SwapTotal");
    let swap_used = swap.saturating_sub(or_none("SwapFree"));
    Some(format!("{total},{used},{cache},{swap},{swap_used}"))
}

/// Size and use in KiB of the file systems in `mounts`, which is as in fstab(5), that are on a device
/// of this machine and can be written to.
fn file_systems(mounts: &str, size: impl Fn(&Path) -> Option<(u64, u64)>) -> Option<String> {
    let local = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, _, options) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let is_local = device.starts_with("/dev") && options.split(',').any(|o| o == "rw");
        if !is_local {
            return None;
        }
        let place = unescaped(place);
        let (total, used) = size(Path::new(&place))?;
        Some(format!("{},{total},{used}", place.replace([' ', ','], "_")))
    });
    let local: Vec<String> = local.collect();
    (!local.is_empty()).then(|| local.join(" "))
}

/// A field of fstab(5): blanks and the like are octal numbers.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

fn size_of_file_system(place: &Path) -> Option<(u64, u64)> {
    let size = statvfs(place).ok()?;
    let kib = |blocks: u64| size.fragment_size().saturating_mul(blocks) / 1024;
    let total = kib(size.blocks());
    Some((total, total.saturating_sub(kib(size.blocks_free()))))
}

/// `process_NAME` for each NAME.pid; without figures where the process cannot be looked at.
fn daemons(pidfiles: &Pidfiles) -> Vec<(String, String)> {
    let identity = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        meta.is_file().then(|| (meta.dev(), meta.ino()))
    };
    let ours = pidfiles.ours.as_deref().and_then(identity);
    let Ok(entries) = std::fs::read_dir(&pidfiles.dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = paths.filter(|path| path.extension().is_some_and(|end| end == "pid"));
    let found = named.filter_map(|path| {
        let pid = match identity(&path)? {
            it if Some(it) == ours => std::process::id(),
            _ => pidfile::read(&path).ok()?,
        };
        let name = path.file_stem()?.to_string_lossy().into_owned();
        Some((format!("process_{name}"), process(pid).unwrap_or_default()))
    });
    found.collect()
}

/// Size and resident size in KiB, CPU time in ms, crashes, ms since the first start and since the last,
/// and the CPU it was last on.
fn process(pid: u32) -> Option<String> {
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let system = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let own = ProcessStat::parse(&read(pid, "stat")?)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis();
    let now_ms = u64::try_from(now_ms).ok()?;
    let boot_ms = boot_time_s(&system)?.saturating_mul(1000);
    let age_ms = |stat: &ProcessStat| now_ms.saturating_sub(boot_ms + stat.started * TICK_MS);
    let monitor = read(own.parent, "stat").and_then(|text| ProcessStat::parse(&text));
    let monitor = monitor.filter(|monitor| own.parent != 0 && monitor.name == own.name);
    let crashes = monitor.as_ref().and_then(|_| crashes(&read(own.parent, "cmdline")?));
    let booted = age_ms(monitor.as_ref().unwrap_or(&own));
    let page_kib = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let page_kib = u64::try_from(page_kib.unwrap_or(4096)).ok()? / 1024;
    let ProcessStat { bytes, pages, ticks, cpu, .. } = own;
    let (vsz, rss, cpu_ms) = (bytes / 1024, pages * page_kib, ticks * TICK_MS);
    let crashes = crashes.unwrap_or(0);
    Some(format!("{vsz},{rss},{cpu_ms},{crashes},{booted},{},{cpu}", age_ms(&own)))
}

fn boot_time_s(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The number behind the first bracket of a monitor's title, as in `monitoring pid 7 (2 crashes: ...)`.
fn crashes(title: &str) -> Option<u64> {
    let (_, rest) = title.split_once('(')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

/// Fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    name: String,
    parent: u32,
    /// CPU time in ticks.
    ticks: u64,
    /// Start in ticks after boot.
    started: u64,
    /// Size of the address space.
    bytes: u64,
    /// Resident pages.
    pages: u64,
    cpu: u32,
}

impl ProcessStat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold blanks and brackets.
        let (_, rest) = text.split_once('(')?;
        let (name, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Field 3 of proc(5) is the first behind the name.
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        let number = |at| field(at)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            parent: field(4)?.parse().ok()?,
            ticks: number(14)? + number(15)?,
            started: number(22)?,
            bytes: number(23)?,
            pages: number(24)?,
            cpu: field(39)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_is_counted_as_free_and_its_friends() {
        // Lines as in proc(5); the figures were summed by hand.
        let text = "MemTotal:  1000 kB\nMemFree:  300 kB\nMemAvailable: 800 kB\nBuffers: 20 kB\n\
                    Cached: 200 kB\nSwapCached: 1 kB\nSwapTotal: 50 kB\nSwapFree: 45 kB\n";
        assert_eq!(memory(text).as_deref(), Some("1000,700,220,50,5"));
        assert_eq!(memory("MemFree: 1 kB"), None);
    }

    #[test]
    fn local_file_systems_that_can_be_written_to() {
        let mounts = "/dev/sda1 / ext4 rw,relatime 0 0\n\
                      /dev/sda2 /mnt/a\\040b,c xfs noatime,rw 0 0\n\
                      /dev/sr0 /cdrom iso9660 ro,noerwx 0 0\n\
                      tmpfs /run tmpfs rw 0 0\n\
                      /dev/sdb /gone ext4 rw 0 0\n";
        let size = |place: &Path| match place.to_str() {
            Some("/gone") => None,
            Some(place) => Some((1000, place.len() as u64)),
            None => None,
        };
        let text = file_systems(mounts, size);
        assert_eq!(text.as_deref(), Some("/,1000,1 /mnt/a_b_c,1000,10"));
        assert_eq!(file_systems("tmpfs /run tmpfs rw 0 0", size), None);
    }

    #[test]
    fn a_process_and_its_monitor() {
        let text = "42 (ovs (x) y) S 41 1 1 0 -1 4194560 100 0 0 0 7 3 0 0 20 0 3 0 1234 \
                    8192000 500 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 2 0 0 0 0 0";
        let want = ProcessStat {
            name: "ovs (x) y".to_owned(),
            parent: 41,
            ticks: 10,
            started: 1234,
            bytes: 8_192_000,
            pages: 500,
            cpu: 2,
        };
        assert_eq!(ProcessStat::parse(text), Some(want));
        assert_eq!(crashes("ovs-vswitchd: monitoring pid 7 (12 crashes: pid 6 died)"), Some(12));
        assert_eq!(crashes("ovs-vswitchd: monitoring pid 7 (healthy)"), None);
    }

    #[test]
    fn our_own_pidfile_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("me.pid");
        let held = pidfile::Pidfile::create(&path, false).unwrap();
        std::fs::write(dir.path().join("stale.pid"), "1\n").unwrap();
        std::fs::write(dir.path().join("me.ctl"), "").unwrap();
        let ours = Pidfiles { dir: dir.path().to_owned(), ours: Some(path.clone()) };
        let found = daemons(&ours);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["process_me"]);
        assert_eq!(found[0].1.split(',').count(), 7, "{found:?}");
        // Another process still finds it locked.
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let (pid, inode) = (std::process::id(), std::fs::metadata(&path).unwrap().ino());
        let is_ours =
            |line: &str| line.contains(&format!(" {pid} ")) && line.contains(&format!(":{inode} "));
        assert!(locks.lines().any(is_ours), "{locks}");
        drop(held);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ -~\n]{0,200}") {
            let _ = (load_average(&text), memory(&text), crashes(&text), boot_time_s(&text));
            let _ = (ProcessStat::parse(&text), file_systems(&text, |_| Some((1, 1))));
        }
    }
}

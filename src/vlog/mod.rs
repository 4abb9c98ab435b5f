//! Logging as the peer does it: `2026-11-22T07:00:00.123Z|00042|dpif(handler3)|WARN|text`.
//!
//! What it is: the receiver of every `tracing` event. An event's target is the log module
//! (`tracing::warn!(target: "dpif", "...")`), its message the text. Each module has a level per
//! destination (console, syslog, file) that an operator changes while we run; each destination
//! has a pattern. Spans are ignored.
//!
//! What always holds: an event that no destination wants costs one load of its call site's
//! cached interest (the cache is rebuilt when a level changes); a line is written to the log
//! file in one `write`, so lines of two processes never mix; nothing here panics or blocks on
//! the system logger.
//!
//! Threads: any thread logs. Levels are atomics; patterns are read under a lock that only
//! `vlog/set` writes; the file and the system logger have a mutex each, held for one write.

pub mod clock;
mod file;
pub mod module;
pub mod pattern;
pub mod rate_limit;
pub mod spec;
mod subscriber;
pub mod syslog;
mod zone;

use clock::WallTime;
use file::LogFile;
use module::{Destination, Level, MODULES, Module};
use pattern::{Line, Pattern};
pub use rate_limit::{Admission, RateLimit};
use spec::Spec;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use syslog::{Method, Syslog};

/// LOG_DAEMON: the facility of lines to the system logger when none was set.
const DEFAULT_FACILITY: u8 = 3 << 3;
/// LOG_LOCAL0: what `%B` shows when none was set; the peer differs here, too.
const SHOWN_FACILITY: u8 = 16 << 3;
/// The form of lines to `--syslog-target`: RFC 5424 with the mark that says UTF-8.
const TARGET_PATTERN: &str = "<%B>1 %D{%Y-%m-%dT%H:%M:%S.###Z} %E %A %P %c - \u{feff}%m";

/// The state of logging: levels, patterns and the open destinations.
#[derive(Debug)]
pub struct Vlog {
    program: String,
    modules: Vec<ModuleState>,
    patterns: RwLock<[Pattern; 3]>,
    /// Zero when none was set.
    facility: AtomicU8,
    file: Mutex<FileState>,
    has_file: AtomicBool,
    syslog: Mutex<Option<Syslog>>,
    target: Mutex<Option<(Syslog, Pattern)>>,
}

#[derive(Debug)]
struct ModuleState {
    levels: [AtomicU8; 3],
    honors_rate_limits: AtomicBool,
}

#[derive(Debug, Default)]
struct FileState {
    /// Kept by `vlog/close`, so that `vlog/reopen` finds it.
    path: Option<PathBuf>,
    open: Option<LogFile>,
}

thread_local! {
    static SEQUENCE: Cell<u32> = const { Cell::new(0) };
    static SUBPROGRAM: RefCell<Option<String>> = const { RefCell::new(None) };
}

static GLOBAL: OnceLock<Arc<Vlog>> = OnceLock::new();

/// Starts logging for the whole process; later calls return what the first made.
pub fn init(program: &str) -> &'static Arc<Vlog> {
    GLOBAL.get_or_init(|| {
        let vlog = Arc::new(Vlog::new(program));
        // Only a test that set a subscriber of its own can be in the way; it keeps it.
        let _ = tracing::subscriber::set_global_default(subscriber::VlogSubscriber(vlog.clone()));
        vlog
    })
}

/// The process's logging, if [`init`] was called.
pub fn global() -> Option<&'static Arc<Vlog>> {
    GLOBAL.get()
}

/// Names what this thread does, shown in parentheses after the module (`dpif(handler3)`). Without
/// it the name of the thread is shown, and nothing for the main thread.
pub fn set_subprogram_name(name: &str) {
    SUBPROGRAM.with_borrow_mut(|subprogram| *subprogram = Some(name.to_owned()));
}

impl Vlog {
    fn new(program: &str) -> Vlog {
        let level = || AtomicU8::new(Level::Info as u8);
        let module = |_| ModuleState {
            levels: [level(), level(), level()],
            honors_rate_limits: AtomicBool::new(true),
        };
        Vlog {
            program: program.to_owned(),
            modules: (0..MODULES.len()).map(module).collect(),
            patterns: RwLock::new(
                Destination::ALL.map(|dest| Pattern::parse(dest.default_pattern())),
            ),
            facility: AtomicU8::new(0),
            file: Mutex::default(),
            has_file: AtomicBool::new(false),
            syslog: Mutex::new(None),
            target: Mutex::new(None),
        }
    }

    /// Carries out a specification.
    pub fn apply(&self, spec: Spec) {
        match spec {
            Spec::Levels { module, destination, level } => {
                let modules: Vec<Module> = match module {
                    Some(module) => vec![module],
                    None => Module::all().collect(),
                };
                for state in modules.iter().filter_map(|module| self.modules.get(module.index())) {
                    for dest in Destination::ALL {
                        if destination.is_none_or(|only| only == dest) {
                            state.set_level(dest, level);
                        }
                    }
                }
                tracing::callsite::rebuild_interest_cache();
            }
            Spec::Pattern { destination, pattern } => {
                let parsed = Pattern::parse(&pattern);
                let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
                for (dest, slot) in Destination::ALL.into_iter().zip(patterns.iter_mut()) {
                    if destination.is_none_or(|only| only == dest) {
                        *slot = parsed.clone();
                    }
                }
            }
            Spec::Facility(facility) => self.facility.store(facility, Ordering::Relaxed),
        }
    }

    /// The lowest level that `destination` takes from `module`.
    pub fn level(&self, module: Module, destination: Destination) -> Level {
        self.modules.get(module.index()).map_or(Level::Off, |state| state.level(destination))
    }

    /// Would any destination take a line of that module and level?
    pub fn is_enabled(&self, module: Module, level: Level) -> bool {
        Destination::ALL.into_iter().any(|dest| {
            (dest != Destination::File || self.has_file.load(Ordering::Relaxed))
                && self.level(module, dest) >= level
        })
    }

    /// Does `module` mind the rate limits of its call sites?
    pub fn honors_rate_limits(&self, module: Module) -> bool {
        self.modules
            .get(module.index())
            .is_none_or(|state| state.honors_rate_limits.load(Ordering::Relaxed))
    }

    /// Makes `module`, or all, mind rate limits or not.
    pub fn set_honors_rate_limits(&self, module: Option<Module>, honor: bool) {
        for (index, state) in self.modules.iter().enumerate() {
            if module.is_none_or(|only| only.index() == index) {
                state.honors_rate_limits.store(honor, Ordering::Relaxed);
            }
        }
    }

    /// The text of `vlog/list`.
    pub fn list_levels(&self) -> String {
        let mut out = String::from(
            "                 console    syslog    file\n\
             \x20                -------    ------    ------\n",
        );
        for module in Module::all() {
            let level = |dest| self.level(module, dest).name();
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<16}  {:>4}       {:>4}       {:>4}{}",
                module.name(),
                level(Destination::Console),
                level(Destination::Syslog),
                level(Destination::File),
                if self.honors_rate_limits(module) { "" } else { "    (rate limiting disabled)" }
            );
        }
        out
    }

    /// The text of `vlog/list-pattern`.
    pub fn list_patterns(&self) -> String {
        let syslog_prefix = self.syslog().method().prefix();
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::from(
            "         prefix                            format\n\
             \x20        ------                            ------\n",
        );
        for (dest, pattern) in Destination::ALL.into_iter().zip(patterns.iter()) {
            let prefix = if dest == Destination::Syslog { syslog_prefix } else { "none" };
            let _ = writeln!(out, "{:<7}  {:<32}  {}", dest.name(), prefix, pattern.source());
        }
        out
    }

    /// Chooses how to reach the system logger; the first choice stands, as the peer has it.
    pub fn set_syslog_method(&self, method: Method) {
        let mut syslog = self.syslog.lock().unwrap_or_else(PoisonError::into_inner);
        syslog.get_or_insert_with(|| Syslog::new(method, &self.program));
    }

    /// Sends every line for syslog to `HOST:PORT` by UDP as well (`--syslog-target`).
    pub fn set_syslog_target(&self, target: &str) {
        let syslog = Syslog::new(Method::Udp(target.to_owned()), &self.program);
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((syslog, Pattern::parse(TARGET_PATTERN)));
    }

    /// The system logger; when none was chosen, that of `OVS_SYSLOG_METHOD`, else the C
    /// library's way.
    fn syslog(&self) -> SyslogGuard<'_> {
        let mut guard = self.syslog.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            let method = std::env::var("OVS_SYSLOG_METHOD").ok();
            let method = method.and_then(|text| Method::parse(&text).ok()).unwrap_or(Method::Libc);
            *guard = Some(Syslog::new(method, &self.program));
        }
        SyslogGuard(guard)
    }

    /// The log file that was asked for, open or not.
    pub fn log_file(&self) -> Option<PathBuf> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).path.clone()
    }

    /// Opens `path` as the log file in place of the present one, and says so in both.
    ///
    /// # Errors
    /// What the system said when it could not be opened; the present one then stays.
    pub fn set_log_file(&self, path: &Path) -> io::Result<()> {
        self.open_log_file(path, true)
    }

    /// Opens `path` without a line that says so: for a process that continues the log of another.
    ///
    /// # Errors
    /// As [`Vlog::set_log_file`].
    pub fn continue_log_file(&self, path: &Path) -> io::Result<()> {
        self.open_log_file(path, false)
    }

    fn open_log_file(&self, path: &Path, announce: bool) -> io::Result<()> {
        let new = LogFile::open(path).inspect_err(|error| {
            let error = crate::strerror::strerror(error);
            tracing::warn!(target: "vlog", "failed to open {} for logging: {error}", path.display());
        })?;
        {
            let state = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            if state.open.as_ref().is_some_and(|open| open.is_same_file(&new)) {
                return Ok(());
            }
        }
        if announce && self.has_file.load(Ordering::Relaxed) {
            tracing::info!(target: "vlog", "closing log file");
        }
        {
            let mut state = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            *state = FileState { path: Some(path.to_owned()), open: Some(new) };
            self.has_file.store(true, Ordering::Relaxed);
        }
        tracing::callsite::rebuild_interest_cache();
        if announce {
            tracing::info!(target: "vlog", "opened log file {}", path.display());
        }
        Ok(())
    }

    /// Opens the log file anew, after it was renamed; `None` when there never was one.
    pub fn reopen_log_file(&self) -> Option<io::Result<()>> {
        let path = self.log_file()?;
        Some(self.set_log_file(&path))
    }

    /// Closes the log file; [`Vlog::reopen_log_file`] finds it again.
    pub fn close_log_file(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).open = None;
        self.has_file.store(false, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Number that the next message of this thread will have.
    pub fn next_sequence() -> u32 {
        SEQUENCE.get().wrapping_add(1)
    }

    /// Lets this thread's messages count on from `next`.
    pub fn set_next_sequence(next: u32) {
        SEQUENCE.set(next.wrapping_sub(1));
    }

    /// Writes one line to each destination that takes it.
    pub fn write(&self, module: Module, level: Level, text: &str) {
        let wants = |dest| self.level(module, dest) >= level;
        let console = wants(Destination::Console);
        let syslog = wants(Destination::Syslog);
        let file = wants(Destination::File) && self.has_file.load(Ordering::Relaxed);
        if !(console || syslog || file) {
            return;
        }
        SEQUENCE.set(Vlog::next_sequence());
        let facility = self.facility.load(Ordering::Relaxed);
        let or_default = |default| if facility == 0 { default } else { facility };
        with_thread_name(|thread| {
            let line = Line {
                module: module.name(),
                level,
                text,
                program: &self.program,
                thread,
                sequence: SEQUENCE.get(),
                time: WallTime::now(),
                uptime_ms: clock::monotonic_ms(),
                priority: or_default(SHOWN_FACILITY) | level.syslog_severity(),
            };
            let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
            let format = |dest: Destination| {
                let mut out = String::with_capacity(128 + text.len());
                if let Some(pattern) = patterns.get(dest.index()) {
                    pattern.format(&line, &mut out);
                }
                out
            };
            if console {
                let mut out = format(Destination::Console);
                out.push('\n');
                // A console that is gone is no reason to stop.
                let _ = io::stderr().write_all(out.as_bytes());
            }
            if syslog {
                let priority = or_default(DEFAULT_FACILITY) | level.syslog_severity();
                let out = format(Destination::Syslog);
                let mut logger = self.syslog();
                for part in out.split('\n').filter(|part| !part.is_empty()) {
                    logger.send(priority, line.time, part);
                }
                drop(logger);
                let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((logger, pattern)) = target.as_mut() {
                    let mut out = String::new();
                    pattern.format(&line, &mut out);
                    logger.send_message(&out);
                }
            }
            if file {
                let mut out = format(Destination::File);
                out.push('\n');
                let mut state = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(open) = state.open.as_mut() {
                    open.write(out.as_bytes());
                }
            }
        });
    }
}

impl ModuleState {
    fn level(&self, dest: Destination) -> Level {
        let level = self.levels.get(dest.index()).map_or(0, |level| level.load(Ordering::Relaxed));
        Level::from_u8(level)
    }

    fn set_level(&self, dest: Destination, level: Level) {
        if let Some(slot) = self.levels.get(dest.index()) {
            slot.store(level as u8, Ordering::Relaxed);
        }
    }
}

/// The locked system logger, which is there.
struct SyslogGuard<'a>(MutexGuard<'a, Option<Syslog>>);

impl SyslogGuard<'_> {
    fn method(&self) -> &Method {
        self.0.as_ref().map_or(&Method::Null, Syslog::method)
    }

    fn send(&mut self, priority: u8, time: WallTime, line: &str) {
        if let Some(syslog) = self.0.as_mut() {
            syslog.send(priority, time, line);
        }
    }
}

fn with_thread_name<R>(use_name: impl FnOnce(&str) -> R) -> R {
    SUBPROGRAM.with_borrow(|subprogram| match subprogram {
        Some(name) => use_name(name),
        None => match std::thread::current().name() {
            None | Some("main") => use_name(""),
            Some(name) => use_name(name),
        },
    })
}

/// Asks `limit` about a message of the module that `target` names; for the macros.
#[doc(hidden)]
pub fn admit(target: &str, limit: &RateLimit) -> Admission {
    let honors = global().is_none_or(|vlog| vlog.honors_rate_limits(Module::of_target(target)));
    if honors { limit.admit(clock::monotonic_ms()) } else { Admission::Pass }
}

/// Logs at EMER, above ERR: the process is about to end.
///
/// `vlog::emer!(target: "vswitchd", "text {}", x)`
#[macro_export]
macro_rules! vlog_emer {
    (target: $target:literal, $($text:tt)+) => {
        tracing::event!(name: "emer", target: $target, tracing::Level::ERROR, $($text)+)
    };
}

/// Logs at a level of `tracing` under a [`RateLimit`]:
/// `vlog::limited!(WARN, target: "dpif", &RL, "text {}", x)`.
///
/// A message that passes after others were held back is preceded by a line that counts them.
#[macro_export]
macro_rules! vlog_limited {
    ($level:ident, target: $target:literal, $limit:expr, $($text:tt)+) => {
        if tracing::enabled!(target: $target, tracing::Level::$level) {
            let admission = $crate::vlog::admit($target, $limit);
            if let $crate::vlog::Admission::PassAfter(dropped) = admission {
                tracing::event!(target: $target, tracing::Level::$level, "{dropped}");
            }
            if admission != $crate::vlog::Admission::Hold {
                tracing::event!(target: $target, tracing::Level::$level, $($text)+);
            }
        }
    };
}

pub use vlog_emer as emer;
pub use vlog_limited as limited;

#[cfg(test)]
mod tests;

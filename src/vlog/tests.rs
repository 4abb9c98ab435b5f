//! Whole lines through a real `tracing` call site, into a real file.

use super::*;

struct Log {
    vlog: Arc<Vlog>,
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Log {
    /// A log of its own: file only, with a pattern that shows no time.
    fn new() -> Log {
        set_subprogram_name("");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let vlog = Arc::new(Vlog::new("ovs-vswitchd"));
        vlog.set_syslog_method(Method::Null);
        vlog.apply(Spec::parse("console:off").expect("a specification"));
        vlog.apply(Spec::parse("PATTERN:file:%c%T|%p|%m").expect("a specification"));
        vlog.continue_log_file(&path).expect("a log file");
        Log { vlog, path, dir }
    }

    fn set(&self, spec: &str) {
        self.vlog.apply(Spec::parse(spec).expect("a specification"));
    }

    fn run(&self, body: impl FnOnce()) {
        tracing::subscriber::with_default(subscriber::VlogSubscriber(self.vlog.clone()), body);
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).expect("the log")
    }
}

fn log_all_levels() {
    crate::vlog::emer!(target: "bridge", "emergency {}", 0);
    tracing::error!(target: "bridge", "error");
    tracing::warn!(target: "bridge", port = 3, name = "p1", "warning");
    tracing::info!(target: "bridge", "information");
    tracing::debug!(target: "bridge", "debug\n");
}

#[test]
fn levels_are_minded_and_changes_reach_known_call_sites() {
    let log = Log::new();
    set_subprogram_name("handler3");
    log.run(|| {
        log_all_levels();
        log.set("bridge:file:err");
        log_all_levels();
        log.set("bridge:file:off");
        log_all_levels();
        log.set("bridge:dbg");
        log.set("dpif:off");
        log.set("console:off");
        tracing::debug!(target: "bridge", "seen");
        tracing::error!(target: "dpif", "not seen");
        let _span = tracing::error_span!(target: "bridge", "not seen").entered();
    });
    assert_eq!(
        log.text(),
        "bridge(handler3)|EMER|emergency 0\n\
         bridge(handler3)|ERR|error\n\
         bridge(handler3)|WARN|warning port=3 name=p1\n\
         bridge(handler3)|INFO|information\n\
         bridge(handler3)|EMER|emergency 0\n\
         bridge(handler3)|ERR|error\n\
         bridge(handler3)|DBG|seen\n"
    );
}

#[test]
fn rotation_close_and_reopen() {
    let log = Log::new();
    let old = log.dir.path().join("old");
    log.run(|| {
        tracing::info!(target: "vswitchd", "one");
        std::fs::rename(&log.path, &old).expect("rename");
        tracing::info!(target: "vswitchd", "two");
        log.vlog.reopen_log_file().expect("a file").expect("open");
        tracing::info!(target: "vswitchd", "three");
        log.vlog.close_log_file();
        tracing::info!(target: "vswitchd", "nowhere");
        log.vlog.reopen_log_file().expect("a file").expect("open");
        log.vlog.reopen_log_file().expect("the same file").expect("open");
        tracing::info!(target: "vswitchd", "four");
        assert!(log.vlog.set_log_file(&log.dir.path().join("no/such")).is_err());
    });
    assert_eq!(
        std::fs::read_to_string(old).expect("the old log"),
        "vswitchd|INFO|one\nvswitchd|INFO|two\nvlog|INFO|closing log file\n"
    );
    let path = log.path.display();
    let bad = log.dir.path().join("no/such");
    assert_eq!(
        log.text(),
        format!(
            "vlog|INFO|opened log file {path}\nvswitchd|INFO|three\n\
             vlog|INFO|opened log file {path}\nvswitchd|INFO|four\n\
             vlog|WARN|failed to open {} for logging: No such file or directory\n",
            bad.display()
        )
    );
    let never = Vlog::new("x");
    assert!(never.reopen_log_file().is_none());
}

#[test]
fn a_limited_call_site_counts_what_it_holds_back() {
    let log = Log::new();
    static RL: RateLimit = RateLimit::new(0, 2);
    log.run(|| {
        for n in 0..5 {
            crate::vlog::limited!(WARN, target: "dpif", &RL, "message {n}");
        }
        log.set("dpif:off");
        crate::vlog::limited!(WARN, target: "dpif", &RL, "disabled");
    });
    assert_eq!(log.text(), "dpif|WARN|message 0\ndpif|WARN|message 1\n");
}

/// Output of ovs-vswitchd 3.1.0 started with `-vsyslog:off`: `vlog/list-pattern`, and lines of
/// `vlog/list`.
#[test]
fn listings_read_as_the_peers() {
    let vlog = Vlog::new("ovs-vswitchd");
    vlog.set_syslog_method(Method::Libc);
    assert_eq!(
        vlog.list_patterns(),
        concat!(
            "         prefix                            format\n",
            "         ------                            ------\n",
            "SYSLOG   <%B> %D{%h %e %T} %E %A:          ovs|%05N|%c%T|%p|%m\n",
            "CONSOLE  none                              %D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c%T|%p|%m\n",
            "FILE     none                              ",
            "%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c%T|%p|%m\n",
        )
    );
    vlog.apply(Spec::MAXIMUM);
    vlog.set_honors_rate_limits(Module::from_name("vlog"), false);
    let list = vlog.list_levels();
    assert_eq!(list.lines().count(), 131);
    for line in [
        "                 console    syslog    file",
        "                 -------    ------    ------",
        "backtrace          DBG        DBG        DBG",
        "dpif_lookup_autovalidator   DBG        DBG        DBG",
        "vlog               DBG        DBG        DBG    (rate limiting disabled)",
    ] {
        assert!(list.lines().any(|found| found == line), "{line}");
    }
    vlog.apply(Spec::parse("ovs_lldp:syslog:off").expect("a specification"));
    assert!(vlog.list_levels().contains("\novs_lldp           DBG        OFF        DBG\n"));
}

#[test]
fn messages_are_numbered_by_thread() {
    let first = std::thread::spawn(Vlog::next_sequence).join().expect("a thread");
    assert_eq!(first, 1);
    Vlog::set_next_sequence(7);
    assert_eq!(Vlog::next_sequence(), 7);
}

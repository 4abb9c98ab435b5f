//! How a daemon's control socket answers while something is done: a question after the other, over a
//! connection of its own as `ovs-appctl` asks, and over one that stays.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rovs::unixctl::client::Client;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);

/// Answers to `version`.
#[derive(Debug, Default)]
pub struct Answers {
    /// What each took over a connection of its own.
    fresh: Vec<Duration>,
    /// What each took over the connection that stays.
    held: Vec<Duration>,
    /// Most network devices that came, or went, between two of them.
    pub devices_between: usize,
}

impl Answers {
    /// Asks at `socket` while `work` is done; also what that gives.
    pub fn during<T>(socket: &Path, work: impl FnOnce() -> T) -> (Self, T) {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| Self::ask(socket, &is_over));
            let result = work();
            is_over.store(true, Ordering::Relaxed);
            (asking.join().expect("answers"), result)
        })
    }

    fn ask(socket: &Path, is_over: &AtomicBool) -> Self {
        let mut answers = Self::default();
        let mut held = Client::connect(socket).expect("the daemon listens");
        let mut before = devices();
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let mut fresh = Client::connect(socket).expect("the daemon listens");
            fresh.call("version", &[]).expect("an answer").expect("a version");
            answers.fresh.push(begun.elapsed());
            let begun = Instant::now();
            held.call("version", &[]).expect("an answer").expect("a version");
            answers.held.push(begun.elapsed());
            let now = devices();
            answers.devices_between = answers.devices_between.max(now.abs_diff(before));
            before = now;
            std::thread::sleep(PAUSE);
        }
        answers
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (how, took) in [("new connections", &self.fresh), ("one that stays", &self.held)] {
            let mut sorted = took.clone();
            sorted.sort();
            let [median, most, longest] = [50, 99, 100].map(|percent| {
                let at = sorted.len().saturating_sub(1) * percent / 100;
                sorted.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
            });
            write!(
                f,
                "{} over {how}: median {median:.1} ms, 99 % {most:.1} ms, longest {longest:.1} ms; ",
                took.len()
            )?;
        }
        write!(f, "at most {} devices between two", self.devices_between)
    }
}

fn devices() -> usize {
    std::fs::read_dir("/sys/class/net").expect("sysfs").count()
}

//! When to connect, to give up and to ask for a sign of life; and the log lines about it.
//!
//! What always holds: after a loss the next attempt comes after 1 s, then 2, 4 and 8 s, also
//! when connections are made but break at once; from 8 s on nothing is logged until it works
//! again. The clock is an argument, in milliseconds. Source of times and texts: a stock daemon's log.

use std::fmt;
use std::io;

use crate::strerror::strerror;

const MIN_BACKOFF_MS: u64 = 1_000;
const MAX_BACKOFF_MS: u64 = 8_000;
/// How long a server may be silent before it is asked, and then before it is given up.
pub const PROBE_MS: u64 = 5_000;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait.
    Nothing,
    /// Begin to connect, and call [`Reconnect::connecting`].
    Connect,
    /// Close the connection or stop the attempt; call [`Reconnect::disconnected`].
    Disconnect,
    /// Send something that will be answered.
    Probe,
}

/// Why a connection is gone or did not come about.
#[derive(Debug)]
pub enum Loss {
    /// It took too long; or we wanted it so.
    Ours,
    /// The other end closed it.
    Closed,
    /// An error.
    Error(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Backoff,
    Connecting,
    Active,
    Idle,
}

/// The state of one client's connection.
#[derive(Debug)]
pub struct Reconnect {
    name: String,
    state: State,
    entered_ms: u64,
    backoff_ms: u64,
    /// Attempts that need not wait: one for each server but the last.
    free_tries: usize,
    last_activity_ms: u64,
    last_connected_ms: u64,
    probe_ms: Option<u64>,
}

impl Reconnect {
    /// To connect at once; `remotes` is the number of servers that may be tried without waiting.
    pub fn new(now_ms: u64, remotes: usize) -> Reconnect {
        Reconnect {
            name: String::new(),
            state: State::Backoff,
            entered_ms: now_ms,
            backoff_ms: 0,
            free_tries: remotes,
            last_activity_ms: now_ms,
            last_connected_ms: now_ms,
            probe_ms: None,
        }
    }

    /// Whom the next attempt is for, and whether a silent server is to be asked.
    pub fn set_remote(&mut self, name: String, probe: bool) {
        self.name = name;
        self.probe_ms = probe.then_some(PROBE_MS);
    }

    /// What to do at `now_ms`.
    pub fn run(&mut self, now_ms: u64) -> Action {
        if self.deadline_ms().is_none_or(|deadline| now_ms < deadline) {
            return Action::Nothing;
        }
        match self.state {
            State::Backoff => Action::Connect,
            State::Connecting => Action::Disconnect,
            State::Active => {
                let idle = now_ms.saturating_sub(self.last_activity_ms.max(self.entered_ms));
                tracing::debug!(
                    target: "reconnect", "{}: idle {idle} ms, sending inactivity probe", self.name);
                self.enter(now_ms, State::Idle);
                Action::Probe
            }
            State::Idle => {
                let seconds = Seconds(now_ms.saturating_sub(self.entered_ms));
                tracing::error!(
                    target: "reconnect",
                    "{}: no response to inactivity probe after {seconds} seconds, disconnecting",
                    self.name
                );
                Action::Disconnect
            }
        }
    }

    /// When [`Reconnect::run`] will have something to say, if nothing happens before.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Backoff => Some(self.entered_ms.saturating_add(self.backoff_ms)),
            State::Connecting => Some(self.entered_ms.saturating_add(self.backoff_ms.max(1_000))),
            State::Active => {
                Some(self.last_activity_ms.max(self.entered_ms).saturating_add(self.probe_ms?))
            }
            State::Idle => Some(self.entered_ms.saturating_add(self.probe_ms?)),
        }
    }

    /// An attempt has begun.
    pub fn connecting(&mut self, now_ms: u64) {
        if self.state != State::Connecting {
            if self.backoff_ms < MAX_BACKOFF_MS {
                tracing::info!(target: "reconnect", "{}: connecting...", self.name);
            }
            self.enter(now_ms, State::Connecting);
        }
    }

    /// It has succeeded.
    pub fn connected(&mut self, now_ms: u64) {
        self.connecting(now_ms);
        tracing::info!(target: "reconnect", "{}: connected", self.name);
        self.enter(now_ms, State::Active);
        self.last_connected_ms = now_ms;
    }

    /// Something was received, or sent that had to wait.
    pub fn activity(&mut self, now_ms: u64) {
        if self.state == State::Idle {
            self.enter(now_ms, State::Active);
        }
        self.last_activity_ms = now_ms;
    }

    /// The connection is gone, or the attempt has failed.
    pub fn disconnected(&mut self, now_ms: u64, loss: &Loss) {
        let was_connected = matches!(self.state, State::Active | State::Idle);
        let name = &self.name;
        match (self.state, loss) {
            (State::Backoff, _) => return,
            (State::Active | State::Idle, Loss::Error(error)) => tracing::warn!(
                target: "reconnect", "{name}: connection dropped ({})", strerror(error)),
            (State::Active | State::Idle, Loss::Closed) => {
                tracing::info!(target: "reconnect", "{name}: connection closed by peer");
            }
            (State::Active | State::Idle, Loss::Ours) => {
                tracing::info!(target: "reconnect", "{name}: connection dropped");
            }
            (State::Connecting, _) if self.backoff_ms >= MAX_BACKOFF_MS => {}
            (State::Connecting, Loss::Error(error)) => tracing::info!(
                target: "reconnect", "{name}: connection attempt failed ({})", strerror(error)),
            (State::Connecting, _) => {
                tracing::info!(target: "reconnect", "{name}: connection attempt timed out");
            }
        }
        let lived_ms = self.last_activity_ms.saturating_sub(self.last_connected_ms);
        if self.free_tries > 1 {
            self.free_tries -= 1;
            self.backoff_ms = 0;
        } else if (was_connected && lived_ms >= self.backoff_ms) || self.backoff_ms < MIN_BACKOFF_MS
        {
            self.backoff_ms = MIN_BACKOFF_MS;
        } else if self.backoff_ms < MAX_BACKOFF_MS / 2 {
            self.backoff_ms *= 2;
            let seconds = Seconds(self.backoff_ms);
            tracing::info!(
                target: "reconnect", "{name}: waiting {seconds} seconds before reconnect");
        } else {
            if self.backoff_ms < MAX_BACKOFF_MS {
                tracing::info!(
                    target: "reconnect",
                    "{name}: continuing to reconnect in the background but suppressing further \
                     logging"
                );
            }
            self.backoff_ms = MAX_BACKOFF_MS;
        }
        self.enter(now_ms, State::Backoff);
    }

    fn enter(&mut self, now_ms: u64, state: State) {
        self.state = state;
        self.entered_ms = now_ms;
    }
}

/// Milliseconds, shown in seconds with three digits that count, as printf's `%.3g`.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0 {
            0..10_000 => 2,
            10_000..100_000 => 1,
            _ => 0,
        };
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let text = format!("{:.digits$}", self.0 as f64 / 1000.0);
        match digits {
            0 => f.write_str(&text),
            _ => f.write_str(text.trim_end_matches('0').trim_end_matches('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(fsm: &mut Reconnect, now_ms: &mut u64, loss: &Loss) -> u64 {
        fsm.disconnected(*now_ms, loss);
        let wait = fsm.deadline_ms().expect("to try again") - *now_ms;
        *now_ms += wait;
        assert_eq!(fsm.run(*now_ms), Action::Connect);
        wait
    }

    #[test]
    fn attempts_come_ever_later_until_one_lives() {
        let mut fsm = Reconnect::new(0, 1);
        fsm.set_remote("unix:x".to_owned(), false);
        assert_eq!(fsm.run(0), Action::Connect);
        let mut now = 0;
        let refused = Loss::Error(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        for want in [1_000, 2_000, 4_000, 8_000, 8_000] {
            fsm.connecting(now);
            assert_eq!(lost(&mut fsm, &mut now, &refused), want);
        }
        // One that breaks at once does not count as success.
        fsm.connected(now);
        assert_eq!(lost(&mut fsm, &mut now, &Loss::Closed), 8_000);
        fsm.connected(now);
        now += 8_000;
        fsm.activity(now);
        assert_eq!(lost(&mut fsm, &mut now, &Loss::Closed), 1_000);
    }

    #[test]
    fn several_servers_are_tried_at_once() {
        let mut fsm = Reconnect::new(0, 3);
        let mut now = 0;
        for want in [0, 0, 1_000] {
            fsm.connecting(now);
            assert_eq!(lost(&mut fsm, &mut now, &Loss::Ours), want);
        }
    }

    #[test]
    fn silence_is_asked_about_and_then_ended() {
        let mut fsm = Reconnect::new(0, 1);
        fsm.set_remote("tcp:x".to_owned(), true);
        fsm.connected(10);
        assert_eq!(fsm.run(5_009), Action::Nothing);
        assert_eq!(fsm.run(5_010), Action::Probe);
        fsm.activity(6_000);
        assert_eq!(fsm.run(10_999), Action::Nothing);
        assert_eq!(fsm.run(11_000), Action::Probe);
        assert_eq!(fsm.run(15_999), Action::Nothing);
        assert_eq!(fsm.run(16_000), Action::Disconnect);
        fsm.set_remote("unix:x".to_owned(), false);
        fsm.disconnected(16_000, &Loss::Ours);
        fsm.connected(20_000);
        assert_eq!(fsm.deadline_ms(), None);
    }

    /// Keeps what is logged under `reconnect`.
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == "reconnect" && *metadata.level() <= tracing::Level::INFO
        }
        fn event(&self, event: &tracing::Event<'_>) {
            struct Text(String);
            impl tracing::field::Visit for Text {
                fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
                    self.0 += &format!("{value:?}");
                }
            }
            let mut text = Text(format!("{}|", event.metadata().level()));
            event.record(&mut text);
            self.0.lock().expect("lines").push(text.0);
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// What a stock daemon of 3.1.0 logged about a server that came late and went.
    #[test]
    fn lines_are_the_peers() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let mut fsm = Reconnect::new(0, 1);
            fsm.set_remote("unix:/tmp/peer/db.sock".to_owned(), false);
            let mut now = 0;
            let missing = Loss::Error(io::Error::from_raw_os_error(libc::ENOENT));
            for _ in 0..6 {
                fsm.connecting(now);
                lost(&mut fsm, &mut now, &missing);
            }
            fsm.connecting(now);
            fsm.connected(now);
            fsm.disconnected(now, &Loss::Closed);
        });
        let found = lines.0.lock().expect("lines").join("\n");
        assert_eq!(found, "\
INFO|unix:/tmp/peer/db.sock: connecting...
INFO|unix:/tmp/peer/db.sock: connection attempt failed (No such file or directory)
INFO|unix:/tmp/peer/db.sock: connecting...
INFO|unix:/tmp/peer/db.sock: connection attempt failed (No such file or directory)
INFO|unix:/tmp/peer/db.sock: waiting 2 seconds before reconnect
INFO|unix:/tmp/peer/db.sock: connecting...
INFO|unix:/tmp/peer/db.sock: connection attempt failed (No such file or directory)
INFO|unix:/tmp/peer/db.sock: waiting 4 seconds before reconnect
INFO|unix:/tmp/peer/db.sock: connecting...
INFO|unix:/tmp/peer/db.sock: connection attempt failed (No such file or directory)
INFO|unix:/tmp/peer/db.sock: continuing to reconnect in the background but suppressing further logging
INFO|unix:/tmp/peer/db.sock: connected
INFO|unix:/tmp/peer/db.sock: connection closed by peer");
    }

    #[test]
    fn an_attempt_that_hangs_is_given_up() {
        let mut fsm = Reconnect::new(0, 1);
        fsm.connecting(5);
        assert_eq!(fsm.run(1_004), Action::Nothing);
        assert_eq!(fsm.run(1_005), Action::Disconnect);
    }

    #[test]
    fn seconds_as_printf_shows_them() {
        let shown =
            [0, 1_000, 2_000, 5_004, 5_010, 12_345, 123_456].map(|ms| Seconds(ms).to_string());
        assert_eq!(shown, ["0", "1", "2", "5", "5.01", "12.3", "123"]);
    }
}

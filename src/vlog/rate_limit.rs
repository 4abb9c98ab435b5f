//! Rate limits of a call site: a token bucket, and the count of what it held back.
//!
//! What always holds: a message that is held back is counted, and the next one that passes says
//! how many there were and over which time. Pure but for the lock: time is an argument. Shared
//! by all threads that log at the call site.

use std::sync::{Mutex, PoisonError};

/// What one message costs; a bucket gains its rate in messages per minute every millisecond.
const TOKENS_PER_MESSAGE: u32 = 60 * 1000;

/// A limit of so many messages per minute, with bursts.
///
/// A `static` beside the call site:
/// `static RL: RateLimit = RateLimit::new(5, 20);`
#[derive(Debug)]
pub struct RateLimit {
    rate: u32,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: u32,
    filled_ms: Option<u64>,
    dropped: u32,
    first_dropped_ms: u64,
    last_dropped_ms: u64,
}

/// May a message pass?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Log it.
    Pass,
    /// Log that others were held back, then log it.
    PassAfter(Dropped),
    /// Say nothing; it has been counted.
    Hold,
}

/// What was held back before a message passed. Shown in the peer's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    count: u32,
    since_s: u64,
    last_s: u64,
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Dropped {} log messages in last {} seconds (most recently, {} seconds ago) due to \
             excessive rate",
            self.count, self.since_s, self.last_s
        )
    }
}

impl RateLimit {
    /// At most `rate` messages per minute, and `burst` at once after a silence.
    pub const fn new(rate: u32, burst: u32) -> RateLimit {
        RateLimit {
            rate,
            burst: burst.saturating_mul(TOKENS_PER_MESSAGE),
            state: Mutex::new(State {
                tokens: 0,
                filled_ms: None,
                dropped: 0,
                first_dropped_ms: 0,
                last_dropped_ms: 0,
            }),
        }
    }

    /// Decides about one message at `now_ms` of a clock that does not go back.
    pub fn admit(&self, now_ms: u64) -> Admission {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tokens < TOKENS_PER_MESSAGE {
            // A bucket that was never used is full.
            let gained = state.filled_ms.map_or(u64::MAX, |then_ms| {
                u64::from(self.rate).saturating_mul(now_ms.saturating_sub(then_ms))
            });
            let tokens = gained.saturating_add(state.tokens.into()).min(self.burst.into());
            state.tokens = u32::try_from(tokens).unwrap_or(self.burst);
            state.filled_ms = Some(now_ms);
        }
        if state.tokens < TOKENS_PER_MESSAGE {
            if state.dropped == 0 {
                state.first_dropped_ms = now_ms;
            }
            state.last_dropped_ms = now_ms;
            state.dropped = state.dropped.saturating_add(1);
            return Admission::Hold;
        }
        state.tokens -= TOKENS_PER_MESSAGE;
        if state.dropped == 0 {
            return Admission::Pass;
        }
        // Whole seconds of the clock, as the peer counts them.
        let seconds_since = |then_ms: u64| (now_ms / 1000).saturating_sub(then_ms / 1000);
        let dropped = Dropped {
            count: std::mem::take(&mut state.dropped),
            since_s: seconds_since(state.first_dropped_ms),
            last_s: seconds_since(state.last_dropped_ms),
        };
        Admission::PassAfter(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limit = RateLimit::new(60, 3);
        let passed = (0..10).filter(|_| limit.admit(5_000) == Admission::Pass).count();
        assert_eq!(passed, 3);
        assert_eq!(limit.admit(5_999), Admission::Hold);
        // One message a second; eight were held back, the first at 5 s, the last at 5.999 s.
        let Admission::PassAfter(dropped) = limit.admit(6_999) else { panic!("held back") };
        assert_eq!(
            dropped.to_string(),
            "Dropped 8 log messages in last 1 seconds (most recently, 1 seconds ago) due to \
             excessive rate"
        );
        assert_eq!(limit.admit(6_999), Admission::Hold);
        assert!(matches!(limit.admit(100_000), Admission::PassAfter(_)));
        assert_eq!(limit.admit(100_000), Admission::Pass);
        assert_eq!(limit.admit(100_000), Admission::Pass);
        assert_eq!(limit.admit(100_000), Admission::Hold);
    }

    #[test]
    fn a_clock_that_goes_back_and_absurd_limits_do_no_harm() {
        let limit = RateLimit::new(u32::MAX, u32::MAX);
        assert_eq!(limit.admit(u64::MAX), Admission::Pass);
        assert_eq!(limit.admit(0), Admission::Pass);
        let never = RateLimit::new(0, 0);
        assert_eq!(never.admit(0), Admission::Hold);
        assert_eq!(never.admit(u64::MAX), Admission::Hold);
    }
}

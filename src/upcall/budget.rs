//! How a handler with an endless backlog shares its CPU.
//!
//! A fair scheduler lets a thread that takes all the CPU it can get wait for its turn, some
//! milliseconds at a time, and a quiet port's first packet would wait with it. Nor does it help to
//! rest: the thread still waits for its turn once it is woken, unless it has had clearly less than its
//! share. So a handler to which others do not leave the CPU has itself run before them, in the lowest
//! real-time priority, while there are ports with little to ask, and limits itself: it works in small
//! pieces, and pauses after each for as long as it has worked. It never has more than half of a CPU
//! that way, which is less than a fair scheduler grants a daemon at the peer's usual nice level of
//! -10. When somebody with little to ask was answered, its own answer is awaited for a while in short
//! turns: the kernel does not always have those run next whom the packet woke, and looks again who is
//! due when such a turn ends, whereas a turn of work would keep them waiting. However many ask, the rest
//! has half of the time. Whether others still want the CPU cannot be told from before them: now and then it takes its
//! place among them again, at a time when nobody waits for an answer. With the CPU to itself, or
//! nobody there who would be answered the sooner, it neither pauses nor changes its class.
//!
//! Plain values, no clock and no system call of its own: one handler's thread.

use std::time::Duration;

/// A turn that took so much longer than it worked was kept waiting: a scheduler's tick or more. What
/// kernel threads take is far less.
const KEPT_WAITING: Duration = Duration::from_micros(500);

/// How long a handler takes the CPU for wanted by others after it was kept waiting. Looking again
/// costs a wait, so it is not done often, and the more rarely the more often it was in vain.
const CONTENDED: Duration = Duration::from_secs(4);
const CONTENDED_MAX: Duration = Duration::from_secs(32);

/// Kept waiting so soon after looking, the handler looked in vain.
const IN_VAIN: Duration = Duration::from_secs(1);

/// How long after somebody with little to ask was answered that look may be taken: whom the packet
/// reached has answered in turn by then, and the next question is not there yet.
const LULL: Duration = Duration::from_millis(1);

/// Shortest pause, below which waking costs more than is worked.
const SHORTEST: Duration = Duration::from_micros(25);

/// Longest pause: nobody's first packet waits longer than that for a handler that sleeps.
const LONGEST: Duration = Duration::from_millis(1);

/// Pause while an answer is awaited: the kernel may well have others run first than whom the packet
/// reached, and looks who is due at the end of the next turn, which is short.
const MOMENT: Duration = Duration::from_micros(20);

/// How long after somebody with little to ask was answered its own answer is awaited.
const AWAITED: Duration = Duration::from_micros(100);

/// How long the rest may be left alone for that, more than it was not.
const PATIENCE: Duration = Duration::from_micros(500);

/// See the module's page.
#[derive(Debug, Default)]
pub struct Budget {
    /// Others are believed to want the CPU.
    is_contended: bool,
    /// When that is to be looked at again, and how long it was to be believed.
    contended_until: Duration,
    belief: Duration,
    /// When somebody with little to ask was answered last.
    light_at: Duration,
    /// Work that no pause has made up for yet.
    owed: Duration,
    /// Until when an answer to what was answered is awaited.
    await_until: Duration,
    /// How much longer the rest was left alone than it was not.
    impatience: Duration,
}

/// What one turn took, and when it ended. Turns while nobody with little to ask was there of late are none of
/// the budget's.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Time at its end, since any fixed moment.
    pub now: Duration,
    /// From its beginning to its end.
    pub took: Duration,
    /// Of that, on a CPU.
    pub worked: Duration,
    /// Somebody with little to ask was answered.
    pub is_light: bool,
    /// The rest was left alone.
    pub is_awaiting: bool,
}

impl Budget {
    /// Whether others want the CPU.
    pub fn is_contended(&self) -> bool {
        self.is_contended
    }

    /// Whether the rest is to be left alone in a turn that began at `now`, so that the turn is short:
    /// somebody with little to ask was answered of late, or in this turn (`is_light`).
    pub fn is_awaiting(&self, now: Duration, is_light: bool) -> bool {
        self.is_contended && (now < self.await_until || is_light && self.impatience < PATIENCE)
    }

    /// How long to pause after a turn; `None` if nobody else wants the CPU.
    pub fn pause_after(&mut self, turn: Turn) -> Option<Duration> {
        if turn.is_light {
            self.light_at = turn.now;
            let patience = PATIENCE.saturating_sub(self.impatience);
            self.await_until = turn.now + patience.min(AWAITED);
        }
        if turn.took.saturating_sub(turn.worked) >= KEPT_WAITING {
            if !self.is_contended {
                let is_in_vain = turn.now.saturating_sub(self.contended_until) < IN_VAIN;
                let belief = if is_in_vain { 2 * self.belief } else { CONTENDED };
                self.belief = belief.clamp(CONTENDED, CONTENDED_MAX);
            }
            self.is_contended = true;
            self.contended_until = turn.now + self.belief;
        } else if turn.now >= self.contended_until {
            let is_lull = turn.now.saturating_sub(self.light_at) >= LULL;
            self.is_contended &= !is_lull;
        }
        if !self.is_contended {
            self.owed = Duration::ZERO;
            self.await_until = Duration::ZERO;
            return None;
        }
        self.owed += turn.worked;
        // Short pauses are made up for later; not if one pause cannot make up for it.
        let is_awaiting = turn.now < self.await_until && self.owed <= LONGEST / 2;
        let pause = if is_awaiting { MOMENT } else { self.owed.clamp(SHORTEST, LONGEST) };
        self.owed = self.owed.saturating_sub(pause);
        let lasted = turn.took + pause;
        // However many have little to ask, the rest has half of the time.
        self.impatience = if turn.is_awaiting {
            self.impatience + lasted
        } else {
            self.impatience.saturating_sub(lasted)
        };
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_micros(100);

    fn turn(now: u64, is_light: bool) -> Turn {
        let now = Duration::from_secs(now);
        Turn { now, took: WORK, worked: WORK, is_light, is_awaiting: false }
    }

    fn kept_waiting(now: u64) -> Turn {
        Turn { took: WORK + KEPT_WAITING, ..turn(now, false) }
    }

    #[test]
    fn with_the_cpu_to_itself_there_is_no_pause() {
        let mut budget = Budget::default();
        assert_eq!(budget.pause_after(turn(7, false)), None);
        assert_eq!(budget.pause_after(turn(7, true)), None);
        assert_eq!(budget.pause_after(kept_waiting(8)), Some(WORK));
        assert_eq!(budget.pause_after(turn(11, false)), Some(WORK));
        assert!(budget.is_contended());
        assert_eq!(budget.pause_after(turn(12, false)), None);
    }

    #[test]
    fn whether_others_want_the_cpu_is_looked_at_in_a_lull() {
        let mut budget = Budget::default();
        budget.pause_after(kept_waiting(1));
        let at = |micros, is_light| Turn {
            now: Duration::from_secs(5) + Duration::from_micros(micros),
            ..turn(1, is_light)
        };
        // It is due, but somebody asks, and is answered in turn.
        for (micros, is_light) in [(0, true), (300, false), (600, true), (1_500, false)] {
            assert!(budget.pause_after(at(micros, is_light)).is_some());
            assert!(budget.is_contended());
        }
        assert_eq!(budget.pause_after(at(1_600, false)), None);
        assert!(!budget.is_contended());
        // They do: that is believed twice as long.
        let kept = Turn { took: WORK + KEPT_WAITING, ..at(3_000, false) };
        assert!(budget.pause_after(kept).is_some());
        assert!(budget.is_contended());
        assert!(budget.pause_after(turn(12, false)).is_some());
        assert_eq!(budget.pause_after(turn(14, false)), None);
        // And when they have come back after a while, as at first.
        assert!(budget.pause_after(kept_waiting(60)).is_some());
        assert!(budget.pause_after(turn(63, false)).is_some());
        assert_eq!(budget.pause_after(turn(65, false)), None);
    }

    #[test]
    fn an_answer_is_awaited_and_made_up_for() {
        let mut budget = Budget::default();
        budget.pause_after(kept_waiting(1));
        let now = Duration::from_secs(1);
        assert!(budget.is_awaiting(now, true) && !budget.is_awaiting(now, false));
        let asked = |micros| Turn { now: now + Duration::from_micros(micros), ..turn(1, true) };
        assert_eq!(budget.pause_after(asked(0)), Some(MOMENT));
        assert!(budget.is_awaiting(now + AWAITED / 2, false));
        assert!(!budget.is_awaiting(now + AWAITED, false));
        // What was not paused is, when nothing is awaited any more.
        let later = Turn { now: now + 2 * AWAITED, ..turn(1, false) };
        assert_eq!(budget.pause_after(later), Some(2 * WORK - MOMENT));
        assert_eq!(budget.pause_after(Turn { now: now + 4 * AWAITED, ..later }), Some(WORK));
    }

    proptest::proptest! {
        #[test]
        fn the_rest_has_half_of_the_time(
            turns in proptest::collection::vec((0u64..=300, proptest::bool::ANY), 1..300),
        ) {
            let mut budget = Budget::default();
            let mut now = Duration::from_secs(1);
            budget.pause_after(kept_waiting(1));
            let (mut left_alone, mut served) = (Duration::ZERO, Duration::ZERO);
            for (micros, is_light) in turns {
                let took = Duration::from_micros(micros);
                let is_awaiting = budget.is_awaiting(now, is_light);
                now += took;
                let turn = Turn { now, took, worked: took, is_awaiting, ..turn(1, is_light) };
                let pause = budget.pause_after(turn).unwrap();
                now += pause;
                *(if is_awaiting { &mut left_alone } else { &mut served }) += took + pause;
                // A turn that began when there was patience left may end beyond it, with its pause.
                let longest = Duration::from_micros(300) + LONGEST;
                let bound = served + PATIENCE + AWAITED + longest;
                assert!(left_alone <= bound, "{left_alone:?} {served:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_half_of_the_cpu(
            turns in proptest::collection::vec((0u64..=1_000, proptest::bool::ANY), 1..200),
        ) {
            let mut budget = Budget::default();
            budget.pause_after(kept_waiting(1));
            let (mut worked, mut paused) = (Duration::ZERO, Duration::ZERO);
            for (micros, is_light) in turns {
                let work = Duration::from_micros(micros);
                let turn = Turn { took: work, worked: work, ..turn(1, is_light) };
                worked += work;
                paused += budget.pause_after(turn).unwrap();
                assert!(worked <= paused + LONGEST / 2, "{worked:?} {paused:?}");
            }
        }
    }

    #[test]
    fn long_turns_are_made_up_for() {
        // Found by the property above when it did not hold.
        let turns = [548, 863, 573, 695, 811, 799, 875, 849, 713].map(Duration::from_micros);
        let mut budget = Budget::default();
        budget.pause_after(kept_waiting(1));
        let mut paused = Duration::ZERO;
        for (n, work) in turns.into_iter().enumerate() {
            let turn = Turn { took: work, worked: work, ..turn(1, n % 2 == 0) };
            paused += budget.pause_after(turn).unwrap();
        }
        assert!(turns.iter().sum::<Duration>() <= paused + LONGEST / 2, "{paused:?}");
    }
}

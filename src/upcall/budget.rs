//! How a handler with an endless backlog shares its CPU.
//!
//! A fair scheduler lets a thread that takes all the CPU it can get wait for its turn, some
//! milliseconds at a time, and a quiet port's first packet would wait with it. Nor does it help to
//! rest: the thread still waits for its turn once it is woken, unless it has had clearly less than its
//! share. So a handler to which others do not leave the CPU has itself run before them, in the lowest
//! real-time priority, while there are ports with little to ask, and limits itself: it works in small
//! pieces, and pauses after each for as long as it has worked. It never has more than half of a CPU
//! that way, which is less than a fair scheduler grants a daemon at the peer's usual nice level of
//! -10. Whether others still want the CPU cannot be told from before them: now and then it takes its
//! place among them again, at a time when nobody waits for an answer. With the CPU to itself, or
//! nobody there who would be answered the sooner, it neither pauses nor changes its class.
//!
//! Plain values, no clock and no system call of its own: one handler's thread.

use std::time::Duration;

/// A turn that took so much longer than it worked was kept waiting: a scheduler's tick or more. What
/// kernel threads take is far less.
const KEPT_WAITING: Duration = Duration::from_micros(500);

/// How long a handler takes the CPU for wanted by others after it was kept waiting. Looking again
/// costs a wait, so it is not done often.
const CONTENDED: Duration = Duration::from_secs(4);

/// How long after somebody with little to ask was answered that look may be taken: whom the packet
/// reached has answered in turn by then, and the next question is not there yet.
const LULL: Duration = Duration::from_millis(1);

/// Shortest pause, below which waking costs more than is worked.
const SHORTEST: Duration = Duration::from_micros(25);

/// Longest pause: nobody's first packet waits longer than that for a handler that sleeps.
const LONGEST: Duration = Duration::from_millis(1);

/// Pause when somebody with little to ask has just been answered: time enough for whom the packet
/// reaches to answer it in turn.
const MOMENT: Duration = Duration::from_micros(20);

/// See the module's page.
#[derive(Debug, Default)]
pub struct Budget {
    /// Others are believed to want the CPU.
    is_contended: bool,
    /// When that is to be looked at again.
    contended_until: Duration,
    /// When somebody with little to ask was answered last.
    light_at: Duration,
    /// Work that no pause has made up for yet.
    owed: Duration,
    /// The last pause was for an answer.
    has_given_way: bool,
}

/// What one turn took, and when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Time at its end, since any fixed moment.
    pub now: Duration,
    /// From its beginning to its end.
    pub took: Duration,
    /// Of that, on a CPU.
    pub worked: Duration,
    /// Somebody with little to ask was there of late.
    pub is_watched: bool,
    /// Somebody with little to ask was answered.
    pub is_light: bool,
}

impl Budget {
    /// Whether others want the CPU.
    pub fn is_contended(&self) -> bool {
        self.is_contended
    }

    /// How long to pause after a turn; `None` if nobody else wants the CPU, or nobody would be answered
    /// the sooner.
    pub fn pause_after(&mut self, turn: Turn) -> Option<Duration> {
        if turn.is_light {
            self.light_at = turn.now;
        }
        if turn.took.saturating_sub(turn.worked) >= KEPT_WAITING {
            self.is_contended = true;
            self.contended_until = turn.now + CONTENDED;
        } else if turn.now >= self.contended_until {
            let is_lull = turn.now.saturating_sub(self.light_at) >= LULL;
            self.is_contended &= turn.is_watched && !is_lull;
        }
        if !turn.is_watched || !self.is_contended {
            self.owed = Duration::ZERO;
            return None;
        }
        self.owed += turn.worked;
        // One pause in two may be too short, and what it lacks is owed: however many have little to
        // ask, they have no more than half of the CPU together. Not if one pause cannot make up for it.
        self.has_given_way = turn.is_light && !self.has_given_way && self.owed <= LONGEST / 2;
        let pause = if self.has_given_way { MOMENT } else { self.owed.clamp(SHORTEST, LONGEST) };
        self.owed = self.owed.saturating_sub(pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_micros(100);

    fn turn(now: u64, is_light: bool) -> Turn {
        Turn { now: Duration::from_secs(now), took: WORK, worked: WORK, is_watched: true, is_light }
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
        assert_eq!(budget.pause_after(Turn { is_watched: false, ..turn(11, false) }), None);
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
        // They do.
        let kept = Turn { took: WORK + KEPT_WAITING, ..at(3_000, false) };
        assert!(budget.pause_after(kept).is_some());
        assert!(budget.is_contended());
    }

    #[test]
    fn a_pause_for_an_answer_is_made_up_for() {
        let mut budget = Budget::default();
        budget.pause_after(kept_waiting(1));
        assert_eq!(budget.pause_after(turn(1, true)), Some(MOMENT));
        assert_eq!(budget.pause_after(turn(1, true)), Some(2 * WORK - MOMENT));
        assert_eq!(budget.pause_after(turn(1, false)), Some(WORK));
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
                let now = Duration::from_secs(1);
                let turn = Turn { now, took: work, worked: work, is_watched: true, is_light };
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

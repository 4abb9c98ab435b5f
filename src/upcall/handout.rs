//! Who has what in hand: the work of revalidator threads, and when those who wait for it are served.
//!
//! Work comes as *batches* of changes, any number of which may be in hand at once, and as *rounds*,
//! one at a time. What always holds: a purge is done when the batch that carries it is, and all before
//! that one; a round is done when one that began after it was asked for has ended, and so have all
//! batches that were in hand then or took up what it brought to light.
//!
//! Plain state, under the lock of [`Changes`](super::changes::Changes).

use std::collections::VecDeque;

/// See the module's page.
#[derive(Default)]
pub(super) struct Handout {
    /// Number of the batch that will be taken next.
    next_batch: u64,
    /// Batches that somebody works at.
    in_hand: Vec<u64>,
    running: Option<Round>,
    rounds: Requests,
    purges: Requests,
    /// What the clock called for and has been done: see [`Round::clock`].
    clock_done: u64,
}

/// A round, and those whom it serves.
#[derive(Clone, Copy)]
struct Round {
    request: u64,
    /// Number of the last request to look at the clock, when it began.
    clock: u64,
}

/// Requests of one kind, numbered.
#[derive(Default)]
struct Requests {
    asked: u64,
    done: u64,
    /// Requests that wait for all batches below a number, in the order of both; and what the clock
    /// showed.
    waiting: VecDeque<(u64, u64, u64)>,
}

impl Requests {
    fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// Takes notice that all batches below `batch` are done; tells what the clock showed.
    fn settle(&mut self, batch: u64) -> Option<u64> {
        let mut clock = None;
        while let Some(&(request, below, shown)) = self.waiting.front()
            && below <= batch
        {
            self.waiting.pop_front();
            self.done = request;
            clock = Some(shown);
        }
        clock
    }
}

impl Handout {
    /// Asks for a round that begins from now on.
    pub fn ask_round(&mut self) -> u64 {
        self.rounds.ask()
    }

    /// Asks for a purge, which the next batch carries.
    pub fn ask_purge(&mut self) -> u64 {
        self.purges.ask()
    }

    pub fn is_round_done(&self, request: u64) -> bool {
        self.rounds.done >= request
    }

    pub fn is_purge_done(&self, request: u64) -> bool {
        self.purges.done >= request
    }

    /// Whether a round is being made.
    pub fn is_round_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether nobody has anything in hand.
    pub fn is_idle(&self) -> bool {
        self.in_hand.is_empty() && self.running.is_none()
    }

    /// Somebody takes a batch.
    pub fn take_batch(&mut self, is_purge: bool) -> u64 {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.in_hand.push(batch);
        if is_purge {
            self.purges.waiting.push_back((self.purges.asked, self.next_batch, 0));
        }
        batch
    }

    pub fn end_batch(&mut self, batch: u64) {
        self.in_hand.retain(|other| *other != batch);
        self.settle();
    }

    /// A round begins, for all who have asked for one.
    pub fn begin_round(&mut self, clock: u64) {
        self.running = Some(Round { request: self.rounds.asked, clock });
    }

    /// The round has ended; `has_changes`: there are changes that nobody has taken.
    pub fn end_round(&mut self, has_changes: bool) {
        if let Some(Round { request, clock }) = self.running.take() {
            let below = self.next_batch + u64::from(has_changes);
            self.rounds.waiting.push_back((request, below, clock));
        }
        self.settle();
    }

    /// The last request to look at the clock that has been served.
    pub fn clock_done(&self) -> u64 {
        self.clock_done
    }

    fn settle(&mut self) {
        let below = self.in_hand.iter().min().copied().unwrap_or(self.next_batch);
        self.purges.settle(below);
        if let Some(clock) = self.rounds.settle(below) {
            self.clock_done = clock;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_done_when_its_aftermath_is() {
        let mut handout = Handout::default();
        let early = handout.take_batch(false);
        let asked = handout.ask_round();
        handout.begin_round(5);
        let late = handout.ask_round();
        handout.end_round(true);
        assert!(!handout.is_round_done(asked), "what it brought to light has not been looked at");
        let aftermath = handout.take_batch(false);
        handout.end_batch(aftermath);
        assert!(!handout.is_round_done(asked), "one that began before is still in hand");
        // Something more comes, which nobody waits for.
        handout.take_batch(false);
        handout.end_batch(early);
        assert!(handout.is_round_done(asked) && !handout.is_round_done(late));
        assert_eq!(handout.clock_done(), 5);
    }

    #[test]
    fn a_purge_is_done_with_all_that_was_in_hand_before() {
        let mut handout = Handout::default();
        let before = handout.take_batch(false);
        let asked = handout.ask_purge();
        let purge = handout.take_batch(true);
        handout.end_batch(purge);
        assert!(!handout.is_purge_done(asked) && !handout.is_idle());
        handout.end_batch(before);
        assert!(handout.is_purge_done(asked) && handout.is_idle());
    }
}

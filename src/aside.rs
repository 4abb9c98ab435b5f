//! The control thread's works: a thread that does for it what may take long.
//!
//! What always holds: while a piece of work is done the control thread serves its sockets; what the work
//! is about is lent to it and given back, so that nobody else touches it meanwhile; there is one such
//! thread, and pieces of work are done one after the other, in the order in which they were handed
//! over; without a thread the work is done at once, by whom it is for.
//!
//! Control thread, and the thread "works", which it starts when it first needs it.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::vlog;

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The thread that works for this one, from the first time that it is needed.
    static WORKER: OnceCell<mpsc::Sender<Job>> = const { OnceCell::new() };
}

/// Has the thread that works for this one do `job`. There is one of them, and one job at a time.
fn have_done(job: Job) {
    let start = || {
        let (sender, jobs) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("works".to_owned()).spawn(move || {
            // Its lines are those that the peer's main thread writes.
            vlog::set_subprogram_name("");
            jobs.into_iter().for_each(|job| job());
        });
        if let Err(error) = thread {
            tracing::warn!(target: "bridge", "no thread for the control thread's work: {error}");
        }
        sender
    };
    WORKER.with(|worker| {
        // Without a thread the work is done here.
        if let Err(mpsc::SendError(job)) = worker.get_or_init(start).send(job) {
            job();
        }
    });
}

/// Lends `state` to a thread that does `work` with it. Must be waited for to its end, or what was lent is
/// lost.
pub async fn aside<S, T>(state: &mut S, work: impl FnOnce(&mut S) -> T + Send + 'static) -> T
where
    S: Default + Send + 'static,
    T: Send + 'static,
{
    let mut lent = std::mem::take(state);
    let (done, waiting) = oneshot::channel();
    have_done(Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut lent)));
        // Nobody waits only if the whole process ends.
        let _ = done.send((lent, result));
    }));
    match waiting.await {
        Ok((back, result)) => {
            *state = back;
            // A panic is passed on.
            result.unwrap_or_else(|panic| resume_unwind(panic))
        }
        Err(_) => unreachable!("a job is done or passes its panic on"),
    }
}

/// Has what nobody needs any more freed by a thread.
pub fn free<T: Send + 'static>(left: T) {
    have_done(Box::new(move || drop(left)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn block_on<T>(what: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(what)
    }

    #[test]
    fn others_have_their_turn_while_work_is_done() {
        let (go_on, waits) = mpsc::channel();
        let mut lent = vec![1];
        let work = aside(&mut lent, move |lent| {
            waits.recv_timeout(PATIENCE).expect("the other task has its turn");
            lent.push(2);
            lent.len()
        });
        // The first is polled first.
        let (length, ()) =
            block_on(async { tokio::join!(work, async { go_on.send(()).unwrap() }) });
        assert_eq!((length, lent), (2, vec![1, 2]));
    }

    #[test]
    fn work_is_done_in_order_by_one_thread() {
        let (sender, done) = mpsc::channel();
        let told = sender.clone();
        struct Told(mpsc::Sender<std::thread::ThreadId>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.send(std::thread::current().id()).unwrap();
            }
        }
        free(Told(told));
        let by = block_on(aside(&mut (), |()| std::thread::current().id()));
        free(Told(sender));
        assert_ne!(by, std::thread::current().id());
        let freed: Vec<_> = done.iter().collect();
        assert_eq!(freed, [by, by]);
    }

    #[test]
    fn a_panic_is_passed_on() {
        let result = catch_unwind(|| block_on(aside(&mut (), |()| panic!("of work"))));
        let panic = result.expect_err("a panic");
        assert_eq!(panic.downcast_ref(), Some(&"of work"));
        assert_eq!(block_on(aside(&mut 3, |n| *n + 1)), 4, "the next work is done");
    }
}

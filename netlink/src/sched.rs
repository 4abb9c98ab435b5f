//! Reading before others run: the scheduling class of a thread that reads a busy socket.
//!
//! A socket whose reader waits for its turn overflows, and what waits in it waits along. A reader that
//! limits itself may have itself run before all threads of the normal class for a while.
//!
//! Each value is for use by the thread that made it. Source: `sched(7)`.

use std::io;

use crate::sys;

/// A thread's scheduling class, and a way to raise it for a while.
#[derive(Debug)]
pub struct Class {
    /// The policy that it has otherwise; `None` where it is never raised.
    normal: Option<i32>,
    is_raised: bool,
}

impl Class {
    /// Of the calling thread. One that somebody has given a real-time class is left in it.
    pub fn of_this_thread() -> Self {
        let is_normal = |policy: &i32| matches!(*policy, libc::SCHED_OTHER | libc::SCHED_BATCH);
        Self { normal: sys::scheduler().ok().filter(is_normal), is_raised: false }
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        self.is_raised
    }

    /// Puts the calling thread before all of the normal class (`SCHED_FIFO`, priority 1), or back. Its
    /// nice level stays what it is.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_NICE` or a suitable `RLIMIT_RTPRIO`. The class is as before then, and it
    /// is not tried again.
    pub fn raise(&mut self, is_raised: bool) -> io::Result<()> {
        let Some(normal) = self.normal.filter(|_| is_raised != self.is_raised) else {
            return Ok(());
        };
        let (policy, priority) = if is_raised { (libc::SCHED_FIFO, 1) } else { (normal, 0) };
        sys::set_scheduler(policy, priority).inspect_err(|_| self.normal = None)?;
        self.is_raised = is_raised;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_where_allowed_and_put_back() {
        let mut class = Class::of_this_thread();
        let before = sys::scheduler().unwrap();
        match class.raise(true) {
            Ok(()) => assert_eq!(sys::scheduler().unwrap(), libc::SCHED_FIFO),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        }
        class.raise(false).unwrap();
        assert_eq!(sys::scheduler().unwrap(), before);
        assert!(!class.is_raised());
    }
}

//! A thread that waits at the kernel's announcements and hands them to the control task.
//!
//! What always holds: the control task is woken after each announcement; past a bound they are
//! dropped, and told as lost; the thread ends when its [`Feed`] is dropped, and sleeps until then.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use crate::datapath::{PortEvent, PortEvents};
use crate::limits::PORT_EVENTS_MAX;
use crate::netdev::{LinkEvent, LinkEvents};

/// Where announcements come from.
pub(super) trait Source: Send + 'static {
    /// An announcement.
    type Event: Send + 'static;

    /// Readable when there are some.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Hands out those that are there; false when there will be no more.
    fn read(&mut self, each: &mut dyn FnMut(Self::Event)) -> bool;

    /// What tells that some were lost.
    fn lost() -> Self::Event;
}

impl Source for Box<dyn PortEvents> {
    type Event = PortEvent;

    fn fd(&self) -> BorrowedFd<'_> {
        (**self).fd()
    }

    fn read(&mut self, each: &mut dyn FnMut(PortEvent)) -> bool {
        (**self).read(each).is_ok()
    }

    fn lost() -> PortEvent {
        PortEvent::Overrun
    }
}

impl Source for Box<dyn LinkEvents> {
    type Event = LinkEvent;

    fn fd(&self) -> BorrowedFd<'_> {
        (**self).fd()
    }

    fn read(&mut self, each: &mut dyn FnMut(LinkEvent)) -> bool {
        (**self).read(each).is_ok()
    }

    fn lost() -> LinkEvent {
        LinkEvent::Overrun
    }
}

/// What the thread has heard.
struct Heard<E> {
    events: Vec<E>,
    has_ended: bool,
}

/// See the module's page.
pub(super) struct Feed<E> {
    heard: Arc<Mutex<Heard<E>>>,
    /// Closed when the thread shall end.
    _stop: PipeWriter,
}

impl<E: Send + 'static> Feed<E> {
    /// Has a thread of this name listen to `source`, and ring `bell` when there is something.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start<S: Source<Event = E>>(
        name: &str,
        source: S,
        bell: Arc<Notify>,
    ) -> std::io::Result<Self> {
        let (stop, end) = std::io::pipe()?;
        let heard = Arc::new(Mutex::new(Heard { events: Vec::new(), has_ended: false }));
        let shared = heard.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(move || listen(source, &shared, &bell, &stop))?;
        Ok(Self { heard, _stop: end })
    }

    /// Takes what has been heard.
    pub(super) fn take(&self) -> Vec<E> {
        std::mem::take(&mut lock(&self.heard).events)
    }

    /// Whether there will be nothing more to hear.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.heard).has_ended
    }
}

fn lock<E>(heard: &Mutex<Heard<E>>) -> MutexGuard<'_, Heard<E>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen<S: Source>(
    mut source: S,
    heard: &Mutex<Heard<S::Event>>,
    bell: &Notify,
    stop: &PipeReader,
) {
    loop {
        let mut fds = [
            PollFd::new(source.fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE);
        let is_set = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        if is_set(&fds[1]) {
            return;
        }
        if !is_set(&fds[0]) {
            continue;
        }
        let mut events = Vec::new();
        let more = source.read(&mut |event| events.push(event));
        if events.is_empty() && more {
            continue;
        }
        let mut heard = lock(heard);
        if heard.events.len() + events.len() > PORT_EVENTS_MAX {
            heard.events.clear();
            events = vec![S::lost()];
        }
        heard.events.append(&mut events);
        heard.has_ended = !more;
        drop(heard);
        bell.notify_one();
        if !more {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::datapath::fake::FakeKernel;
    use crate::netdev::HostDevices;

    fn heard(feed: &Feed<LinkEvent>, bell: &Notify) -> Vec<LinkEvent> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let patience = Duration::from_secs(60);
            tokio::time::timeout(patience, bell.notified()).await.expect("a ring");
        });
        feed.take()
    }

    #[test]
    fn what_happens_is_heard() {
        let kernel = FakeKernel::new();
        let bell = Arc::new(Notify::new());
        let feed = Feed::start("test", kernel.watch().unwrap(), bell.clone()).unwrap();
        kernel.add_device("a");
        let events = heard(&feed, &bell);
        assert!(matches!(&events[..], [LinkEvent::Changed(link)] if link.name == "a"));
        kernel.remove_device("a");
        let events = heard(&feed, &bell);
        assert!(matches!(&events[..], [LinkEvent::Removed(link)] if link.name == "a"));
        assert!(!feed.has_ended());
    }
}

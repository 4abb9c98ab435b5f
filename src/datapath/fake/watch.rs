//! Events of the fake kernel on their way to a reader that sleeps on a descriptor.
//!
//! What always holds: the descriptor is readable while there are events; past a bound they are
//! replaced by a single overrun.
//!
//! One writer under the fake kernel's lock, one reading thread.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    datapath::{DpError, PortEvent, PortEvents},
    limits,
};

/// The kernel's end.
#[derive(Debug)]
pub(super) struct Watcher<E> {
    bell: UnixStream,
    events: Arc<Mutex<VecDeque<E>>>,
}

/// The reader's end.
#[derive(Debug)]
pub struct Reader<E> {
    bell: UnixStream,
    events: Arc<Mutex<VecDeque<E>>>,
}

impl<E> Watcher<E> {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, Reader<E>)> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let events = Arc::new(Mutex::new(VecDeque::new()));
        Ok((Self { bell, events: events.clone() }, Reader { bell: heard, events }))
    }

    /// Delivers `event`, or past the bound `overrun`; false when nobody reads any more.
    pub fn tell(&mut self, event: E, overrun: E) -> bool {
        if Arc::strong_count(&self.events) == 1 {
            return false;
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match events.len() {
            n if n < limits::PORT_EVENTS_MAX => events.push_back(event),
            limits::PORT_EVENTS_MAX => events.push_back(overrun),
            _ => (),
        }
        // A full pipe is readable already.
        let _ = self.bell.write(&[1]);
        true
    }
}

impl<E> Reader<E> {
    /// Readable when there are events.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Hands out the events that are there. Never waits.
    pub fn read(&mut self, each: &mut dyn FnMut(E)) {
        let mut rings = [0; 64];
        while matches!(self.bell.read(&mut rings), Ok(n) if n == rings.len()) {}
        let events =
            std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        events.into_iter().for_each(each);
    }
}

impl PortEvents for Reader<PortEvent> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    fn read(&mut self, each: &mut dyn FnMut(PortEvent)) -> Result<(), DpError> {
        self.read(each);
        Ok(())
    }
}

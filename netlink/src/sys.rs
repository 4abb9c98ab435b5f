//! The system calls that netlink-sys lacks, the registration with tokio, a call to the allocator, and
//! the only file with `unsafe` in it.
//!
//! What always holds: each function is safe to call with any arguments; pointers handed to the
//! kernel point into slices that are borrowed for the whole call, and none is kept afterwards.
//!
//! No state, any thread. Sources: `recvmmsg(2)`, `sendmsg(2)`, `poll(2)`, `socket(7)`,
//! `sched(7)`, `linux/ethtool.h`.

use std::io::{self, IoSlice};
use std::mem::{self, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::ptr;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::monitor::Listener;
use crate::tally;

/// `SO_MEMINFO`: nine 32-bit words about a socket's memory, `SK_MEMINFO_*` of `sock_diag.h`.
const MEMINFO_WORDS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;

/// Message headers for [`recvmmsg`], kept between calls so that only addresses are written anew.
pub(crate) struct RecvHeaders {
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the raw pointers inside are written by `recvmmsg` before each use and never read outside
// of it, so it does not matter which thread owns them in between.
unsafe impl Send for RecvHeaders {}
// SAFETY: as above; through a shared reference only `outcome` works, which reads integers.
unsafe impl Sync for RecvHeaders {}

impl RecvHeaders {
    /// For up to `count` messages a call.
    pub(crate) fn new(count: usize) -> Self {
        // SAFETY: mmsghdr and iovec are plain C structures of integers and pointers, for which all
        // bits zero is a valid value (null pointers, zero lengths).
        let (header, iovec) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Self { headers: vec![header; count], iovecs: vec![iovec; count] }
    }

    /// Notes the outcome of a message that came another way; false when there is no such slot.
    pub(crate) fn set_outcome(&mut self, index: usize, len: usize, truncated: bool) -> bool {
        let (Some(h), Ok(len)) = (self.headers.get_mut(index), len.try_into()) else {
            return false;
        };
        h.msg_len = len;
        h.msg_hdr.msg_flags = if truncated { libc::MSG_TRUNC } else { 0 };
        true
    }

    /// Length of message `index` of the last call before truncation, and whether it was truncated.
    pub(crate) fn outcome(&self, index: usize) -> Option<(usize, bool)> {
        let h = self.headers.get(index)?;
        Some((h.msg_len as usize, h.msg_hdr.msg_flags & libc::MSG_TRUNC != 0))
    }
}

/// Receives without blocking: message i into the i-th `slot` bytes of `memory`. Returns how many
/// came; `WouldBlock` when none is there.
pub(crate) fn recvmmsg(
    fd: BorrowedFd<'_>,
    h: &mut RecvHeaders,
    memory: &mut [u8],
    slot: usize,
) -> io::Result<usize> {
    let mut count = 0;
    let slots = memory.chunks_exact_mut(slot.max(1));
    for ((header, iovec), slot) in h.headers.iter_mut().zip(&mut h.iovecs).zip(slots) {
        iovec.iov_base = slot.as_mut_ptr().cast();
        iovec.iov_len = slot.len();
        header.msg_hdr.msg_iov = iovec;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point to `count` live iovecs, each describing a disjoint
    // part of `memory`, which is mutably borrowed for the whole call; name and control are null.
    let got = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            h.headers.as_mut_ptr(),
            count,
            (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as _,
            ptr::null_mut(),
        )
    };
    tally::received(usize::try_from(got).map_err(|_| io::Error::last_os_error()), |&got| got)
}

/// Sends the concatenation of `parts` as one datagram.
pub(crate) fn sendmsg(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: msghdr is a plain C structure for which all bits zero is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    // IoSlice is documented to have the layout of iovec; the kernel does not write through it.
    header.msg_iov = parts.as_ptr().cast_mut().cast();
    header.msg_iovlen = parts.len() as _;
    // SAFETY: `header` points to `parts.len()` iovecs over memory borrowed for the whole call; name
    // and control are null.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &header, 0) };
    tally::sent(usize::try_from(sent).map_err(|_| io::Error::last_os_error()))
}

/// Waits until the socket is readable or has an error to report; false when `timeout` ran out.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // Rounded up, so that a wait below a millisecond is not a busy loop.
    let millis = timeout.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX);
    // SAFETY: one live pollfd, and a count of one.
    match unsafe { libc::poll(&mut entry, 1, millis) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

/// The scheduling policy of the calling thread (`SCHED_*`).
pub(crate) fn scheduler() -> io::Result<i32> {
    // SAFETY: no pointers; 0 is the calling thread.
    match unsafe { libc::sched_getscheduler(0) } {
        -1 => Err(io::Error::last_os_error()),
        policy => Ok(policy),
    }
}

/// Gives the calling thread another scheduling policy.
pub(crate) fn set_scheduler(policy: i32, priority: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: one live structure that is read during the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const param) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks for a receive buffer of `bytes`, past `net.core.rmem_max` where privileges allow.
pub(crate) fn set_rcvbuf(fd: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_int(fd, libc::SO_RCVBUFFORCE, bytes).or_else(|_| set_int(fd, libc::SO_RCVBUF, bytes))
}

/// Size of the receive buffer as the kernel accounts it (twice what was asked for).
pub(crate) fn rcvbuf(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut value = [0i32];
    get_option(fd, libc::SO_RCVBUF, &mut value)?;
    Ok(usize::try_from(value[0]).unwrap_or(0))
}

/// How many datagrams the kernel has dropped because the receive buffer was full.
pub(crate) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut words = [0i32; MEMINFO_WORDS];
    get_option(fd, libc::SO_MEMINFO, &mut words)?;
    Ok(words[SK_MEMINFO_DROPS].cast_unsigned())
}

/// Makes a netlink-sys socket of a descriptor that someone else opened.
pub(crate) fn adopt(fd: OwnedFd) -> netlink_sys::Socket {
    // SAFETY: into_raw_fd passes the ownership on, so the descriptor is open and closed only once.
    unsafe { netlink_sys::Socket::from_raw_fd(fd.into_raw_fd()) }
}

/// Registers a listener with the tokio runtime, to be told when it is readable.
pub(crate) fn watch(listener: Listener) -> io::Result<AsyncFd<Listener>> {
    // SAFETY: a Listener owns its socket from beginning to end, nothing in this crate exchanges or
    // closes it, and so its descriptor is open and the same for as long as the AsyncFd has it.
    let watched = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
    watched.map_err(|e| e.into_parts().1)
}

/// Has the C library's allocator give the memory back to the system that nobody uses. It keeps some
/// megabytes of each arena otherwise, the more the larger the blocks that were ever freed. With another
/// library nothing happens.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, may be called at any time and on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn set_int(fd: BorrowedFd<'_>, name: libc::c_int, value: i32) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which lives for the whole call.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn get_option(fd: BorrowedFd<'_>, name: libc::c_int, value: &mut [i32]) -> io::Result<()> {
    let mut len = size_of_val(value) as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which is mutably borrowed for the whole call; the
    // kernel writes at most `len` bytes, and any bytes are valid integers.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Carries out an ethtool command that only asks, into a buffer of the structure's full size.
///
/// `N` must be at least the size of the structure that the command answers with; each caller below
/// has one command and one size.
fn ethtool<const N: usize>(device: &str, command: u32) -> io::Result<[u8; N]> {
    // Any socket does: the call is about the network namespace.
    let socket = UnixDatagram::unbound()?;
    let mut answer = [0; N];
    answer[..4].copy_from_slice(&command.to_ne_bytes());
    // SAFETY: ifreq is a plain C structure for which all bits zero is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero, so the name is terminated.
    if device.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = answer.as_mut_ptr().cast();
    // SAFETY: the request points to `answer`, which lives for the whole call and holds the structure
    // that the kernel writes for this command; the kernel keeps no pointer to it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// `struct ethtool_drvinfo` of a device.
pub(crate) fn ethtool_drvinfo(device: &str) -> io::Result<[u8; 196]> {
    const ETHTOOL_GDRVINFO: u32 = 0x3;
    ethtool(device, ETHTOOL_GDRVINFO)
}

/// `struct ethtool_cmd` of a device.
pub(crate) fn ethtool_settings(device: &str) -> io::Result<[u8; 44]> {
    const ETHTOOL_GSET: u32 = 0x1;
    ethtool(device, ETHTOOL_GSET)
}

//! TCP header (RFC 9293).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Be16, Be32};

/// Fixed part of the header.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct TcpHeader {
    /// Source port.
    pub src: Be16,
    /// Destination port.
    pub dst: Be16,
    /// Sequence number.
    pub seq: Be32,
    /// Acknowledgement number.
    pub ack: Be32,
    /// Header length in 32-bit words (4 bits) and flags (12 bits).
    pub ctl: Be16,
    /// Receive window.
    pub window: Be16,
    /// Checksum over pseudo header, header and payload.
    pub checksum: Be16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// Bytes of a header without options.
pub const TCP_HEADER_LEN: usize = size_of::<TcpHeader>();

impl TcpHeader {
    /// Bytes of the header with its options, as it says; at least [`TCP_HEADER_LEN`] when sane.
    pub fn header_len(&self) -> usize {
        usize::from(self.ctl.get() >> 12) * 4
    }

    /// The 12 flag bits.
    pub fn flags(&self) -> u16 {
        self.ctl.get() & 0x0fff
    }
}

/// Bits of [`TcpHeader::flags`].
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u16 = 0x001;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x002;
    /// Reset the connection.
    pub const RST: u16 = 0x004;
    /// Push.
    pub const PSH: u16 = 0x008;
    /// The acknowledgement number is valid.
    pub const ACK: u16 = 0x010;
    /// The urgent pointer is valid.
    pub const URG: u16 = 0x020;
    /// ECN echo.
    pub const ECE: u16 = 0x040;
    /// Congestion window reduced.
    pub const CWR: u16 = 0x080;
    /// Nonce sum.
    pub const NS: u16 = 0x100;
}

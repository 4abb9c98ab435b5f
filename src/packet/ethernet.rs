//! Ethernet addresses and the Ethernet header (IEEE 802.3).
//!
//! The type field follows any VLAN tags; below [`ether_type::MIN`](super::ether_type::MIN) it is a
//! length and an [`llc`](super::llc) header follows. Plain values: any thread.

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;

/// An Ethernet address.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct EthAddr(pub [u8; 6]);

impl EthAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00.
    pub const ZERO: Self = Self([0; 6]);

    /// True for group addresses, the broadcast address among them.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// True for the broadcast address.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// True for addresses of protocols between neighbouring switches, which a bridge never
    /// forwards: 01:80:c2:00:00:0x of IEEE 802.1D, and those of Extreme's (EDP, EAPS) and Cisco's
    /// (ISL, CDP and its like, PVST+, uplink fast, CFM) that the peer knows.
    pub fn is_reserved(self) -> bool {
        matches!(
            self.to_u64(),
            0x0180_c200_0000..=0x0180_c200_000f
                | 0x00e0_2b00_0000
                | 0x00e0_2b00_0004
                | 0x00e0_2b00_0006
                | 0x0100_0c00_0000
                | 0x0100_0ccc_cccc
                | 0x0100_0ccc_cccd
                | 0x0100_0ccd_cdcd
                | 0x0100_0ccc_ccc0..=0x0100_0ccc_ccc7
        )
    }

    /// True for an address that was not bought from the IEEE.
    pub fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// True for 00:00:00:00:00:00.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The address as a number, first byte highest.
    pub fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address of a number's low 48 bits.
    pub fn from_u64(number: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for EthAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for EthAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not an Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid Ethernet address")]
pub struct EthAddrError;

impl FromStr for EthAddr {
    type Err = EthAddrError;

    /// Six hexadecimal numbers of one or two digits, separated by colons.
    fn from_str(text: &str) -> Result<Self, EthAddrError> {
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().ok_or(EthAddrError)?;
            if part.is_empty() || part.len() > 2 || part.starts_with('+') {
                return Err(EthAddrError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| EthAddrError)?;
        }
        if parts.next().is_some() { Err(EthAddrError) } else { Ok(Self(address)) }
    }
}

/// An Ethernet header without VLAN tags.
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
pub struct EthernetHeader {
    /// Destination.
    pub dst: EthAddr,
    /// Source.
    pub src: EthAddr,
    /// Type, or length for 802.3.
    pub ether_type: Be16,
}

/// Bytes of an Ethernet header.
pub const ETH_HEADER_LEN: usize = size_of::<EthernetHeader>();

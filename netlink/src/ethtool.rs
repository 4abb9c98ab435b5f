//! What a device's driver says of itself, by ethtool.
//!
//! What always holds: a device that knows no ethtool is an error and nothing else; text is cut at its
//! NUL, and what is not UTF-8 in it is replaced.
//!
//! No state, any thread; a call may wait for the driver. Source: `include/uapi/linux/ethtool.h`.

use std::io;

use crate::sys;

/// A device's driver (`ETHTOOL_GDRVINFO`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Driver {
    /// Its name, as "veth".
    pub name: String,
    /// Its version; for drivers without one the kernel's.
    pub version: String,
    /// Version of the device's firmware, mostly empty.
    pub firmware: String,
}

/// Speed and duplex of a device (`ETHTOOL_GSET`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkMode {
    /// Megabits a second, if known.
    pub mbps: Option<u32>,
    /// Full (true) or half duplex, if known.
    pub full_duplex: Option<bool>,
}

/// The driver of a device.
///
/// # Errors
/// When there is no such device, or its driver knows no ethtool.
pub fn driver(device: &str) -> io::Result<Driver> {
    let info = sys::ethtool_drvinfo(device)?;
    let (name, rest) = info[4..].split_at(32);
    let (version, rest) = rest.split_at(32);
    Ok(Driver { name: text(name), version: text(version), firmware: text(&rest[..32]) })
}

/// Speed and duplex of a device.
///
/// # Errors
/// As [`driver`].
pub fn link_mode(device: &str) -> io::Result<LinkMode> {
    Ok(mode(&sys::ethtool_settings(device)?))
}

fn mode(settings: &[u8; 44]) -> LinkMode {
    let half = |at: usize| u32::from(u16::from_ne_bytes([settings[at], settings[at + 1]]));
    // Two halves of one number: `speed` and `speed_hi`.
    let mbps = half(12) | half(28) << 16;
    // A driver that does not know says so with all ones, in either width.
    let known = mbps != 0 && mbps != u32::from(u16::MAX) && mbps != u32::MAX;
    let full_duplex = match settings[14] {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    LinkMode { mbps: known.then_some(mbps), full_duplex: full_duplex.filter(|_| known) }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Offsets by hand from struct ethtool_cmd: cmd, supported, advertising (4 bytes each), speed (2),
    // duplex, port, phy_address, transceiver, autoneg, mdio_support, two of 4 bytes, speed_hi.
    #[test]
    fn speeds_are_read_from_both_halves() {
        let mut settings = [0; 44];
        settings[12..14].copy_from_slice(&10_000_u16.to_ne_bytes());
        settings[14] = 1;
        assert_eq!(mode(&settings), LinkMode { mbps: Some(10_000), full_duplex: Some(true) });
        settings[12..14].copy_from_slice(&(100_000_u32 as u16).to_ne_bytes());
        settings[28..30].copy_from_slice(&1_u16.to_ne_bytes());
        assert_eq!(mode(&settings).mbps, Some(100_000));
        settings[12..14].fill(0xff);
        settings[28..30].fill(0xff);
        settings[14] = 0xff;
        assert_eq!(mode(&settings), LinkMode { mbps: None, full_duplex: None });
    }

    #[test]
    fn names_that_are_no_device_are_errors() {
        for name in ["no/such", "a-name-of-more-than-fifteen-bytes", ""] {
            assert!(driver(name).is_err(), "{name}");
            assert!(link_mode(name).is_err(), "{name}");
        }
    }

    #[test]
    fn text_ends_at_its_nul() {
        assert_eq!(text(b"veth\0\0junk"), "veth");
        assert_eq!(text(b"full"), "full");
    }
}

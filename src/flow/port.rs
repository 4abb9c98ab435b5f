//! OpenFlow port numbers and their names in text.
//! Plain values: any thread.

use std::collections::HashMap;
use std::fmt;

/// An OpenFlow port number, in its OpenFlow 1.0 form (16 bits) as the switch uses it inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OfPort(pub u16);

/// What OpenFlow 1.1 and later add to reserved numbers.
const OFP11_OFFSET: u32 = 0xffff_0000;

const RESERVED: [(&str, OfPort); 9] = [
    ("IN_PORT", OfPort::IN_PORT),
    ("TABLE", OfPort::TABLE),
    ("NORMAL", OfPort::NORMAL),
    ("FLOOD", OfPort::FLOOD),
    ("ALL", OfPort::ALL),
    ("CONTROLLER", OfPort::CONTROLLER),
    ("LOCAL", OfPort::LOCAL),
    ("ANY", OfPort::NONE),
    ("UNSET", OfPort::UNSET),
];

impl OfPort {
    /// First number that is not free for a port.
    pub const MAX: Self = Self(0xff00);
    /// Output port not set in the action set.
    pub const UNSET: Self = Self(0xfff7);
    /// The port the packet came in by.
    pub const IN_PORT: Self = Self(0xfff8);
    /// Submit to the flow tables.
    pub const TABLE: Self = Self(0xfff9);
    /// Forward as a learning switch would.
    pub const NORMAL: Self = Self(0xfffa);
    /// All ports but the input port and those with flooding disabled.
    pub const FLOOD: Self = Self(0xfffb);
    /// All ports but the input port.
    pub const ALL: Self = Self(0xfffc);
    /// A controller.
    pub const CONTROLLER: Self = Self(0xfffd);
    /// The bridge's own internal device.
    pub const LOCAL: Self = Self(0xfffe);
    /// No port; any port in a request.
    pub const NONE: Self = Self(0xffff);

    /// The port in the form that a flow's `in_port` has.
    pub fn in_port(self) -> u32 {
        u32::from(self.0)
    }

    /// The number as OpenFlow 1.1 and later have it.
    pub fn to_ofp11(self) -> u32 {
        if self < Self::MAX { self.0.into() } else { u32::from(self.0) + OFP11_OFFSET }
    }

    /// The port that OpenFlow 1.1 and later number so; `None` for numbers beyond 16 bits.
    pub fn from_ofp11(number: u32) -> Option<Self> {
        let max = u32::from(Self::MAX.0);
        (number < max || number >= OFP11_OFFSET + max).then_some(Self(number as u16))
    }

    /// Name of a reserved number.
    pub fn reserved_name(self) -> Option<&'static str> {
        RESERVED.iter().find(|(_, port)| *port == self).map(|(name, _)| *name)
    }

    /// Reads a number of either form, or a reserved name in any case.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<u32>() {
            return match u16::try_from(number) {
                Ok(number) => Some(Self(number)),
                Err(_) => Self::from_ofp11(number),
            };
        }
        if text.eq_ignore_ascii_case("NONE") {
            return Some(Self::NONE);
        }
        let matches = |(name, _): &&(&str, Self)| name.eq_ignore_ascii_case(text);
        RESERVED.iter().find(matches).map(|(_, port)| *port)
    }
}

impl fmt::Debug for OfPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OfPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reserved_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Names of a bridge's ports, for text with names.
#[derive(Clone, Debug, Default)]
pub struct PortNames {
    names: HashMap<OfPort, String>,
    ports: HashMap<String, OfPort>,
}

impl PortNames {
    /// Adds a port.
    pub fn add(&mut self, port: OfPort, name: &str) {
        self.names.insert(port, name.to_owned());
        self.ports.insert(name.to_owned(), port);
    }

    /// The port's name.
    pub fn name(&self, port: OfPort) -> Option<&str> {
        self.names.get(&port).map(String::as_str)
    }

    /// The port of that name.
    pub fn port(&self, name: &str) -> Option<OfPort> {
        self.ports.get(name).copied()
    }

    /// Reads a number, a reserved name, or a name given here, perhaps in double quotes.
    pub fn parse(&self, text: &str) -> Option<OfPort> {
        OfPort::parse(text).or_else(|| {
            if text.starts_with('"') {
                self.port(&serde_json::from_str::<String>(text).ok()?)
            } else {
                self.port(text)
            }
        })
    }

    /// Writes a reserved name, a name given here (in quotes unless it is a plain word), or the
    /// number.
    pub fn format(&self, port: OfPort, out: &mut impl fmt::Write) -> fmt::Result {
        match self.name(port).filter(|_| port.reserved_name().is_none()) {
            Some(name) if is_plain(name) => out.write_str(name),
            Some(name) => write!(out, "{}", serde_json::Value::from(name)),
            None => write!(out, "{port}"),
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_forms() {
        assert_eq!(OfPort(5).to_ofp11(), 5);
        assert_eq!(OfPort::LOCAL.to_ofp11(), 0xffff_fffe);
        assert_eq!(OfPort::from_ofp11(0xffff_fffe), Some(OfPort::LOCAL));
        assert_eq!(OfPort::from_ofp11(0xff00), None);
        assert_eq!(OfPort::from_ofp11(0xffff_feff), None);
        assert_eq!(OfPort::parse("4294967294"), Some(OfPort::LOCAL));
        assert_eq!(OfPort::parse("local"), Some(OfPort::LOCAL));
        assert_eq!(OfPort::parse("-1"), None);
        assert_eq!(OfPort::NONE.to_string(), "ANY");
    }

    #[test]
    fn names_are_quoted_when_needed() {
        let mut names = PortNames::default();
        names.add(OfPort(1), "eth0");
        names.add(OfPort(2), "p-1");
        let text = |port| {
            let mut text = String::new();
            names.format(port, &mut text).unwrap();
            text
        };
        assert_eq!([text(OfPort(1)), text(OfPort(2)), text(OfPort(3))], ["eth0", "\"p-1\"", "3"]);
        assert_eq!(names.parse("\"p-1\""), Some(OfPort(2)));
        assert_eq!(names.parse("eth0"), Some(OfPort(1)));
        assert_eq!(names.parse("eth9"), None);
    }
}

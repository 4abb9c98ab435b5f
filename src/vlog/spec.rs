//! What an operator may say to `-v`, `--verbose` and `vlog/set`: levels, patterns, facilities.
//!
//! Pure text in, a [`Spec`] or the peer's error text out; nothing is changed here. A
//! specification is a list of words between blanks, commas, colons and tabs, in any order:
//! at most one module, one destination and one level; or `PATTERN:destination:text`, or
//! `FACILITY:name`. Source: ovs-appctl(8), "LOGGING COMMANDS".

use super::module::{Destination, Level, Module};
use thiserror::Error;

/// A change to how lines are sorted and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Set the threshold; `None` stands for all modules or destinations.
    Levels {
        /// Which module.
        module: Option<Module>,
        /// Which destination.
        destination: Option<Destination>,
        /// The new threshold.
        level: Level,
    },
    /// Set the pattern of a destination, or of all.
    Pattern {
        /// Which destination.
        destination: Option<Destination>,
        /// The new pattern, as typed.
        pattern: String,
    },
    /// Set the syslog facility (RFC 5424 number times eight).
    Facility(u8),
}

/// Why a specification was refused; the text is the peer's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// A word that is nothing we know.
    #[error("no destination, level, or module \"{0}\"")]
    UnknownWord(String),
    /// Two destinations in one specification.
    #[error("cannot specify multiple destinations")]
    TwoDestinations,
    /// Two levels in one specification.
    #[error("cannot specify multiple levels")]
    TwoLevels,
    /// Two modules in one specification.
    #[error("cannot specify multiple modules")]
    TwoModules,
    /// `PATTERN` without a destination.
    #[error("missing destination")]
    MissingDestination,
    /// `PATTERN:` with something that is no destination.
    #[error("unknown destination \"{0}\"")]
    UnknownDestination(String),
    /// `FACILITY:` with something that is no facility.
    #[error("invalid facility")]
    InvalidFacility,
}

impl Spec {
    /// Everything to every destination: what a bare `-v` and `vlog/set` without arguments mean.
    pub const MAXIMUM: Spec = Spec::Levels { module: None, destination: None, level: Level::Dbg };

    /// Reads one specification.
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        let mut words = Words { rest: text };
        let first = words.next();
        match first {
            Some(word) if word.eq_ignore_ascii_case("PATTERN") => {
                let word = words.next().ok_or(SpecError::MissingDestination)?;
                let destination = match Destination::from_name(word) {
                    Some(destination) => Some(destination),
                    None if word.eq_ignore_ascii_case("ANY") => None,
                    None => return Err(SpecError::UnknownDestination(word.to_owned())),
                };
                Ok(Spec::Pattern { destination, pattern: words.rest.to_owned() })
            }
            Some(word) if word.eq_ignore_ascii_case("FACILITY") => {
                facility(words.rest).map(Spec::Facility).ok_or(SpecError::InvalidFacility)
            }
            _ => Spec::levels(first.into_iter().chain(words)),
        }
    }

    fn levels<'a>(words: impl Iterator<Item = &'a str>) -> Result<Spec, SpecError> {
        let (mut module, mut destination, mut level) = (None, None, None);
        for word in words {
            if word.eq_ignore_ascii_case("ANY") {
                continue;
            } else if let Some(found) = Destination::from_name(word) {
                if destination.replace(found).is_some() {
                    return Err(SpecError::TwoDestinations);
                }
            } else if let Some(found) = Level::from_name(word) {
                if level.replace(found).is_some() {
                    return Err(SpecError::TwoLevels);
                }
            } else if let Some(found) = Module::from_name(word) {
                if module.replace(found).is_some() {
                    return Err(SpecError::TwoModules);
                }
            } else {
                return Err(SpecError::UnknownWord(word.to_owned()));
            }
        }
        Ok(Spec::Levels { module, destination, level: level.unwrap_or(Level::Dbg) })
    }
}

/// The words of a specification; `rest` is what follows the one separator after the last word.
struct Words<'a> {
    rest: &'a str,
}

const SEPARATORS: [char; 4] = [' ', ',', ':', '\t'];

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start_matches(SEPARATORS);
        let (word, rest) = text.split_once(SEPARATORS).unwrap_or((text, ""));
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// The facility of that name (RFC 5424, table 1, with the peer's names), times eight.
fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 23] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "clock", "ftp",
        "ntp", "audit", "alert", "clock2", "local0", "local1", "local2", "local3", "local4",
        "local5", "local6", "local7",
    ];
    let at = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    // Facility 10 (authpriv) has no name of the peer's, so what follows "clock" (9) and "ftp"
    // (11) keeps step with the table only after it.
    let number = if at <= 9 { at } else { at + 1 };
    u8::try_from(number * 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn levels(module: Option<&str>, destination: Option<Destination>, level: Level) -> Spec {
        let module = module.map(|name| Module::from_name(name).expect("a known module"));
        Spec::Levels { module, destination, level }
    }

    #[test]
    fn words_in_any_order_and_case() {
        let want = levels(Some("dpif"), Some(Destination::File), Level::Err);
        for text in ["dpif:file:err", "FILE,dpif ERR", " err\tany::file:dpif:", "dpif:file:ANY:Err"]
        {
            assert_eq!(Spec::parse(text), Ok(want.clone()), "{text}");
        }
        assert_eq!(Spec::parse(""), Ok(Spec::MAXIMUM));
        assert_eq!(Spec::parse("any"), Ok(Spec::MAXIMUM));
        assert_eq!(
            Spec::parse("console:off"),
            Ok(levels(None, Some(Destination::Console), Level::Off))
        );
    }

    /// Texts that ovs-vswitchd 3.1.0 answered.
    #[test]
    fn errors_read_as_the_peers() {
        for (text, want) in [
            ("foo", "no destination, level, or module \"foo\""),
            ("pattern", "missing destination"),
            ("pattern:x", "unknown destination \"x\""),
            ("FACILITY:x", "invalid facility"),
            ("dpif:bridge:err", "cannot specify multiple modules"),
            ("file:console", "cannot specify multiple destinations"),
            ("err:warn", "cannot specify multiple levels"),
        ] {
            assert_eq!(Spec::parse(text).map_err(|error| error.to_string()), Err(want.to_owned()));
        }
    }

    #[test]
    fn a_pattern_keeps_its_separators() {
        assert_eq!(
            Spec::parse("pattern:file:I<3OVS|%m, %p: x"),
            Ok(Spec::Pattern {
                destination: Some(Destination::File),
                pattern: "I<3OVS|%m, %p: x".to_owned()
            })
        );
        assert_eq!(
            Spec::parse("PATTERN:any:"),
            Ok(Spec::Pattern { destination: None, pattern: String::new() })
        );
    }

    /// Numbers from RFC 5424, table 1.
    #[test]
    fn facilities() {
        for (name, number) in
            [("kern", 0), ("daemon", 3), ("clock", 9), ("ftp", 11), ("clock2", 15), ("LOCAL7", 23)]
        {
            assert_eq!(Spec::parse(&format!("FACILITY:{name}")), Ok(Spec::Facility(number * 8)));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,64}") {
            let _ = Spec::parse(&text);
        }

        #[test]
        fn what_is_composed_is_read_back(
            module in proptest::option::of(0..super::super::module::MODULES.len()),
            destination in proptest::option::of(0..3usize),
            level in 0..6usize,
            order in Just([0, 1, 2]).prop_shuffle(),
            separator in "[ ,:\t]{1,3}",
        ) {
            let module = module.map(|at| super::super::module::MODULES[at]);
            let destination = destination.map(|at| Destination::ALL[at]);
            let level = Level::ALL[level];
            let words = [
                module.unwrap_or("any"),
                destination.map_or("ANY", Destination::name),
                level.name(),
            ];
            let text = order.map(|at| words[at]).join(&separator);
            prop_assert_eq!(Spec::parse(&text), Ok(levels(module, destination, level)));
        }
    }
}

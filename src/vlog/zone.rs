//! The time zone of this machine: how far local time is from UTC at a given second.
//!
//! Reads the zone files of tzdata (RFC 9636) and the rules of the `TZ` variable (POSIX.1-2017,
//! section 8.3). A zone that cannot be read is UTC: a log line with an odd hour is better than
//! none. Only the `%d` conversion and the header for `/dev/log` ask.

use super::clock::{date_of_days, days_of_date};
use crate::limits::ZONE_FILE_MAX;
use std::io::Read as _;

/// A time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Zone {
    /// Seconds at which the offset changes, ascending, and the offset from then on.
    transitions: Vec<(i64, i32)>,
    /// Offset before the first transition.
    first: i32,
    /// What holds after the last transition.
    rule: Option<Rule>,
}

/// A rule like `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summer {
    offset: i32,
    start: Change,
    end: Change,
}

/// A day of the year and the second of it, in the local time that ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    second: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// `Jn`: 1 to 365, the leap day is never counted.
    Julian(i64),
    /// `n`: 0 to 365, the leap day counts.
    OfYear(i64),
    /// `Mm.w.d`: weekday d of week w (5: the last) of month m.
    Weekday { month: u32, week: i64, weekday: i64 },
}

impl Zone {
    pub(super) fn of_this_machine() -> Zone {
        let variable = std::env::var("TZ").ok();
        let path = match variable.as_deref().map(|tz| tz.strip_prefix(':').unwrap_or(tz)) {
            None => "/etc/localtime".to_owned(),
            Some("") => return Zone::default(),
            Some(tz) => match Rule::parse(tz) {
                Some(rule) => return Zone { rule: Some(rule), ..Zone::default() },
                None if tz.starts_with('/') => tz.to_owned(),
                None => format!("/usr/share/zoneinfo/{tz}"),
            },
        };
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(ZONE_FILE_MAX).read_to_end(&mut bytes));
        read.ok().and_then(|_| Zone::parse(&bytes)).unwrap_or_default()
    }

    /// Seconds to add to UTC at second `at` of the Unix clock.
    pub(super) fn offset_at(&self, at: i64) -> i32 {
        let after = self.transitions.partition_point(|(from, _)| *from <= at);
        match (after.checked_sub(1).and_then(|last| self.transitions.get(last)), self.rule) {
            (Some((_, offset)), _) if after < self.transitions.len() => *offset,
            (_, Some(rule)) if after == self.transitions.len() => rule.offset_at(at),
            (Some((_, offset)), _) => *offset,
            (None, _) => self.first,
        }
    }

    /// Reads a zone file of version 2 or later (every tzdata since 2005 writes one).
    fn parse(bytes: &[u8]) -> Option<Zone> {
        let first = Header::parse(bytes)?;
        if first.version < b'2' {
            return None;
        }
        let bytes = bytes.get(HEADER_LEN + first.data_len(4)?..)?;
        let header = Header::parse(bytes)?;
        let data = bytes.get(HEADER_LEN..)?;
        let (times, data) = data.split_at_checked(header.transitions.checked_mul(8)?)?;
        let (kinds, data) = data.split_at_checked(header.transitions)?;
        let offsets = data.get(..header.kinds.checked_mul(6)?)?;
        let offset_of = |kind: u8| -> Option<i32> {
            let at = usize::from(kind) * 6;
            Some(i32::from_be_bytes(offsets.get(at..at + 4)?.try_into().ok()?))
        };
        let transitions = times
            .chunks_exact(8)
            .zip(kinds)
            .map(|(time, kind)| {
                Some((i64::from_be_bytes(time.try_into().ok()?), offset_of(*kind)?))
            })
            .collect::<Option<Vec<_>>>()?;
        if !transitions.is_sorted_by_key(|(time, _)| *time) {
            return None;
        }
        let footer = bytes.get(HEADER_LEN + header.data_len(8)?..)?.strip_prefix(b"\n")?;
        let footer = footer.split(|byte| *byte == b'\n').next()?;
        let rule = std::str::from_utf8(footer).ok().and_then(Rule::parse);
        Some(Zone { transitions, first: offset_of(0)?, rule })
    }
}

const HEADER_LEN: usize = 44;

struct Header {
    version: u8,
    is_ut: usize,
    is_std: usize,
    leaps: usize,
    transitions: usize,
    kinds: usize,
    chars: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_LEN)?.strip_prefix(b"TZif")?;
        let count = |at: usize| -> Option<usize> {
            let bytes = bytes.get(16 + 4 * at..20 + 4 * at)?;
            usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
        };
        Some(Header {
            version: *bytes.first()?,
            is_ut: count(0)?,
            is_std: count(1)?,
            leaps: count(2)?,
            transitions: count(3)?,
            kinds: count(4)?,
            chars: count(5)?,
        })
    }

    /// Bytes of the block that follows, with times of `width` bytes.
    fn data_len(&self, width: usize) -> Option<usize> {
        [
            self.transitions.checked_mul(width + 1)?,
            self.kinds.checked_mul(6)?,
            self.chars,
            self.leaps.checked_mul(width + 4)?,
            self.is_std,
            self.is_ut,
        ]
        .into_iter()
        .try_fold(0usize, usize::checked_add)
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Rule> {
        let rest = name(text)?;
        let (standard, rest) = seconds(rest)?;
        // POSIX counts west of Greenwich as positive.
        let standard = -standard;
        if rest.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        let rest = name(rest)?;
        let (offset, rest) = match seconds(rest) {
            Some((offset, rest)) => (-offset, rest),
            None => (standard + 3600, rest),
        };
        let (start, rest) = Change::parse(rest.strip_prefix(',')?)?;
        let (end, rest) = Change::parse(rest.strip_prefix(',')?)?;
        rest.is_empty().then_some(Rule { standard, summer: Some(Summer { offset, start, end }) })
    }

    fn offset_at(self, at: i64) -> i32 {
        let Some(summer) = self.summer else { return self.standard };
        let (year, _, _) = date_of_days((at + i64::from(self.standard)).div_euclid(86_400));
        let start = summer.start.in_year(year) - i64::from(self.standard);
        let end = summer.end.in_year(year) - i64::from(summer.offset);
        // South of the equator summer spans the turn of the year.
        let is_summer =
            if start < end { (start..end).contains(&at) } else { !(end..start).contains(&at) };
        if is_summer { summer.offset } else { self.standard }
    }
}

impl Change {
    fn parse(text: &str) -> Option<(Change, &str)> {
        let (day, rest) = if let Some(rest) = text.strip_prefix('J') {
            let (day, rest) = number(rest)?;
            (Day::Julian((1..=365).contains(&day).then_some(day)?), rest)
        } else if let Some(rest) = text.strip_prefix('M') {
            let (month, rest) = number(rest)?;
            let (week, rest) = number(rest.strip_prefix('.')?)?;
            let (weekday, rest) = number(rest.strip_prefix('.')?)?;
            let valid = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday <= 6;
            let month = valid.then(|| u32::try_from(month).ok())??;
            (Day::Weekday { month, week, weekday }, rest)
        } else {
            let (day, rest) = number(text)?;
            (Day::OfYear((day <= 365).then_some(day)?), rest)
        };
        match rest.strip_prefix('/') {
            Some(rest) => seconds(rest).map(|(second, rest)| (Change { day, second }, rest)),
            None => Some((Change { day, second: 2 * 3600 }, rest)),
        }
    }

    /// Second of the local clock at which the change happens in `year`.
    fn in_year(self, year: i64) -> i64 {
        let new_year = days_of_date(year, 1, 1);
        let day = match self.day {
            Day::Julian(day) => {
                let leap = days_of_date(year, 3, 1) - new_year == 60;
                new_year + day - 1 + i64::from(leap && day >= 60)
            }
            Day::OfYear(day) => new_year + day,
            Day::Weekday { month, week, weekday } => {
                let first = days_of_date(year, month, 1);
                let next_month = match month {
                    12 => days_of_date(year + 1, 1, 1),
                    _ => days_of_date(year, month + 1, 1),
                };
                let to_weekday = (weekday - (first + 4)).rem_euclid(7);
                let day = first + to_weekday + 7 * (week - 1);
                if day >= next_month { day - 7 } else { day }
            }
        };
        day * 86_400 + i64::from(self.second)
    }
}

/// Skips a zone's abbreviation: three letters or more, or anything in angle brackets.
fn name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

fn number(text: &str) -> Option<(i64, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.get(..text.len() - rest.len())?;
    Some((digits.parse::<u16>().ok()?.into(), rest))
}

/// `[+-]hh[:mm[:ss]]`, in seconds; up to a week.
fn seconds(text: &str) -> Option<(i32, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mut total, mut rest) = (0, rest);
    for (unit, bound) in [(3600, 167), (60, 59), (1, 59)] {
        let digits = match (unit, rest.strip_prefix(':')) {
            (3600, _) => rest,
            (_, Some(digits)) => digits,
            (_, None) => break,
        };
        let (value, after) = number(digits)?;
        let value = i32::try_from(value).ok().filter(|value| *value <= bound)?;
        total += value * unit;
        rest = after;
    }
    Some((sign * total, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> Zone {
        let rule = Rule::parse(text);
        assert!(rule.is_some(), "{text}");
        Zone { rule, ..Zone::default() }
    }

    /// Expectations from `TZ=... date -d @SECONDS +%z`.
    #[test]
    fn posix_rules() {
        let berlin = rule("CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(berlin.offset_at(1_795_330_800), 3600);
        assert_eq!(berlin.offset_at(1_782_000_000), 7200);
        // 2026-03-29T01:00:00Z, to the second; 2026-10-25T01:00:00Z.
        assert_eq!(
            (berlin.offset_at(1_774_745_999), berlin.offset_at(1_774_746_000)),
            (3600, 7200)
        );
        assert_eq!(
            (berlin.offset_at(1_792_889_999), berlin.offset_at(1_792_890_000)),
            (7200, 3600)
        );
        let auckland = rule("NZST-12NZDT,M9.5.0,M4.1.0/3");
        assert_eq!(auckland.offset_at(1_795_330_800), 46_800);
        assert_eq!(auckland.offset_at(1_782_000_000), 43_200);
        assert_eq!(rule("<-0330>3:30").offset_at(0), -12_600);
        assert_eq!(rule("UTC0").offset_at(0), 0);
        for bad in ["", "X", "CET", "CET-1CEST", "CET-1CEST,M13.1.0,M1.1.0", "CET-1x,J0,J1"] {
            assert_eq!(Rule::parse(bad), None, "{bad}");
        }
    }

    /// A slim zone file made by hand from RFC 9636: one transition, then a rule.
    #[test]
    fn zone_files() {
        let header = |transitions: u32, kinds: u32, chars: u32| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            for count in [0, 0, 0, transitions, kinds, chars] {
                bytes.extend(count.to_be_bytes());
            }
            bytes
        };
        let mut file = header(0, 1, 1);
        file.extend([0; 7]);
        file.extend(header(1, 2, 4));
        file.extend(1000i64.to_be_bytes());
        file.extend([1]);
        for offset in [1234i32, 3600] {
            file.extend(offset.to_be_bytes());
            file.extend([0, 0]);
        }
        file.extend(b"LMT\0\nCET-1\n");
        let zone = Zone::parse(&file).expect("a valid zone file");
        assert_eq!(
            (zone.offset_at(999), zone.offset_at(1000), zone.offset_at(1 << 40)),
            (1234, 3600, 3600)
        );
        for cut in 0..file.len() - 1 {
            let _ = Zone::parse(&file[..cut]);
        }
    }

    proptest! {
        #[test]
        fn any_rule_is_read_or_refused(text in "[A-Z]{3}[-0-9:]{0,6}([A-Z<>]{3,5},[JM0-9./,]{0,20})?", at: i32) {
            if let Some(rule) = Rule::parse(&text) {
                rule.offset_at(at.into());
            }
        }

        #[test]
        fn any_file_is_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), at: i32) {
            for (to, from) in bytes.iter_mut().zip(b"TZif2") {
                *to = *from;
            }
            if let Some(zone) = Zone::parse(&bytes) {
                zone.offset_at(at.into());
            }
        }
    }
}

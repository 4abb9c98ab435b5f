//! The clocks of log lines: wall time as civil time, and milliseconds since the program began.
//!
//! Pure but for [`WallTime::now`] and [`monotonic_ms`]. Years 0 to 9999 are shown; a clock
//! outside of that is clamped.

use super::zone::Zone;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// An instant of the wall clock, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    ms: i64,
}

/// 9999-12-31T23:59:59.999Z.
const LAST_MS: i64 = 253_402_300_799_999;
/// 0000-01-01T00:00:00.000Z.
const FIRST_MS: i64 = -62_167_219_200_000;

impl WallTime {
    /// The wall clock now.
    pub fn now() -> WallTime {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        WallTime::from_ms(ms)
    }

    /// An instant from its milliseconds.
    pub fn from_ms(ms: i64) -> WallTime {
        WallTime { ms: ms.clamp(FIRST_MS, LAST_MS) }
    }

    /// Broken down, in UTC.
    pub fn utc(self) -> Civil {
        Civil::new(self.ms, 0)
    }

    /// Broken down, in the zone of this machine (`TZ` or `/etc/localtime`, read at first use).
    pub fn local(self) -> Civil {
        static ZONE: LazyLock<Zone> = LazyLock::new(Zone::of_this_machine);
        Civil::new(self.ms, ZONE.offset_at(self.ms.div_euclid(1000)))
    }
}

/// Milliseconds since the program first asked, by [`crate::clock`].
pub fn monotonic_ms() -> u64 {
    static START: LazyLock<u64> = LazyLock::new(crate::clock::now_ms);
    crate::clock::now_ms().saturating_sub(*START)
}

/// Civil time: the fields of a calendar and a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    seconds: i64,
    year: i64,
    month: u32,
    day: u32,
    /// 0 is Sunday.
    weekday: u32,
    /// 0 is the first of January.
    yearday: u32,
    hour: u32,
    minute: u32,
    second: u32,
    millisecond: u32,
    offset_s: i32,
}

impl Civil {
    fn new(ms: i64, offset_s: i32) -> Civil {
        let seconds = ms.div_euclid(1000);
        let shown = seconds + i64::from(offset_s);
        let (days, of_day) = (shown.div_euclid(86_400), shown.rem_euclid(86_400) as u32);
        let (year, month, day) = date_of_days(days);
        Civil {
            seconds,
            year,
            month,
            day,
            weekday: (days + 4).rem_euclid(7) as u32,
            yearday: (days - days_of_date(year, 1, 1)) as u32,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            millisecond: ms.rem_euclid(1000) as u32,
            offset_s,
        }
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
pub(super) fn date_of_days(days: i64) -> (i64, u32, u32) {
    // Years that begin on the first of March put the leap day last, so that the months before
    // it have fixed lengths (30.6 days each on average, from March on).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month as u32, day as u32)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
pub(super) fn days_of_date(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (i64::from(month) + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Appends `time` in a format of strftime(3), C locale; each `#` stands for a digit of the
/// milliseconds, most significant first (the peer's extension). Unknown conversions stand for
/// themselves.
pub fn strftime(format: &str, time: Civil, out: &mut String) {
    let mut digits = DigitsOfMilliseconds { ms: time.millisecond };
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => out.push(digits.next_digit()),
            '%' => match chars.next() {
                Some(conversion) => time.convert(conversion, out),
                None => out.push('%'),
            },
            other => out.push(other),
        }
    }
}

struct DigitsOfMilliseconds {
    ms: u32,
}

impl DigitsOfMilliseconds {
    fn next_digit(&mut self) -> char {
        let digit = self.ms / 100 % 10;
        self.ms = self.ms % 100 * 10;
        char::from(b'0' + digit as u8)
    }
}

impl Civil {
    fn convert(&self, conversion: char, out: &mut String) {
        let weekday = DAYS.get(self.weekday as usize).copied().unwrap_or_default();
        let month = MONTHS.get(self.month.wrapping_sub(1) as usize).copied().unwrap_or_default();
        let hour12 = (self.hour + 11) % 12 + 1;
        let nested = |format: &str, out: &mut String| strftime(format, *self, out);
        // Writing to a String cannot fail.
        let _ = match conversion {
            'Y' => write!(out, "{}", self.year),
            'C' => write!(out, "{:02}", self.year / 100),
            'y' => write!(out, "{:02}", self.year % 100),
            'm' => write!(out, "{:02}", self.month),
            'd' => write!(out, "{:02}", self.day),
            'e' => write!(out, "{:2}", self.day),
            'j' => write!(out, "{:03}", self.yearday + 1),
            'H' => write!(out, "{:02}", self.hour),
            'I' => write!(out, "{hour12:02}"),
            'k' => write!(out, "{:2}", self.hour),
            'l' => write!(out, "{hour12:2}"),
            'M' => write!(out, "{:02}", self.minute),
            'S' => write!(out, "{:02}", self.second),
            's' => write!(out, "{}", self.seconds),
            'p' => out.write_str(if self.hour < 12 { "AM" } else { "PM" }),
            'A' => out.write_str(weekday),
            'a' => out.write_str(weekday.get(..3).unwrap_or(weekday)),
            'B' => out.write_str(month),
            'b' | 'h' => out.write_str(month.get(..3).unwrap_or(month)),
            'u' => write!(out, "{}", if self.weekday == 0 { 7 } else { self.weekday }),
            'w' => write!(out, "{}", self.weekday),
            'U' => write!(out, "{:02}", (self.yearday + 7 - self.weekday) / 7),
            'W' => write!(out, "{:02}", (self.yearday + 7 - (self.weekday + 6) % 7) / 7),
            'z' => {
                let minutes = self.offset_s.abs() / 60;
                let sign = if self.offset_s < 0 { '-' } else { '+' };
                write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            'Z' if self.offset_s == 0 => out.write_str("GMT"),
            'Z' => {
                self.convert('z', out);
                Ok(())
            }
            'n' => out.write_str("\n"),
            't' => out.write_str("\t"),
            '%' => out.write_str("%"),
            'D' | 'x' => {
                nested("%m/%d/%y", out);
                Ok(())
            }
            'F' => {
                nested("%Y-%m-%d", out);
                Ok(())
            }
            'T' | 'X' => {
                nested("%H:%M:%S", out);
                Ok(())
            }
            'R' => {
                nested("%H:%M", out);
                Ok(())
            }
            'r' => {
                nested("%I:%M:%S %p", out);
                Ok(())
            }
            'c' => {
                nested("%a %b %e %H:%M:%S %Y", out);
                Ok(())
            }
            other => write!(out, "%{other}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(format: &str, ms: i64) -> String {
        let mut out = String::new();
        strftime(format, WallTime::from_ms(ms).utc(), &mut out);
        out
    }

    /// Expectations from `LC_ALL=C date -u -d @SECONDS +FORMAT`.
    #[test]
    fn as_date_shows_it() {
        assert_eq!(show("%F %T.###", 1_795_330_800_123), "2026-11-22 07:00:00.123");
        assert_eq!(show("%a, %d %b %Y %H:%M:%S", 951_782_400_000), "Tue, 29 Feb 2000 00:00:00");
        assert_eq!(
            show("%A %e %B %j %U %W %u %w %y %C", 1_709_251_199_000),
            "Thursday 29 February 060 08 09 4 4 24 20"
        );
        assert_eq!(
            show("%c|%D|%R|%r|%I|%p|%s|%z", -1_000),
            "Wed Dec 31 23:59:59 1969|12/31/69|23:59|11:59:59 PM|11|PM|-1|+0000"
        );
        assert_eq!(show("%h %e %T", 1_795_330_800_123), "Nov 22 07:00:00");
        assert_eq!(show("#|##|####|%", 45), "0|45|0000|%");
    }

    proptest! {
        #[test]
        fn dates_and_days_are_inverse(days in -720_000i64..3_000_000) {
            let (year, month, day) = date_of_days(days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            prop_assert_eq!(days_of_date(year, month, day), days);
        }

        #[test]
        fn any_format_and_any_time(format in "(%.|.){0,12}", ms: i64) {
            show(&format, ms);
        }
    }
}

//! Patterns of log lines: `%D{%H:%M:%S}|%05N|%c%T|%p|%m` and its conversions.
//!
//! A pattern is parsed once, when it is set; a line is then put together piece by piece without
//! looking at the text again. Every text is a pattern: what is no conversion stands for itself.
//! Source: ovs-appctl(8), `vlog/set PATTERN:destination:pattern`.

use super::clock::{WallTime, strftime};
use super::module::Level;
use crate::limits::VLOG_FIELD_WIDTH_MAX;
use std::fmt::Write as _;

/// What a line is made of: one event, and what the process knows about itself.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Module name (`%c`).
    pub module: &'a str,
    /// Level (`%p`).
    pub level: Level,
    /// The text, without trailing new-lines (`%m`).
    pub text: &'a str,
    /// Name of the program (`%A`).
    pub program: &'a str,
    /// Name of the thread or monitor, empty for the main thread (`%t`, `%T`).
    pub thread: &'a str,
    /// Number of the message in its thread (`%N`).
    pub sequence: u32,
    /// Wall clock (`%d`, `%D`).
    pub time: WallTime,
    /// Milliseconds since the program started (`%r`).
    pub uptime_ms: u64,
    /// Facility times eight plus severity (`%B`).
    pub priority: u8,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field { conversion: Conversion, left: bool, zero: bool, width: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Conversion {
    Program,
    Priority,
    Module,
    LocalTime(String),
    UtcTime(String),
    Hostname,
    Message,
    Sequence,
    NewLine,
    LevelName,
    Pid,
    Uptime,
    Thread,
    ThreadInParentheses,
    /// An unknown conversion character stands for itself (`%%` is one).
    Char(char),
}

const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S.###";

impl Pattern {
    /// Reads a pattern. Never fails; the field width is bounded by
    /// [`VLOG_FIELD_WIDTH_MAX`].
    pub fn parse(source: &str) -> Pattern {
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some((literal, after)) = rest.split_once('%') {
            push_literal(&mut pieces, literal);
            let (piece, after) = field(after);
            pieces.push(piece);
            rest = after;
        }
        push_literal(&mut pieces, rest);
        Pattern { source: source.to_owned(), pieces }
    }

    /// The text it was made from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Appends `line` to `out`, without a new-line at the end.
    pub fn format(&self, line: &Line<'_>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Field { conversion, left, zero, width } => {
                    let start = out.len();
                    conversion.format(line, out);
                    let used = out.len() - start;
                    if let Some(missing) = width.checked_sub(used).filter(|missing| *missing > 0) {
                        let pad = if *zero { "0" } else { " " }.repeat(missing);
                        out.insert_str(if *left { out.len() } else { start }, &pad);
                    }
                }
            }
        }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.to_owned()));
    }
}

/// Reads what follows a `%`: flags, width, conversion, argument in braces.
fn field(text: &str) -> (Piece, &str) {
    let (left, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (zero, text) = text.strip_prefix('0').map_or((false, text), |rest| (true, rest));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (digits, text) = text.split_at(digits);
    let width = digits
        .bytes()
        .fold(0usize, |width, digit| {
            width.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
        })
        .min(VLOG_FIELD_WIDTH_MAX);
    let mut chars = text.chars();
    let Some(letter) = chars.next() else {
        return (Piece::Literal("%".to_owned()), text);
    };
    let rest = chars.as_str();
    let (conversion, rest) = match letter {
        'A' => (Conversion::Program, rest),
        'B' => (Conversion::Priority, rest),
        'c' => (Conversion::Module, braces(rest).1),
        'd' => {
            let (format, rest) = braces(rest);
            (Conversion::LocalTime(format.unwrap_or(TIME_FORMAT).to_owned()), rest)
        }
        'D' => {
            let (format, rest) = braces(rest);
            (Conversion::UtcTime(format.unwrap_or(TIME_FORMAT).to_owned()), rest)
        }
        'E' => (Conversion::Hostname, rest),
        'm' => (Conversion::Message, rest),
        'N' => (Conversion::Sequence, rest),
        'n' => (Conversion::NewLine, rest),
        'p' => (Conversion::LevelName, rest),
        'P' => (Conversion::Pid, rest),
        'r' => (Conversion::Uptime, rest),
        't' => (Conversion::Thread, rest),
        'T' => (Conversion::ThreadInParentheses, rest),
        other => (Conversion::Char(other), rest),
    };
    (Piece::Field { conversion, left, zero, width }, rest)
}

/// The argument in braces, if there is one, and what follows; an open brace without its partner
/// takes the rest of the pattern.
fn braces(text: &str) -> (Option<&str>, &str) {
    match text.strip_prefix('{') {
        None => (None, text),
        Some(inside) => {
            let (argument, rest) = inside.split_once('}').unwrap_or((inside, ""));
            (Some(argument), rest)
        }
    }
}

impl Conversion {
    fn format(&self, line: &Line<'_>, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Conversion::Program => out.write_str(line.program),
            Conversion::Priority => write!(out, "{}", line.priority),
            Conversion::Module => out.write_str(line.module),
            Conversion::LocalTime(format) => {
                strftime(format, line.time.local(), out);
                Ok(())
            }
            Conversion::UtcTime(format) => {
                strftime(format, line.time.utc(), out);
                Ok(())
            }
            Conversion::Hostname => out.write_str(&hostname()),
            Conversion::Message => out.write_str(line.text.trim_end_matches('\n')),
            Conversion::Sequence => write!(out, "{}", line.sequence),
            Conversion::NewLine => out.write_str("\n"),
            Conversion::LevelName => out.write_str(line.level.name()),
            Conversion::Pid => write!(out, "{}", std::process::id()),
            Conversion::Uptime => write!(out, "{}", line.uptime_ms),
            Conversion::Thread if line.thread.is_empty() => out.write_str("main"),
            Conversion::Thread => out.write_str(line.thread),
            Conversion::ThreadInParentheses if line.thread.is_empty() => Ok(()),
            Conversion::ThreadInParentheses => write!(out, "({})", line.thread),
            Conversion::Char(c) => out.write_char(*c),
        };
    }
}

/// The host's name, asked for each time, because it may change while we run.
pub(super) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::module::Destination;
    use super::*;
    use proptest::prelude::*;

    fn line() -> Line<'static> {
        Line {
            module: "dpif",
            level: Level::Warn,
            text: "text\n\n",
            program: "ovs-vswitchd",
            thread: "handler3",
            sequence: 42,
            time: WallTime::from_ms(1_795_330_800_123),
            uptime_ms: 1500,
            priority: 16 * 8 + 4,
        }
    }

    fn show(pattern: &str, line: &Line<'_>) -> String {
        let mut out = String::new();
        Pattern::parse(pattern).format(line, &mut out);
        out
    }

    #[test]
    fn default_lines_have_the_peers_shape() {
        let line = line();
        assert_eq!(
            show(Destination::File.default_pattern(), &line),
            "2026-11-22T07:00:00.123Z|00042|dpif(handler3)|WARN|text"
        );
        assert_eq!(
            show(Destination::Console.default_pattern(), &line),
            "2026-11-22T07:00:00Z|00042|dpif(handler3)|WARN|text"
        );
        let main = Line { thread: "", ..line };
        assert_eq!(show(Destination::Syslog.default_pattern(), &main), "ovs|00042|dpif|WARN|text");
        assert_eq!(show("%t %T|", &main), "main |");
    }

    #[test]
    fn conversions_flags_and_widths() {
        let line = line();
        assert_eq!(show("%A %B %r %n%%%t", &line), "ovs-vswitchd 132 1500 \n%handler3");
        assert_eq!(show("[%6p][%-6p][%-06N][%3m]", &line), "[  WARN][WARN  ][420000][text]");
        assert_eq!(show("%c{ignored}|%D{%H}|%P", &line), format!("dpif|07|{}", std::process::id()));
        assert_eq!(show("%D", &line), "2026-11-22 07:00:00.123");
        assert_eq!(show("%q%", &line), "q%");
        assert_eq!(show("%D{%H", &line), "07");
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern(source in "(%[-0-9A-Za-z{}]{0,5}|.){0,12}") {
            let pattern = Pattern::parse(&source);
            prop_assert_eq!(pattern.source(), &source);
            let mut out = String::new();
            pattern.format(&line(), &mut out);
            prop_assert!(out.len() <= 16 * source.len() * VLOG_FIELD_WIDTH_MAX + 64);
        }

        #[test]
        fn text_without_percent_stands_for_itself(source in "[^%]{0,40}") {
            prop_assert_eq!(show(&source, &line()), source);
        }
    }
}

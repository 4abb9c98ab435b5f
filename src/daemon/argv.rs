//! The command line as getopt_long(3) reads it, rewritten so that clap reads it the same way.
//!
//! The peer takes unique prefixes of long options (`--pid`), optional values that are glued
//! (`-vconsole:emer`, `--log-file=FILE`, but never `--log-file FILE`) and options after the
//! DATABASE; clap has no setting for all of these at once. So each option is resolved here
//! against clap's own table and written in full, `--name` or `--name=value`.
//!
//! What always holds: what comes out names only options that are in the table, each with a value
//! if and only if it may have one. Pure. Error texts are those of the C library.

use clap::{ArgAction, Command};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use thiserror::Error;

/// An option in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongOption {
    /// Its name, without dashes.
    pub name: String,
    /// Its value.
    pub value: Option<OsString>,
}

/// A command line, sorted out. What was read before a mistake is there as well: the peer acts on
/// options in their order and may have exited before it comes to the mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argv {
    /// The options, in order.
    pub options: Vec<LongOption>,
    /// What are no options.
    pub operands: Vec<OsString>,
    /// The first mistake.
    pub error: Option<UsageError>,
}

/// A mistake on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UsageError {
    /// A long option that does not exist.
    #[error("unrecognized option '--{0}'")]
    Unrecognized(String),
    /// A short option that does not exist.
    #[error("invalid option -- '{0}'")]
    Invalid(char),
    /// A prefix of several.
    #[error("option '--{prefix}' is ambiguous; possibilities:{possibilities}")]
    Ambiguous {
        /// What was typed.
        prefix: String,
        /// Each in quotes, after a blank.
        possibilities: String,
    },
    /// A value for an option that has none.
    #[error("option '--{0}' doesn't allow an argument")]
    UnexpectedValue(String),
    /// No value for a long option that needs one.
    #[error("option '--{0}' requires an argument")]
    MissingValue(String),
    /// No value for a short option that needs one.
    #[error("option requires an argument -- '{0}'")]
    MissingShortValue(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arity {
    None,
    Optional,
    Required,
}

struct Known {
    long: String,
    short: Option<char>,
    arity: Arity,
}

impl Argv {
    /// Sorts out `args` (without the program's name) by the options of `command`.
    pub fn parse(command: &Command, args: impl IntoIterator<Item = OsString>) -> Argv {
        let known: Vec<Known> = command.get_arguments().filter_map(Known::of).collect();
        let mut argv = Argv::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let bytes = arg.as_bytes();
            let step = if bytes == b"--" {
                argv.operands.extend(args.by_ref());
                Ok(())
            } else if let Some(long) = bytes.strip_prefix(b"--") {
                argv.long_option(&known, long, &mut args)
            } else if let Some(cluster @ [_, ..]) = bytes.strip_prefix(b"-") {
                argv.short_options(&known, cluster, &mut args)
            } else {
                argv.operands.push(arg);
                Ok(())
            };
            if let Err(error) = step {
                argv.error = Some(error);
                break;
            }
        }
        argv
    }

    /// The same command line for clap.
    pub fn for_clap(&self, program: &str) -> Vec<OsString> {
        let mut out = vec![OsString::from(program)];
        for LongOption { name, value } in &self.options {
            let mut text = OsString::from(format!("--{name}"));
            if let Some(value) = value {
                text.push("=");
                text.push(value);
            }
            out.push(text);
        }
        out.push("--".into());
        out.extend(self.operands.iter().cloned());
        out
    }

    fn push(&mut self, known: &Known, value: Option<&[u8]>) {
        let value = value.map(|value| OsString::from_vec(value.to_owned()));
        self.options.push(LongOption { name: known.long.clone(), value });
    }

    fn long_option(
        &mut self,
        known: &[Known],
        typed: &[u8],
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        let equals = typed.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => (typed.get(..at).unwrap_or_default(), typed.get(at + 1..)),
            None => (typed, None),
        };
        let found = resolve(known, name)?;
        match (found.arity, value) {
            (Arity::None, Some(_)) => Err(UsageError::UnexpectedValue(found.long.clone())),
            (Arity::Required, None) => match rest.next() {
                Some(value) => {
                    self.push(found, Some(value.as_bytes()));
                    Ok(())
                }
                None => Err(UsageError::MissingValue(found.long.clone())),
            },
            (_, value) => {
                self.push(found, value);
                Ok(())
            }
        }
    }

    fn short_options(
        &mut self,
        known: &[Known],
        cluster: &[u8],
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        let mut cluster = cluster;
        while let Some((&letter, after)) = cluster.split_first() {
            let letter = char::from(letter);
            let found = known.iter().find(|option| option.short == Some(letter));
            let found = found.ok_or(UsageError::Invalid(letter))?;
            let glued = Some(after).filter(|after| !after.is_empty());
            match (found.arity, glued) {
                (Arity::None, _) => {
                    self.push(found, None);
                    cluster = after;
                    continue;
                }
                (Arity::Required, None) => match rest.next() {
                    Some(value) => self.push(found, Some(value.as_bytes())),
                    None => return Err(UsageError::MissingShortValue(letter)),
                },
                (_, glued) => self.push(found, glued),
            }
            return Ok(());
        }
        Ok(())
    }
}

impl Known {
    fn of(arg: &clap::Arg) -> Option<Known> {
        let arity = match arg.get_action() {
            ArgAction::SetTrue | ArgAction::Count => Arity::None,
            _ if arg.get_num_args().is_some_and(|range| range.min_values() == 0) => Arity::Optional,
            _ => Arity::Required,
        };
        Some(Known { long: arg.get_long()?.to_owned(), short: arg.get_short(), arity })
    }
}

/// The option of that name or unique prefix of a name.
fn resolve<'a>(known: &'a [Known], typed: &[u8]) -> Result<&'a Known, UsageError> {
    if let Some(exact) = known.iter().find(|option| option.long.as_bytes() == typed) {
        return Ok(exact);
    }
    let matches: Vec<&Known> =
        known.iter().filter(|option| option.long.as_bytes().starts_with(typed)).collect();
    let text = || String::from_utf8_lossy(typed).into_owned();
    match matches.as_slice() {
        [] => Err(UsageError::Unrecognized(text())),
        [only] => Ok(only),
        several => Err(UsageError::Ambiguous {
            prefix: text(),
            possibilities: several.iter().map(|option| format!(" '--{}'", option.long)).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;
    use clap::CommandFactory as _;
    use clap::Parser as _;
    use proptest::prelude::*;

    fn parse(args: &[&str]) -> Argv {
        Argv::parse(&Options::command(), args.iter().map(OsString::from))
    }

    fn rewritten(args: &[&str]) -> Vec<String> {
        let argv = parse(args);
        assert_eq!(argv.error, None, "{args:?}");
        let out = argv.for_clap("ovs-vswitchd").into_iter().skip(1);
        out.map(|arg| arg.into_string().expect("text")).collect()
    }

    #[test]
    fn as_getopt_reads_it() {
        assert_eq!(
            rewritten(&[
                "-vconsole:emer",
                "-v",
                "unix:/db",
                "--pid",
                "--log-file=x",
                "-p",
                "key",
                "-ccert"
            ]),
            [
                "--verbose=console:emer",
                "--verbose",
                "--pidfile",
                "--log-file=x",
                "--private-key=key",
                "--certificate=cert",
                "--",
                "unix:/db"
            ]
        );
        assert_eq!(
            rewritten(&["-hVvx", "--unixctl", "--", "--", "-v"]),
            ["--help", "--version", "--verbose=x", "--unixctl=--", "--", "-v"]
        );
        // Two options of which one is a prefix of the other.
        assert_eq!(rewritten(&["--disable-system"]), ["--disable-system", "--"]);
        assert_eq!(
            rewritten(&["-", "--enable-dummy=override"]),
            ["--enable-dummy=override", "--", "-"]
        );
    }

    /// Texts that ovs-vswitchd 3.1.0 printed after its name.
    #[test]
    fn mistakes_read_as_the_peers() {
        for (args, want) in [
            (&["--nosuch"][..], "unrecognized option '--nosuch'"),
            (&["--unixctl"], "option '--unixctl' requires an argument"),
            (&["--mlockall=3"], "option '--mlockall' doesn't allow an argument"),
            (
                &["--no", "-x"],
                "option '--no' is ambiguous; possibilities: '--no-self-confinement' '--no-chdir'",
            ),
            (&["-x"], "invalid option -- 'x'"),
            (&["-p"], "option requires an argument -- 'p'"),
        ] {
            let error = parse(args).error.map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(want), "{args:?}");
        }
        let argv = parse(&["--help", "--nosuch", "--version"]);
        assert_eq!(argv.options.len(), 1, "what stood before the mistake");
    }

    proptest! {
        #[test]
        fn what_is_rewritten_clap_reads(
            args in proptest::collection::vec(
                prop_oneof![
                    "-[hVvpcCx=-]{0,3}[a-z]{0,3}",
                    "--(no|mon|pid|log|verb|dis|ssl|unix|enable-d|standalone|user)[a-z-]{0,8}(=.{0,5})?",
                    ".{0,6}",
                ],
                0..6)
        ) {
            let argv = Argv::parse(&Options::command(), args.iter().map(OsString::from));
            let clap = Options::try_parse_from(argv.for_clap("ovs-vswitchd"));
            prop_assert!(clap.is_ok(), "{:?}: {:?}", argv, clap.map_err(|error| error.to_string()));
            // Rewriting once is enough.
            let again = Argv::parse(&Options::command(), argv.for_clap("x").into_iter().skip(1));
            prop_assert_eq!(again, Argv { error: None, ..argv });
        }

        #[test]
        fn any_bytes_are_sorted_out(args in proptest::collection::vec(proptest::collection::vec(1u8.., 0..12), 0..6)) {
            Argv::parse(&Options::command(), args.into_iter().map(OsString::from_vec));
        }
    }
}

//! Any command line of the daemon, arguments ended by NUL: sorted out, and what is left of it clap reads.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::{CommandFactory as _, Parser as _};
use libfuzzer_sys::fuzz_target;
use rovs::daemon::argv::Argv;
use rovs::daemon::options::Options;

fuzz_target!(|data: &[u8]| {
    let args = data.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec()));
    let argv = Argv::parse(&Options::command(), args);
    let clap = Options::try_parse_from(argv.for_clap("ovs-vswitchd"));
    // Only texts that are no UTF-8 may be refused here.
    assert!(clap.is_ok() || std::str::from_utf8(data).is_err(), "{argv:?}: {clap:?}");
    let again = Argv::parse(&Options::command(), argv.for_clap("x").into_iter().skip(1));
    assert_eq!(again, Argv { error: None, ..argv });
});

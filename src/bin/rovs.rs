//! The tool: what the peer does not have. Everything is in [`rovs::tool`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rovs::tool::main(std::env::args_os())
}

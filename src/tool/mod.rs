//! `rovs`: what the peer does not have, as a second program, so that the daemon's own command line
//! stays the peer's.
//!
//! What it is: a command line ([`Cli`]) over the running daemon's control socket ([`control`]), and
//! a few commands that need no daemon. What always holds: standard output carries the answer and
//! nothing else; what went wrong goes to standard error with what to do about it; the exit status
//! is 0 when all is well, 1 when it is not, 2 when the command line makes no sense.
//!
//! One thread, blocking calls.

pub mod control;
pub mod doctor;
mod failure;
mod flows;
mod ports;
mod record;
pub mod replay;
mod sample;
mod screen;
mod shell;
mod table;
mod top;

pub use failure::Failure;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// See inside the switch: why flows are there, what is going on, what is missing.
#[derive(Debug, Parser)]
#[command(name = "rovs", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Daemon to ask: a program with a pidfile in the run directory, or the path of a control
    /// socket.
    #[arg(short, long, global = true, default_value = "ovs-vswitchd", value_name = "TARGET")]
    pub target: String,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 when all is well, 1 when it is not (no daemon, something \
missing, a difference found), 2 when the command line makes no sense.\n\nEnvironment: OVS_RUNDIR is \
where pidfiles and control sockets are, by default /var/run/openvswitch.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Why a flow is installed: what it rests on, who made it, what is done today.
    Why(flows::Why),
    /// The last deleted flows, youngest first, with the reasons.
    History(flows::History),
    /// The flows in the kernel, one a line.
    Flows(Format),
    /// The ports of the datapath: packets, bytes, upcalls.
    Ports(Format),
    /// Live rates of ports, of the datapath and of the heaviest flows; q ends it.
    Top(top::Top),
    /// Record what passes between the kernel and the daemon, until time is up or Ctrl-C.
    Record(record::Record),
    /// Walk the whole road from a recording, without root or kernel, and compare the answers.
    Replay(replay::Replay),
    /// What this machine lacks for the switch to run, each with the remedy.
    Doctor(Format),
    /// Completions for a shell, to be sourced by it.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// The manual page in roff, to be shown by `man -l -`.
    Man {
        /// The page of one command instead of the whole.
        command: Option<String>,
    },
}

/// How to answer.
#[derive(Clone, Copy, Debug, Args)]
struct Format {
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the tool with these arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(&cli) {
        Ok(code) => code,
        // Whoever reads our output has enough of it, as `head` does.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let mut text = format!("rovs: {failure}\n");
            if let Some(remedy) = failure.remedy() {
                text.push_str(&format!("  {remedy}\n"));
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let target = &cli.target;
    match &cli.command {
        Command::Why(why) => why.run(target),
        Command::History(history) => history.run(target),
        Command::Flows(format) => flows::list(target, format.json),
        Command::Ports(format) => ports::list(target, format.json),
        Command::Top(top) => top.run(target),
        Command::Record(record) => record.run(target),
        Command::Replay(replay) => return replay.run(),
        Command::Doctor(format) => return doctor::run(target, format.json),
        Command::Completions { shell } => shell::completions(*shell),
        Command::Man { command } => shell::manual(command.as_deref()),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Writes an answer to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_target_may_stand_anywhere() {
        for args in [["rovs", "-t", "x", "ports"], ["rovs", "ports", "-t", "x"]] {
            assert_eq!(Cli::parse_from(args).target, "x");
        }
        assert_eq!(Cli::parse_from(["rovs", "ports"]).target, "ovs-vswitchd");
    }
}

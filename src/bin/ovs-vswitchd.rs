//! The daemon: everything of the process from [`rovs::daemon`], the switch from the library.

use rovs::daemon::{Control, Event, Exit, Fatal, Startup};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Startup::from_env().and_then(Startup::daemonize) {
        Ok(daemon) => daemon.run(switch).code,
        Err(Exit { code }) => code,
    }
}

/// The switch. So far it only waits until it is told to end.
async fn switch(control: Control) -> Result<(), Fatal> {
    control.ready();
    loop {
        match control.event().await {
            Event::End(_) => return Ok(()),
            Event::Reload => {}
        }
    }
}

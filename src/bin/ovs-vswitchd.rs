//! The daemon: everything of the process from [`rovs::daemon`], the switch from the library.

use rovs::daemon::{Control, Event, Exit, Fatal, Startup};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Startup::from_env().and_then(Startup::daemonize) {
        Ok(daemon) => daemon.run(switch).code,
        Err(Exit { code }) => code,
    }
}

/// The switch: standalone if a file is given. The database comes later; without one of the two
/// there is nothing to do but to wait for the end.
async fn switch(control: Control) -> Result<(), Fatal> {
    if let Some(file) = control.options().standalone.clone() {
        return rovs::standalone::run::run(control, file).await;
    }
    control.ready();
    loop {
        match control.event().await {
            Event::End(_) => return Ok(()),
            Event::Reload => {}
        }
    }
}

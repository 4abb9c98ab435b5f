//! The daemon: everything of the process from [`rovs::daemon`], the switch from the library.

use rovs::daemon::{Control, Exit, Fatal, Startup};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Startup::from_env().and_then(Startup::daemonize) {
        Ok(daemon) => daemon.run(switch).code,
        Err(Exit { code }) => code,
    }
}

/// The switch: as a file describes it if one is given, else as the database does.
async fn switch(control: Control) -> Result<(), Fatal> {
    if let Some(file) = control.options().standalone.clone() {
        return rovs::standalone::run::run(control, file).await;
    }
    let remote = control.options().database(control.dirs());
    rovs::database::run::run(control, remote).await
}

//! The switch of standalone mode: reads the file and hands it to the engine.
//!
//! What always holds: a file that is refused changes nothing (at the start it ends the daemon, later
//! it leaves the running configuration). Control thread: one task, woken by signals, by changes of
//! ports and devices, and by a clock of one second.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::load;
use crate::bridge::commands;
use crate::bridge::engine::Engine;
use crate::clock::Follower;
use crate::daemon::{Control, Event, Fatal};

/// Runs the switch until the daemon ends.
///
/// # Errors
/// When the file is refused at the start, or the privileges for a datapath are missing. A datapath
/// that cannot be had for another reason is waited for.
pub async fn run(control: Control, file: PathBuf) -> Result<(), Fatal> {
    let config = load(&file)
        .map_err(|error| Fatal::logged("bridge", format!("{}: {error}", file.display())))?;
    let options = control.options().engine();
    let dummies = options.dummy.types();
    let mut engine = Engine::new(options);
    commands::register(control.registry(), &engine.current(), dummies);
    engine.current().provide_memory(control.memory());
    let failure = engine.apply(config).await.failure.clone();
    // No waiting helps against missing privileges; a module may be loaded any time.
    if engine.lacks_privileges() {
        return Err(Fatal::logged("dpif", failure.unwrap_or_default()));
    }
    control.ready();

    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Follower::new();
    loop {
        tokio::select! {
            event = control.event() => match event {
                Event::End(end) => {
                    engine.end(end.cleanup).await;
                    return Ok(());
                }
                Event::Reload => reload(&mut engine, &file).await,
            },
            () = engine.changed() => drop(engine.refresh().await.is_some()),
            _ = tick.tick() => drop(engine.tick().await.is_some()),
            () = clock.warped() => drop(engine.tick().await.is_some()),
        }
    }
}

/// Reads the file again; what differs is changed.
async fn reload(engine: &mut Engine, file: &Path) {
    match load(file) {
        Ok(config) => {
            if engine.apply(config).await.failure.is_none() {
                tracing::info!(
                    target: "bridge", "{}: read again, configuration applied", file.display()
                );
            }
        }
        Err(error) => tracing::error!(
            target: "bridge",
            "{}: {error}; configuration refused, the running configuration stays",
            file.display()
        ),
    }
}

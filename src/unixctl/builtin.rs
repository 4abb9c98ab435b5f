//! Commands about the control socket itself and the floor it stands on: logging, counters,
//! memory.

use super::registry::{CommandError, Format, Output, Registry};
use crate::clock;
use crate::coverage;
use crate::memory::Memory;
use crate::strerror::strerror;
use crate::vlog::Vlog;
use crate::vlog::module::Module;
use crate::vlog::spec::Spec;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

/// The command that sets the output format of a connection.
pub(super) const SET_OPTIONS: &str = "set-options";

pub(super) fn register(registry: &Registry, version: &str) {
    let version = version.to_owned();
    registry.register("version", "", 0..=0, move |_| Ok(version.clone()));
    let listed = registry.downgrade();
    registry.register("list-commands", "", 0..=0, move |call| {
        let usages = listed.upgrade().map(Registry::usages).unwrap_or_default();
        Ok(list_commands(&usages, call.format))
    });
    // Here for its usage and argument count: the server carries it out, for it is about the
    // connection it came by.
    registry.register(SET_OPTIONS, "[--format text|json]", 1..=2, |_| Ok(()));
}

fn list_commands(usages: &[(String, String)], format: Format) -> Output {
    if format == Format::Json {
        let commands: Map<String, Value> =
            usages.iter().map(|(name, usage)| (name.clone(), usage.as_str().into())).collect();
        return Output::Json(Value::Object(commands));
    }
    let mut out = String::from("The available commands are:\n");
    for (name, usage) in usages {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<23} {usage}");
    }
    Output::Text(out)
}

/// Reads the arguments of `set-options`.
pub(super) fn set_options(args: &[String]) -> Result<Format, CommandError> {
    let mut format = None;
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let value = match arg.split_once('=') {
            Some(("--format", value)) => value,
            None if arg == "--format" => {
                args.next().ok_or("option '--format' requires an argument")?
            }
            _ => return Err(format!("unrecognized option '{arg}'").into()),
        };
        format = Some(match value {
            _ if value.eq_ignore_ascii_case("text") => Format::Text,
            _ if value.eq_ignore_ascii_case("json") => Format::Json,
            _ => return Err(format!("option format has invalid value {value}").into()),
        });
    }
    Ok(format.unwrap_or_default())
}

impl Registry {
    /// Adds the `vlog/` commands, which change and show `vlog`.
    pub fn register_vlog(&self, vlog: &Arc<Vlog>) {
        let any = 0..=usize::MAX;
        let log = vlog.clone();
        let usage = "{spec | PATTERN:destination:pattern}";
        self.register("vlog/set", usage, any.clone(), move |call| {
            if call.args.is_empty() {
                log.apply(Spec::MAXIMUM);
            }
            // Like the peer: what stands before a mistake is carried out.
            for arg in &call.args {
                log.apply(Spec::parse(arg)?);
            }
            Ok(())
        });
        let log = vlog.clone();
        self.register("vlog/list", "", 0..=0, move |_| Ok(log.list_levels()));
        let log = vlog.clone();
        self.register("vlog/list-pattern", "", 0..=0, move |_| Ok(log.list_patterns()));
        let log = vlog.clone();
        self.register("vlog/enable-rate-limit", "[module]...", any.clone(), move |call| {
            set_rate_limits(&log, &call.args, true)
        });
        let log = vlog.clone();
        self.register("vlog/disable-rate-limit", "[module]...", any, move |call| {
            set_rate_limits(&log, &call.args, false)
        });
        let log = vlog.clone();
        self.register("vlog/reopen", "", 0..=0, move |_| match log.reopen_log_file() {
            None => Err("Logging to file not configured".into()),
            Some(Err(error)) => Err(strerror(&error).into()),
            Some(Ok(())) => Ok(()),
        });
        let log = vlog.clone();
        self.register("vlog/close", "", 0..=0, move |_| {
            log.close_log_file();
            Ok(())
        });
        // Hidden by the peer too, whose releases since 3.3 have it.
        self.register_hidden("vlog/message", 1..=1, |call, reply| {
            tracing::info!(target: "vlog", "{}", call.arg(0).unwrap_or_default());
            reply.ok(());
        });
    }
}

impl Registry {
    /// Adds the `coverage/` commands.
    pub fn register_coverage(&self) {
        self.register("coverage/show", "", 0..=0, |call| {
            Ok(match call.format {
                Format::Text => Output::Text(coverage::show()),
                Format::Json => {
                    let totals = coverage::totals().into_iter();
                    let totals = totals.map(|(name, total)| (name.to_owned(), total.into()));
                    Output::Json(Value::Object(totals.collect()))
                }
            })
        });
        self.register("coverage/read-counter", "COUNTER", 1..=1, |call| {
            let total = call.arg(0).and_then(coverage::read);
            total.map(|total| format!("{total}\n")).ok_or(CommandError::from("No such counter"))
        });
    }

    /// Adds `memory/show`.
    pub fn register_memory(&self, memory: &Memory) {
        let memory = memory.clone();
        self.register("memory/show", "", 0..=0, move |call| {
            Ok(match call.format {
                Format::Text => Output::Text(memory.report()),
                Format::Json => Output::Json(serde_json::json!(memory.usage())),
            })
        });
    }
}

impl Registry {
    /// Adds `time/stop` and `time/warp`, which move [`crate::clock`].
    pub fn register_time(&self) {
        self.register("time/stop", "", 0..=0, |_| {
            clock::stop();
            Ok(())
        });
        let is_warping = Rc::new(Cell::new(false));
        let usage = "[large_msecs] msecs";
        self.register_deferred("time/warp", usage, 1..=2, move |call, reply| {
            let Some((total_ms, step_ms)) = warp(&call.args) else {
                return reply.error("invalid MSECS");
            };
            if is_warping.replace(true) {
                return reply.error("A previous warp in progress");
            }
            let is_warping = is_warping.clone();
            tokio::task::spawn_local(async move {
                let mut left_ms = total_ms;
                while left_ms > 0 {
                    let step_ms = step_ms.min(left_ms);
                    clock::warp(step_ms);
                    clock::settled().await;
                    left_ms -= step_ms;
                }
                is_warping.set(false);
                reply.ok("warped");
            });
        });
    }
}

/// Reads the arguments of `time/warp`: how far, and in steps of what.
fn warp(args: &[String]) -> Option<(u64, u64)> {
    // Like C's atoll: what is no number is 0.
    let number = |text: &String| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        match text.strip_prefix('-') {
            Some(_) => None,
            None => Some(text[..end].parse().unwrap_or(0)),
        }
    };
    let (total_ms, step_ms): (u64, u64) = match args {
        [total, step] => (number(total)?, number(step)?),
        [step] => (0, number(step)?),
        _ => return None,
    };
    let total_ms = if total_ms == 0 { step_ms } else { total_ms };
    (step_ms > 0).then_some((total_ms, step_ms))
}

fn set_rate_limits(vlog: &Vlog, modules: &[String], honor: bool) -> Result<(), CommandError> {
    if modules.is_empty() {
        vlog.set_honors_rate_limits(None, honor);
    }
    for name in modules {
        match Module::from_name(name) {
            _ if name.eq_ignore_ascii_case("ANY") => vlog.set_honors_rate_limits(None, honor),
            Some(module) => vlog.set_honors_rate_limits(Some(module), honor),
            None => return Err("unknown module".into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warp_is_read_as_the_peer_reads_it() {
        let read = |args: &[&str]| warp(&args.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["500"]), Some((500, 500)));
        assert_eq!(read(&["60000", "1000"]), Some((60_000, 1_000)));
        assert_eq!(read(&["0", "10"]), Some((10, 10)));
        assert_eq!(read(&[" 12ms"]), Some((12, 12)));
        for wrong in [&["0"][..], &["x"], &["-5"], &["-1", "5"], &["5", "0"]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}

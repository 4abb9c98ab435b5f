//! `rovs doctor`: what this machine lacks for the switch to run, one line each with the remedy.
//!
//! What always holds: it changes nothing, loads no module, and needs no daemon. Each check first
//! finds the facts, then judges them by a pure function, which is what the tests call.

mod kernel;
mod process;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::{Failure, print};

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or not in every case.
    Note,
    /// It does not work like this.
    Missing,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; absent when all is well.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into(), remedy: None }
    }

    fn note(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, status: Status::Note, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn missing(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, status: Status::Missing, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything. `target` is the daemon to look for.
pub fn examine(target: &str) -> Vec<Finding> {
    let mut findings = kernel::examine();
    findings.extend(process::examine(target));
    findings
}

/// Runs the command; the exit status is 1 when something is missing.
pub(super) fn run(target: &str, json: bool) -> Result<ExitCode, Failure> {
    let findings = examine(target);
    let is_well = findings.iter().all(|finding| finding.status != Status::Missing);
    if json {
        print(&format!("{:#}\n", json!({"ok": is_well, "findings": findings})))?;
    } else {
        print(&text(&findings))?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, status, found, remedy } in findings {
        let status = match status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Missing => "MISSING",
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{status:<7}  {check:<width$}  {found}");
        if let Some(remedy) = remedy {
            let _ = write!(text, "; {remedy}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each_with_the_remedy() {
        let findings = [
            Finding::ok("a", "fine"),
            Finding::missing("longer", "no module", "load it"),
            Finding::note("b", "old", "update"),
        ];
        assert_eq!(
            text(&findings),
            "ok       a       fine\nMISSING  longer  no module; load it\nnote     b       old; update\n"
        );
    }

    #[test]
    fn this_machine_can_be_examined() {
        let findings = examine("/nonexistent/daemon.ctl");
        for finding in &findings {
            assert_eq!(finding.status == Status::Ok, finding.remedy.is_none(), "{finding:?}");
            assert!(!finding.found.contains('\n'), "{finding:?}");
        }
        let socket = findings.iter().find(|finding| finding.check == "control socket");
        assert_eq!(socket.map(|finding| finding.status), Some(Status::Note), "{findings:?}");
    }
}

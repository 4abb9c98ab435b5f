//! The end of a start that cannot succeed: one line for the operator, exit status 1.

use crate::vlog::Vlog;
use crate::vlog::module::{Destination, Level, Module};
use crate::vlog::spec::Spec;
use std::process::ExitCode;

/// Why the program must end. Shown on standard error after the program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// Empty when everything was said before.
    text: String,
    /// The log module it is also logged under.
    module: Option<&'static str>,
}

impl Fatal {
    /// A mistake of the operator's: shown, not logged.
    pub fn usage(text: impl Into<String>) -> Fatal {
        Fatal { text: text.into(), module: None }
    }

    /// A failure: shown, and logged at EMER.
    pub fn logged(module: &'static str, text: impl Into<String>) -> Fatal {
        Fatal { text: text.into(), module: Some(module) }
    }

    /// Something the log has told already: nothing is shown.
    pub fn said() -> Fatal {
        Fatal { text: String::new(), module: None }
    }

    /// The line, without the program's name.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Shows and logs it.
    pub fn report(&self, program: &str, vlog: Option<&Vlog>) -> ExitCode {
        if let (Some(name), Some(vlog)) = (self.module, vlog) {
            let module = Module::of_target(name);
            // The console gets it once, in the form for operators.
            let destination = Some(Destination::Console);
            vlog.apply(Spec::Levels { module: Some(module), destination, level: Level::Off });
            vlog.write(module, Level::Emer, &self.text);
        }
        if self.text.is_empty() {
            return ExitCode::FAILURE;
        }
        // A console that is gone is no reason to panic.
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{program}: {}", self.text);
        ExitCode::FAILURE
    }
}

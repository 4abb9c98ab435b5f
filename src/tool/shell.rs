//! `rovs completions` and `rovs man`: made from the command line itself, so they cannot disagree
//! with it.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure, print};

/// `rovs completions`.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rovs", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// `rovs man`.
pub(super) fn manual(command: Option<&str>) -> Result<(), Failure> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let page = match command {
        None => cli,
        Some(name) => {
            let page = cli.find_subcommand(name).cloned();
            let page = page.ok_or_else(|| Failure::Usage {
                what: format!("there is no command {name:?}"),
                remedy: "`rovs --help` lists them".to_owned(),
            })?;
            page.display_name(format!("rovs-{name}"))
        }
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff).map_err(Failure::Output)?;
    print(&String::from_utf8_lossy(&roff))
}

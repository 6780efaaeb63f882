//! The command line: arguments in, rows on stdout, everything else on stderr, and an exit code that scripts can trust.

mod cli;
mod config;
mod demo;
mod exit;
mod interrupt;
mod output;
mod plugins;
mod progress;
mod query;
mod receipt_text;
mod schema;
mod sources;
mod times;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use fedaudit_core::{Error, Result};

use crate::cli::{Cli, Command};
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose);
    // Two crypto libraries may be linked in; the choice is made here, once.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Error::new(fedaudit_core::ErrorKind::Internal, format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error);
            Exit::of_error(&error).into()
        }
    }
}

async fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Query(arguments) => query::run(*arguments).await,
        Command::Sources(arguments) => sources::run(arguments).await,
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fedaudit", &mut script);
            // A reader that has enough may go away.
            let _ = std::io::stdout().write_all(&script);
            Ok(Exit::Complete)
        }
    }
}

#[expect(clippy::print_stderr, reason = "errors are for people")]
fn report(error: &Error) {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint_text() {
        eprintln!("hint: {hint}");
    }
}

fn log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "fedaudit=info,fedaudit_core=info,fedaudit_transport=info,warn",
        _ => "fedaudit=debug,fedaudit_core=debug,fedaudit_transport=debug,info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("FEDAUDIT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

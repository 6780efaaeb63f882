//! The command line: arguments in, rows on stdout, everything else on stderr, and an exit code that scripts can trust.

mod cli;
mod collect;
mod config;
mod coverage;
mod demo;
mod exit;
mod files;
mod interrupt;
mod output;
mod plugin;
mod plugins;
mod progress;
mod query;
mod receipt_text;
mod scaffold;
mod schema;
mod sources;
mod terminal;
mod times;
mod watch;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use fedaudit_core::{Error, ErrorKind, Result};

use crate::cli::{Cli, Command, PLUGIN_PROCESS, ProcessArgs};
use crate::exit::Exit;
use crate::terminal::say;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == PLUGIN_PROCESS) {
        let served = plugins::serve(&ProcessArgs::parse_from(std::env::args_os().skip(1)));
        // Its host puts this into the log.
        return served.inspect_err(report).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let cli = Cli::parse_from(std::env::args_os().map(comment_or_option));
    if let Err(error) = log(cli.verbose) {
        report(&error);
        return Exit::of_error(&error).into();
    }
    // Two crypto libraries may be linked in; the choice is made here, once.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            // Whoever interrupted does not wait for a plugin that takes its time.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Error::new(ErrorKind::Internal, format!("cannot start: {error}"))),
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
        Command::Collect(arguments) => collect::run(arguments).await,
        Command::Coverage(arguments) => coverage::run(arguments).await,
        Command::Sources(arguments) => sources::run(arguments).await,
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Plugin(arguments) => plugin::run(arguments).await,
        Command::Watch(arguments) => watch::run(arguments).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fedaudit", &mut script);
            // A reader that has enough may go away.
            let _ = std::io::stdout().write_all(&script);
            Ok(Exit::Complete)
        }
    }
}

/// A question from a file often begins with a comment, which looks like an option; but no option has a space in its name.
fn comment_or_option(argument: OsString) -> OsString {
    let comment = argument.to_str().and_then(|text| text.strip_prefix("--")).is_some_and(|text| {
        let name = text.split('=').next().unwrap_or_default();
        name.starts_with('-') || name.contains(char::is_whitespace)
    });
    if comment { OsString::from_iter([" ".into(), argument]) } else { argument }
}

fn report(error: &Error) {
    say(&format!("error: {error}"));
    if let Some(hint) = error.hint_text() {
        say(&format!("hint: {hint}"));
    }
}

fn log(verbose: u8) -> Result<()> {
    let default = match verbose {
        0 => "warn,deltalake_core=error",
        1 => "fedaudit=info,fedaudit_core=info,fedaudit_transport=info,warn",
        _ => "fedaudit=debug,fedaudit_core=debug,fedaudit_transport=debug,info",
    };
    let wanted = std::env::var_os("FEDAUDIT_LOG").filter(|wanted| !wanted.is_empty());
    let wanted = wanted.map_or_else(|| default.to_owned(), |wanted| wanted.to_string_lossy().into_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&wanted).map_err(|error| {
        Error::new(ErrorKind::Config, format!("'{wanted}' says not what to log: {error}"))
            .at("FEDAUDIT_LOG")
            .hint("write a level, or one for each crate: warn, fedaudit_transport=debug")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // An error of writing would be told on stderr, which is what cannot be written to.
        .log_internal_errors(false)
        .init();
    Ok(())
}

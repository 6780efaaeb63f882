//! `fedaudit plugin`: what plugins there are, whether a library keeps the contract, and a beginning for one of your own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Clock as _, Context, Error, ErrorKind, Meter, PluginInfo, Result};
use fedaudit_testkit::conformance::{Case, Fixtures, LIVE, Report, Subject, all_cases, live};

use crate::cli::{CheckArgs, ConfigArgs, PluginArgs, PluginCommand};
use crate::config;
use crate::exit::Exit;
use crate::plugins::{self, Isolation, RuntimePlugin};
use crate::progress;
use crate::report;
use crate::scaffold;
use crate::terminal::{print, say};
use crate::times::SystemClock;

/// The folder of a plugin's crate that holds what its check needs.
const FIXTURES: &str = "fixtures";
/// Longest time for one case: answers that are played come at once.
const CASE: Duration = Duration::from_mins(2);
/// Longest time for all that is asked of one real source.
const PATIENCE: Duration = Duration::from_mins(10);

pub(crate) async fn run(arguments: PluginArgs) -> Result<Exit> {
    match arguments.command {
        None => list(&arguments.config),
        Some(PluginCommand::List { config }) => list(&config),
        Some(PluginCommand::New(arguments)) => scaffold::write(&arguments).map(|()| Exit::Complete),
        Some(PluginCommand::Check(arguments)) => check(&arguments).await,
    }
}

fn list(arguments: &ConfigArgs) -> Result<Exit> {
    let plugins = config::plugins(arguments)?;
    let line =
        |info: &PluginInfo, origin: String| [info.kind.clone(), info.version.clone(), origin, info.streams.join(", ")];
    let mut lines = vec![["type", "version", "origin", "streams"].map(str::to_owned)];
    lines.extend(plugins::built_in().map(|info| line(&info, "built in".to_owned())));
    let mut refused = Vec::new();
    for library in plugins.found()? {
        let process = match plugins.settings().isolation {
            Isolation::Process => "own process",
            Isolation::None => "this process",
        };
        match &library.plugin {
            Ok(plugin) => lines.push(line(plugin.info(), format!("{} ({process})", library.path.display()))),
            Err(error) => refused.push(error),
        }
    }
    print(aligned(&lines).iter().map(String::as_str))?;
    for error in &refused {
        report(error);
    }
    Ok(if refused.is_empty() { Exit::Complete } else { Exit::Failed })
}

/// Cells in columns as wide as they need; the last one ends where it ends.
fn aligned<const N: usize>(lines: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

async fn check(arguments: &CheckArgs) -> Result<Exit> {
    let plugin = plugins::load(&arguments.library, arguments.isolation, &plugins::Settings::default())?;
    let info = plugin.info();
    say(&format!(
        "{}: type '{}', version {}, streams {}",
        arguments.library.display(),
        info.kind,
        if info.version.is_empty() { "not told" } else { &info.version },
        info.streams.join(", ")
    ));
    match &arguments.config {
        Some(config) => for_real(&plugin, config).await,
        None => from_fixtures(plugin, arguments).await,
    }
}

/// Every case that recorded answers allow.
async fn from_fixtures(plugin: RuntimePlugin, arguments: &CheckArgs) -> Result<Exit> {
    let folder = match &arguments.fixtures {
        Some(folder) => folder.clone(),
        None => fixtures_above(&arguments.library)?,
    };
    let info = plugin.info().clone();
    let subject = Subject::new(info, move |settings| plugin.build("subject", &config::json(&settings)?));
    let mut suite = Fixtures::read(&folder)?.suite(subject)?;
    for wanted in &arguments.cases {
        let case = all_cases().iter().find(|case| case.id.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            let last = all_cases().last().map_or("", |case| case.id);
            Error::new(ErrorKind::Config, format!("there is no case {wanted}")).hint(format!("there are U1 to {last}"))
        })?;
        suite = suite.only(&[case.id]);
    }
    say(&format!("the product is played from {}", folder.display()));
    let progress = progress::cases();
    let bar = progress.clone();
    let tell = move |ended, all| {
        bar.set_length(all as u64);
        bar.set_position(ended as u64);
    };
    let report = suite.within(CASE).telling(tell).report().await;
    progress.finish_and_clear();
    told(&report, "", &|case| case.shows)
}

/// The fixtures of the crate, or the folder, that the library lies in.
fn fixtures_above(library: &Path) -> Result<PathBuf> {
    let from = library
        .canonicalize()
        .map_err(|error| Error::new(ErrorKind::Config, error.to_string()).at(library.display()))?;
    let above = from.ancestors().skip(1).map(|folder| folder.join(FIXTURES));
    above.clone().find(|folder| folder.join("check.toml").is_file()).ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no fixtures/check.toml in any folder above the library")
            .at(library.display())
            .hint("name its folder with --fixtures DIR, or ask a real product with --config FILE")
    })
}

/// What can be seen of real products, one source after the other.
async fn for_real(plugin: &RuntimePlugin, config: &Path) -> Result<Exit> {
    let sources = config::sources_of(&plugin.info().kind, config)?;
    if sources.is_empty() {
        let text = format!("no source of type '{}' is configured", plugin.info().kind);
        return Err(Error::new(ErrorKind::Config, text).at(config.display()));
    }
    let mut worst = Exit::Complete;
    for (name, settings) in sources {
        let source = match plugin.build(&name, &settings) {
            Ok(source) => source,
            Err(error) => {
                report(&error.at(&name));
                worst = Exit::Failed;
                continue;
            }
        };
        let cx = Context {
            source: name.as_str().into(),
            source_key: source.info().origin.as_str().into(),
            clock: Arc::new(SystemClock),
            deadline: Some(SystemClock.now().plus(PATIENCE)),
            meter: Arc::new(Meter::default()),
        };
        say(&format!("asking {name}"));
        let came = live(&*source, plugin.info(), &cx).await;
        let shows = |case: &Case| LIVE.iter().find(|(id, _)| *id == case.id).map_or("", |(_, shows)| shows);
        if told(&came, &format!("{name}: "), &shows)? == Exit::Failed {
            worst = Exit::Failed;
        }
    }
    Ok(worst)
}

/// Prints what came of the cases. None that passed is no success.
fn told(report: &Report, prefix: &str, shows: &dyn Fn(&Case) -> &'static str) -> Result<Exit> {
    let mut lines = Vec::new();
    for case in all_cases() {
        let failed = report.failed.iter().find(|(id, _)| *id == case.id);
        let skipped = report.skipped.iter().find(|(id, _)| *id == case.id);
        let outcome = match (failed, skipped) {
            (Some((_, text)), _) => format!("FAILED   {text}"),
            (None, Some((_, reason))) => format!("skipped  {reason}"),
            (None, None) if report.ran.contains(&case.id) => format!("ok       {}", shows(case)),
            (None, None) => continue,
        };
        lines.push(format!("{prefix}{:<4} {outcome}", case.id));
    }
    let of_streams = report.skipped.iter().filter(|(id, _)| !all_cases().iter().any(|case| case.id == id));
    lines.extend(of_streams.map(|(stream, reason)| format!("{prefix}{stream} skipped: {reason}")));
    let (passed, failed, skipped) = (report.passed, report.failed.len(), report.skipped.len());
    lines.push(format!("{prefix}{passed} passed, {failed} failed, {skipped} skipped"));
    print(lines.iter().map(String::as_str))?;
    Ok(if failed == 0 && passed > 0 { Exit::Complete } else { Exit::Failed })
}

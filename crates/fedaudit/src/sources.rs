//! `fedaudit sources`: what is configured, whether it answers, what it offers.

use fedaudit_core::{Error, ErrorKind, Predicate, Result, SourceHealth, SourceInfo};
use fedaudit_engine::Engine;

use crate::cli::{SourcesArgs, SourcesCommand};
use crate::config;
use crate::exit::Exit;
use crate::report;
use crate::terminal::print;

pub(crate) async fn run(arguments: SourcesArgs) -> Result<Exit> {
    match arguments.command {
        None => list(&config::load(&arguments.config)?.engine),
        Some(SourcesCommand::List { config }) => list(&config::load(&config)?.engine),
        Some(SourcesCommand::Check { name, config }) => check(&config::load(&config)?.engine, name.as_deref()).await,
        Some(SourcesCommand::Info { name, config }) => info(&config::load(&config)?.engine, &name),
    }
}

fn list(engine: &Engine) -> Result<Exit> {
    let mut lines = vec![format!("{:<16} {:<10} {:<40} streams", "source", "product", "address")];
    for source in engine.sources() {
        let info = source.plugin.info();
        let streams: Vec<&str> = info.streams.iter().map(|stream| stream.name.as_str()).collect();
        lines.push(format!("{:<16} {:<10} {:<40} {}", source.name, info.product, info.origin, streams.join(", ")));
    }
    print(lines.iter().map(String::as_str))?;
    Ok(Exit::Complete)
}

async fn check(engine: &Engine, name: Option<&str>) -> Result<Exit> {
    let names: Vec<&str> = engine
        .sources()
        .iter()
        .map(|source| source.name.as_str())
        .filter(|known| name.is_none_or(|name| name == *known))
        .collect();
    if names.is_empty() {
        return Err(unknown(engine, name.unwrap_or_default()));
    }
    let checks = names.iter().map(|name| async move { (*name, engine.check(name).await) });
    let (mut good, mut bad) = (0, 0);
    for (name, health) in futures::future::join_all(checks).await {
        match health {
            Ok(health) => {
                if health.denied.is_empty() {
                    good += 1
                } else {
                    bad += 1
                }
                print(described(name, &health).iter().map(String::as_str))?;
            }
            Err(error) => {
                bad += 1;
                print([format!("{name}: {}", error.kind()).as_str()])?;
                report(&error);
            }
        }
    }
    Ok(match (good, bad) {
        (_, 0) => Exit::Complete,
        (0, _) => Exit::Failed,
        _ => Exit::Partial,
    })
}

fn described(name: &str, health: &SourceHealth) -> Vec<String> {
    let verdict = if health.denied.is_empty() { "ok" } else { "partly denied" };
    let mut lines = vec![format!("{name}: {verdict}")];
    let mut fact = |what: &str, value: Option<String>| lines.extend(value.map(|value| format!("  {what:<16} {value}")));
    fact("version", health.product_version.clone());
    fact("fingerprint", health.fingerprint.clone());
    fact("account", health.account.clone());
    fact("server clock", health.server_time.map(|time| time.to_string()));
    fact("keeps since", health.retention_floor.map(|time| time.to_string()));
    for (stream, reason) in &health.denied {
        lines.push(format!("  denied           {stream}: {reason}"));
    }
    lines.extend(health.notes.iter().map(|note| format!("  note             {note}")));
    lines
}

fn info(engine: &Engine, name: &str) -> Result<Exit> {
    let source = engine.sources().iter().find(|source| source.name == name).ok_or_else(|| unknown(engine, name))?;
    let SourceInfo { product, plugin, plugin_version, origin, streams } = source.plugin.info();
    let mut lines = vec![format!(
        "{name}: {product} at {origin}, read by {plugin} {plugin_version}, identity {}",
        source.source_key
    )];
    for stream in streams {
        lines.push(format!("  {} ({:?})", stream.name, stream.kind).to_lowercase());
        lines.push(format!("    time field     {}", stream.time_field));
        lines.push(format!("    order          {:?}", stream.order).to_lowercase());
        let pushable: Vec<&str> = stream.pushable.iter().map(|pushable| pushable.column.as_str()).collect();
        lines.push(format!(
            "    pushable       {}",
            if pushable.is_empty() { "the window only".into() } else { pushable.join(", ") }
        ));
        if let Some(history) = stream.history {
            lines.push(format!("    history        {} days", history.as_secs() / 86_400));
        }
        lines.push(format!("    lateness       {} s", stream.lateness.as_secs()));
        for spot in &stream.blind_spots {
            let condition: Vec<String> = spot.predicates.iter().map(Predicate::to_string).collect();
            let condition = if condition.is_empty() { String::new() } else { format!("{}: ", condition.join(" AND ")) };
            lines.push(format!("    blind spot     {condition}{}", spot.reason));
        }
    }
    print(lines.iter().map(String::as_str))?;
    Ok(Exit::Complete)
}

fn unknown(engine: &Engine, name: &str) -> Error {
    let names: Vec<&str> = engine.sources().iter().map(|source| source.name.as_str()).collect();
    Error::new(ErrorKind::Config, format!("there is no source '{name}'"))
        .hint(format!("configured: {}", names.join(", ")))
}

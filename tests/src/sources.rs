//! The sources of a configuration as the binary builds them, and a clock that makes every run the same.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fedaudit_core::{AuditSource, Clock, Error, ErrorKind, Plugin, Result, Time};
use fedaudit_engine::Source;
use toml::{Table, Value};

/// End of every history in the tests. The worlds are the same in every run because the clock is ours, too.
pub const TO: i64 = 1_795_317_601_000_000;

/// How far the products' clocks have to be behind the machine's to be right by this one: what they keep is counted from theirs.
pub fn behind() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_micros(TO as u64 + 600_000_000))
}

/// A clock that runs as the real one does, but stands ten minutes after the end of the history when a test begins.
#[derive(Debug)]
pub struct AfterTheHistory(Instant);

impl AfterTheHistory {
    /// It starts now.
    pub fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for AfterTheHistory {
    fn now(&self) -> Time {
        Time::from_micros(TO + 600_000_000).plus(self.0.elapsed())
    }
}

/// The `[[source]]` tables of a configuration file.
pub fn read_config(path: &Path) -> Result<Vec<Table>> {
    let wrong = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Config, error.to_string()).at(path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let mut config: Table = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let Some(Value::Array(sources)) = config.remove("source") else { return Err(wrong(&"no sources")) };
    let table = |value| match value {
        Value::Table(table) => Ok(table),
        _ => Err(wrong(&"a source that is no table")),
    };
    sources.into_iter().map(table).collect()
}

/// The source of a `[[source]]` table.
pub fn source(table: &Table) -> Result<Source> {
    let mut table = table.clone();
    let mut text = |key: &str| {
        let value = table.remove(key).and_then(|value| value.as_str().map(str::to_owned));
        value.ok_or_else(|| Error::new(ErrorKind::Config, format!("a source without {key}")))
    };
    let (name, kind) = (text("name")?, text("type")?);
    let plugin = match kind.as_str() {
        fedaudit_truenas::TrueNasPlugin::TYPE => build::<fedaudit_truenas::TrueNasPlugin>(&name, table),
        fedaudit_vsphere::VSphere::TYPE => build::<fedaudit_vsphere::VSphere>(&name, table),
        fedaudit_sps::Sps::TYPE => build::<fedaudit_sps::Sps>(&name, table),
        fedaudit_canvas::Canvas::TYPE => build::<fedaudit_canvas::Canvas>(&name, table),
        other => Err(Error::new(ErrorKind::Config, format!("type {other}"))),
    }?;
    Ok(Source { name, source_key: plugin.info().origin.clone(), plugin })
}

fn build<P: Plugin>(name: &str, table: Table) -> Result<Arc<dyn AuditSource>> {
    let config: P::Config = table.try_into().map_err(|error| Error::new(ErrorKind::Config, format!("{error}")))?;
    P::build(name, config).map(Arc::from)
}

//! The plugins: those built into the binary, one line each, and those that are found at run time.

mod found;
mod unbuilt;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fedaudit_core::{AuditSource, Error, ErrorKind, Plugin, PluginInfo, Result};
use figment::value::{Dict, Value};

pub(crate) use self::found::{Found, Isolation, RuntimePlugin, Settings, load, serve};
use self::unbuilt::Unbuilt;
use crate::config::{json, wrong};

type Build = fn(&str, Value) -> Result<Arc<dyn AuditSource>>;
type Describe = fn() -> PluginInfo;

/// Every built-in plugin with its `type`.
const BUILT_IN: &[(&str, Describe, Build)] = &[
    plugin::<fedaudit_truenas::TrueNasPlugin>(),
    plugin::<fedaudit_vsphere::VSphere>(),
    plugin::<fedaudit_sps::Sps>(),
    plugin::<fedaudit_canvas::Canvas>(),
];

const fn plugin<P: Plugin>() -> (&'static str, Describe, Build) {
    (P::TYPE, PluginInfo::of::<P>, build::<P>)
}

fn build<P: Plugin>(name: &str, table: Value) -> Result<Arc<dyn AuditSource>> {
    let config: P::Config = table.deserialize().map_err(wrong)?;
    P::build(name, config).map(Arc::from)
}

/// What the built-in plugins say of themselves.
pub(crate) fn built_in() -> impl Iterator<Item = PluginInfo> {
    BUILT_IN.iter().map(|(_, describe, _)| describe())
}

/// Every plugin of one configuration. Libraries are loaded when a source, or a list, first needs one.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    settings: Settings,
    found: OnceLock<Vec<Found>>,
    /// Held while they are loaded, so that each is loaded once.
    loading: Mutex<()>,
}

impl Plugins {
    /// With the libraries that these settings name; paths are relative to the configuration's folder.
    pub(crate) fn new(settings: Settings, folder: &Path) -> Result<Self> {
        Ok(Self { settings: settings.resolved(folder)?, ..Self::default() })
    }

    /// Every library, and what came of loading it.
    pub(crate) fn found(&self) -> Result<&[Found]> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = self.settings.find()?;
        Ok(self.found.get_or_init(|| found))
    }

    /// How libraries run unless a source says otherwise.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes a source of a type. A library that cannot be used, or refuses its settings, gives a source that fails when it is
    /// asked, because the others can still answer: whatever a library does, it is its sources' outcome.
    pub(crate) fn source(&self, kind: &str, name: &str, mut table: Dict) -> Result<Arc<dyn AuditSource>> {
        if let Some((_, _, build)) = BUILT_IN.iter().find(|(known, ..)| *known == kind) {
            return build(name, Value::from(table));
        }
        let isolation = match table.remove("isolation") {
            Some(value) => value.deserialize().map_err(|error| wrong(error).at("isolation"))?,
            None => self.settings.isolation,
        };
        let found = self.found()?;
        let refused: Vec<&Error> = found.iter().filter_map(|library| library.plugin.as_ref().err()).collect();
        let made = match found.iter().find(|library| library.is_of(kind)) {
            None if refused.is_empty() => return Err(unknown(kind, found)),
            // One of them may be what was meant.
            None => Err(all_refused(kind, &refused)),
            Some(library) => {
                let settings = json(&table)?;
                library.run(isolation, &self.settings).and_then(|plugin| plugin.build(name, &settings))
            }
        };
        Ok(made.map_or_else(|error| Arc::new(Unbuilt::new(kind, name, error)) as Arc<dyn AuditSource>, Arc::from))
    }
}

fn all_refused(kind: &str, refused: &[&Error]) -> Error {
    let reasons: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let text = format!("no usable plugin is of type '{kind}'; refused: {}", reasons.join("; "));
    let hint = refused.iter().find_map(|error| error.hint_text()).unwrap_or("see 'fedaudit plugin list'");
    Error::new(ErrorKind::Config, text).hint(hint)
}

fn unknown(kind: &str, found: &[Found]) -> Error {
    let built_in = BUILT_IN.iter().map(|(known, ..)| *known);
    let loaded =
        found.iter().filter_map(|library| library.plugin.as_ref().ok()).map(|plugin| plugin.info().kind.as_str());
    let known: Vec<&str> = built_in.chain(loaded).collect();
    Error::new(ErrorKind::Config, format!("type '{kind}' is unknown"))
        .hint(format!("known types: {}; [plugins] dir and libraries name where others are", known.join(", ")))
}

//! The configuration: one TOML file, then `FEDAUDIT_*`, then flags. Unknown keys are errors that name the nearest known one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum as _;
use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_engine::{Engine, Options, Source};
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, error::Kind};
use serde::{Deserialize, Serialize};

use crate::cli::{ConfigArgs, Partial};
use crate::plugins::{Plugins, Settings};
use crate::times::{Span, SystemClock, span};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where collected rows live.
    pub(crate) store: Option<String>,
    /// Range of questions that give none, such as `30d`.
    pub(crate) default_range: Option<Span>,
    /// What a missing part makes of the exit code.
    #[serde(default)]
    pub(crate) partial: Partial,
    /// How far back events are read to rebuild sessions, such as `24h`.
    look_back: Option<Span>,
    /// Longest time for one page of one source, such as `2m`.
    page_timeout: Option<Span>,
    /// Plugins that are found at run time.
    #[serde(default)]
    plugins: Settings,
    #[serde(default)]
    source: Vec<Dict>,
}

/// A configuration and the engine over its sources.
pub(crate) struct Configured {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
}

/// A source as the file has it.
struct Configuration {
    name: String,
    kind: String,
    identity: Option<String>,
    settings: Dict,
}

/// Reads the configuration and builds every source; nothing is asked of a product.
pub(crate) fn load(arguments: &ConfigArgs) -> Result<Configured> {
    let path = find(arguments.config.as_deref())?;
    let mut configured = load_file(&path).map_err(|error| error.at(path.display()))?;
    replace(&mut configured.config)?;
    Ok(configured)
}

/// Variables that replace a key of the file; the list is closed.
fn replace(config: &mut Config) -> Result<()> {
    if let Some(store) = variable("FEDAUDIT_STORE", |text| Ok(text.to_owned()))? {
        config.store = Some(store);
    }
    if let Some(range) = variable("FEDAUDIT_DEFAULT_RANGE", |text| lasting(Span(span(text)?)))? {
        config.default_range = Some(range);
    }
    let word = |text: &str| {
        Partial::from_str(text, false)
            .map_err(|_| Error::new(ErrorKind::Config, format!("'{text}' is none of: fail, warn, allow")))
    };
    if let Some(partial) = variable("FEDAUDIT_PARTIAL", word)? {
        config.partial = partial;
    }
    Ok(())
}

fn variable<T>(name: &str, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    let text = text.into_string().map_err(|_| Error::new(ErrorKind::Config, "is no UTF-8").at(name))?;
    read(&text).map(Some).map_err(|error| error.at(name))
}

/// A span in which something can happen.
fn lasting(span: Span) -> Result<Span> {
    if span.0.is_zero() { Err(Error::new(ErrorKind::Config, "has to be longer than nothing")) } else { Ok(span) }
}

/// The plugins of a configuration: of the one that is found, if none is named, and only the built-in ones if none is found.
pub(crate) fn plugins(arguments: &ConfigArgs) -> Result<Plugins> {
    let path = match (&arguments.config, find(None)) {
        (Some(path), _) => path.clone(),
        (None, Ok(path)) => path,
        (None, Err(_)) => return Ok(Plugins::default()),
    };
    let (config, folder) = read(&path).map_err(|error| error.at(path.display()))?;
    Plugins::new(config.plugins, folder)
}

/// The sources of this type, each with its name and its settings.
pub(crate) fn sources_of(kind: &str, path: &Path) -> Result<Vec<(String, serde_json::Value)>> {
    let (config, folder) = read(path).map_err(|error| error.at(path.display()))?;
    let mut sources = Vec::new();
    for table in config.source {
        let mut source = configuration(table, folder).map_err(|(_, error)| error.at(path.display()))?;
        if source.kind == kind {
            source.settings.remove("isolation");
            sources.push((source.name, json(&source.settings)?));
        }
    }
    Ok(sources)
}

/// Settings as a library takes them.
pub(crate) fn json(settings: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(settings)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("settings as JSON: {error}")))
}

fn read(path: &Path) -> Result<(Config, &Path)> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
    let config = Figment::new().merge(Toml::string(&text)).extract().map_err(wrong)?;
    Ok((config, path.parent().unwrap_or(Path::new("."))))
}

fn load_file(path: &Path) -> Result<Configured> {
    let (mut config, folder) = read(path)?;
    let plugins = Plugins::new(std::mem::take(&mut config.plugins), folder)?;
    let tables = std::mem::take(&mut config.source);
    let mut sources: Vec<Source> = Vec::new();
    for (index, built) in built(tables, folder, &plugins).into_iter().enumerate() {
        let source = built.map_err(|(name, error)| {
            error.at(name.map_or_else(|| format!("[[source]] number {}", index + 1), |name| format!("source '{name}'")))
        })?;
        if let Some(twin) = sources.iter().find(|known| known.name == source.name) {
            return Err(Error::new(ErrorKind::Config, format!("two sources are named '{}'", twin.name)));
        }
        if let Some(twin) = sources.iter().find(|known| known.source_key == source.source_key) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("sources '{}' and '{}' have the same identity {}", twin.name, source.name, source.source_key),
            )
            .hint("if they are two systems behind one address, give each its own identity = \"…\""));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err(Error::new(ErrorKind::Config, "no source is configured")
            .hint("add a [[source]]; config/fedaudit.toml is a commented sample"));
    }
    let mut options = Options::default();
    if let Some(span) = config.look_back {
        options.look_back = span.0;
    }
    if let Some(span) = config.page_timeout {
        options.page_timeout = lasting(span).map_err(|error| error.at("page_timeout"))?.0;
    }
    if let Some(span) = config.default_range {
        lasting(span).map_err(|error| error.at("default_range"))?;
    }
    Ok(Configured { config, engine: Engine::new(sources, Arc::new(SystemClock), options) })
}

fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let here = PathBuf::from("fedaudit.toml");
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    let of_user = folder.map(|folder| folder.join("fedaudit/fedaudit.toml"));
    [Some(here), of_user].into_iter().flatten().find(|path| path.exists()).ok_or_else(|| {
        Error::new(ErrorKind::Config, "no configuration found")
            .hint("name one with --config FILE, or run 'fedaudit demo' to see fedaudit without one")
    })
}

/// Makes every source, at once: a plugin that takes its time must not make all of them wait.
fn built(tables: Vec<Dict>, folder: &Path, plugins: &Plugins) -> Vec<Result<Source, (Option<String>, Error)>> {
    let runtime = tokio::runtime::Handle::try_current().ok();
    std::thread::scope(|scope| {
        let make = |table| {
            let runtime = runtime.clone();
            scope.spawn(move || {
                // Some clients want a runtime around them when they are made.
                let _inside = runtime.as_ref().map(tokio::runtime::Handle::enter);
                source(table, folder, plugins)
            })
        };
        let making: Vec<_> = tables.into_iter().map(make).collect();
        let panicked = |_| Err((None, Error::new(ErrorKind::Internal, "making it panicked")));
        making.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    })
}

fn source(table: Dict, folder: &Path, plugins: &Plugins) -> Result<Source, (Option<String>, Error)> {
    let Configuration { name, kind, identity, settings } = configuration(table, folder)?;
    let plugin = plugins.source(&kind, &name, settings).map_err(|error| (Some(name.clone()), error))?;
    let source_key = identity.unwrap_or_else(|| plugin.info().origin.clone());
    Ok(Source { name, source_key, plugin })
}

fn configuration(mut table: Dict, folder: &Path) -> Result<Configuration, (Option<String>, Error)> {
    let mut take = |key: &str| match table.remove(key) {
        None => Ok(None),
        Some(Value::String(_, text)) => Ok(Some(text)),
        Some(_) => Err((None, Error::new(ErrorKind::Config, format!("{key} is not a text")))),
    };
    let name = take("name")?.ok_or_else(|| (None, Error::new(ErrorKind::Config, "name is missing")))?;
    let kind = take("type").map_err(|(_, error)| (Some(name.clone()), error))?;
    let identity = take("identity").map_err(|(_, error)| (Some(name.clone()), error))?;
    let place = |error| (Some(name.clone()), error);
    let kind = kind.ok_or_else(|| place(Error::new(ErrorKind::Config, "type is missing")))?;
    for value in table.values_mut() {
        relative_to(value, folder);
    }
    if let Some(Value::Dict(_, tls)) = table.get_mut("tls")
        && let Some(Value::String(_, file)) = tls.get_mut("ca_file")
    {
        *file = in_folder(file, folder);
    }
    Ok(Configuration { name, kind, identity, settings: table })
}

/// Files of secrets are looked up beside the configuration that names them.
fn relative_to(value: &mut Value, folder: &Path) {
    match value {
        Value::String(_, text) => {
            if let Some(path) = text.strip_prefix("file:") {
                *text = format!("file:{}", in_folder(path, folder));
            }
        }
        Value::Dict(_, table) => table.values_mut().for_each(|value| relative_to(value, folder)),
        Value::Array(_, list) => list.iter_mut().for_each(|value| relative_to(value, folder)),
        _ => {}
    }
}

pub(crate) fn in_folder(path: &str, folder: &Path) -> String {
    let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    };
    path.to_string_lossy().into_owned()
}

/// An error of figment in our words; an unknown key names the nearest known one.
pub(crate) fn wrong(error: figment::Error) -> Error {
    let path = error.path.join(".");
    let wrapped = match &error.kind {
        Kind::UnknownField(field, known) => {
            let nearest = known
                .iter()
                .map(|known| (strsim::jaro_winkler(field, known), known))
                .filter(|(likeness, _)| *likeness > 0.7)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let unknown = Error::new(ErrorKind::Config, format!("unknown key '{field}'"));
            match nearest {
                Some((_, known)) => unknown.hint(format!("did you mean '{known}'?")),
                None => unknown.hint(format!("known keys: {}", known.join(", "))),
            }
        }
        Kind::MissingField(field) => Error::new(ErrorKind::Config, format!("key '{field}' is missing")),
        // The value is not repeated: it may be a secret at the wrong place.
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            Error::new(ErrorKind::Config, format!("expected {expected}"))
        }
        Kind::UnknownVariant(_, known) => {
            Error::new(ErrorKind::Config, format!("expected one of: {}", known.join(", ")))
        }
        // The parser's text quotes the line, which may hold a secret without its quotes: place and reason are enough.
        Kind::Message(text) => {
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let quoted = lines.iter().any(|line| line.starts_with('|') || line.contains(" | "));
            let text = match lines.as_slice() {
                [first, .., last] if quoted => format!("{first}: {last}"),
                _ => lines.join(": "),
            };
            Error::new(ErrorKind::Config, text)
        }
        Kind::DuplicateField(_) | Kind::InvalidLength(..) => Error::new(ErrorKind::Config, error.kind.to_string()),
        _ => Error::new(ErrorKind::Config, "cannot be read"),
    };
    if path.is_empty() { wrapped } else { wrapped.at(path) }
}

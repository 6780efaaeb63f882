//! A built library as the subject of the conformance suite: loaded into this process, or in processes of its own.

use std::path::{Path, PathBuf};

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_testkit::conformance::Subject;
use serde_json::Value;

use crate::host::LoadedPlugin;
#[cfg(unix)]
use crate::process::{IsolatedPlugin, Recipe};

/// Name of every source under test.
const NAME: &str = "subject";

/// The library in this process.
pub fn loaded(library: &Path) -> Result<Subject> {
    let plugin = LoadedPlugin::load(library, None)?;
    Ok(Subject::new(plugin.info().clone(), move |settings| plugin.build(NAME, &json(settings)?)))
}

/// The library in processes that are started so.
#[cfg(unix)]
pub fn isolated(recipe: Recipe) -> Result<Subject> {
    let plugin = IsolatedPlugin::load(recipe)?;
    Ok(Subject::new(plugin.info().clone(), move |settings| plugin.build(NAME, &json(settings)?)))
}

/// The library of an example in this process.
pub fn example(name: &str) -> Result<Subject> {
    loaded(&built(name)?)
}

/// The library of an example in processes of its own; their program is an example of this crate.
#[cfg(unix)]
pub fn isolated_example(name: &str) -> Result<Subject> {
    let library = built(name)?;
    let program = library.with_file_name("plugin_process");
    if program.exists() {
        isolated(Recipe { program, arguments: vec![library.into()] })
    } else {
        Err(missing(&program))
    }
}

/// The library that cargo built of an example or of a crate of this name, for the tests that are running.
pub fn built(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let deps = test.parent().unwrap_or(Path::new("."));
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = [deps.with_file_name("examples").join(&file), deps.join(&file)];
    beside.iter().find(|path| path.exists()).cloned().ok_or_else(|| missing(&beside[0]))
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} is missing", path.display()))
        .hint("'cargo test --workspace' builds it; with --test or -p alone, cargo leaves it out")
}

fn json(settings: toml::Table) -> Result<Value> {
    serde_json::to_value(settings).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

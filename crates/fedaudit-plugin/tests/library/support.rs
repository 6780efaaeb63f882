//! Where the libraries are, and what a call is handed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{AuditSource, Clock, Context, Meter, Result, Time};
use fedaudit_plugin::process::{IsolatedPlugin, Recipe};

/// 2026-01-01, and not what the machine says.
pub(crate) const NOW: Time = Time::from_micros(1_767_225_600_000_000);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Time {
        NOW
    }
}

pub(crate) fn context(patience: Option<Duration>) -> Context {
    Context {
        source: "one".into(),
        source_key: "odd:1".into(),
        clock: Arc::new(Fixed),
        deadline: patience.map(|patience| NOW.plus(patience)),
        meter: Arc::new(Meter::default()),
    }
}

/// The library that cargo built of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    let path = binary.parent().unwrap().parent().unwrap().join("examples").join(format!("lib{name}.so"));
    assert!(path.exists(), "{} is missing: `cargo test` without --test builds it", path.display());
    path
}

/// Compiles C with the machine's own compiler.
pub(crate) fn compiled(source: &str, defines: &[&str], folder: &Path) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.join(format!("{}.so", defines.concat().replace(['=', '"', ' '], "_")));
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"]).arg(own.join("include"));
    command.args(defines.iter().map(|define| format!("-D{define}")));
    command.arg(own.join(source)).arg("-o").arg(&library);
    assert!(command.status().unwrap().success(), "{command:?}");
    library
}

/// The program that cargo built of an example.
pub(crate) fn program(name: &str) -> PathBuf {
    example("odd").with_file_name(name)
}

/// How a library of the tests runs in a process of its own. A sanitizer maps more memory than any limit allows.
pub(crate) fn recipe(library: &Path) -> Recipe {
    let memory: u64 = if cfg!(sanitized) { u64::MAX } else { 512 << 20 };
    let arguments = vec![library.into(), memory.to_string().into(), "128".into()];
    Recipe { program: program("plugin_process"), arguments }
}

/// A source of a library in a process of its own.
pub(crate) fn isolated(library: &Path, settings: &serde_json::Value) -> Result<Box<dyn AuditSource>> {
    IsolatedPlugin::load(recipe(library))?.build("one", settings)
}

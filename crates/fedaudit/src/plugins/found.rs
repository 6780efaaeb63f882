//! Plugins that are found at run time: where libraries are looked for, and in which process they run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fedaudit_core::{AuditSource, Error, ErrorKind, PluginInfo, Result};
use fedaudit_plugin::host::{LoadedPlugin, wanted_level};
use fedaudit_plugin::process::{self, IsolatedPlugin, Limits, Recipe};
use serde::Deserialize;

use crate::cli::{PLUGIN_PROCESS, ProcessArgs};
use crate::config::in_folder;

/// Libraries that are loaded at once.
const AT_ONCE: usize = 8;

/// In which process the code of a library runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Isolation {
    /// In one of its own for each source: whatever it does costs that source's outcome
    #[default]
    Process,
    /// In this one: a little faster; a crash ends everything
    None,
}

/// The `[plugins]` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Every library in this folder is one.
    dir: Option<PathBuf>,
    /// Further libraries.
    #[serde(default)]
    libraries: Vec<PathBuf>,
    /// How they run.
    #[serde(default)]
    pub(crate) isolation: Isolation,
    /// SHA-256 of the files that may be loaded; without it every one may.
    allow: Option<Vec<String>>,
    /// Most memory of a process, in MiB.
    memory_mib: Option<u64>,
    /// Most open files and connections of a process.
    files: Option<u64>,
}

/// A library, and what came of loading it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) plugin: Result<RuntimePlugin>,
    /// The same run in the other way, if a source wants that.
    otherwise: OnceLock<Result<RuntimePlugin>>,
}

impl Found {
    /// Whether it is usable and of this type.
    pub(crate) fn is_of(&self, kind: &str) -> bool {
        self.plugin.as_ref().is_ok_and(|plugin| plugin.info().kind == kind)
    }

    /// Its plugin, run in this way.
    pub(super) fn run(&self, isolation: Isolation, settings: &Settings) -> Result<&RuntimePlugin> {
        let plugin = match &self.plugin {
            Ok(plugin) if plugin.isolation() == isolation => &self.plugin,
            Ok(_) => self.otherwise.get_or_init(|| load(&self.path, isolation, settings)),
            Err(_) => &self.plugin,
        };
        plugin.as_ref().map_err(Clone::clone)
    }
}

/// A library that makes sources.
#[derive(Clone, Debug)]
pub(crate) enum RuntimePlugin {
    Here(LoadedPlugin),
    Apart(IsolatedPlugin),
}

impl RuntimePlugin {
    pub(crate) fn info(&self) -> &PluginInfo {
        match self {
            Self::Here(plugin) => plugin.info(),
            Self::Apart(plugin) => plugin.info(),
        }
    }

    /// Makes a source of its settings, a JSON object.
    pub(crate) fn build(&self, name: &str, settings: &serde_json::Value) -> Result<Box<dyn AuditSource>> {
        match self {
            Self::Here(plugin) => plugin.build(name, settings),
            Self::Apart(plugin) => plugin.build(name, settings),
        }
    }

    fn isolation(&self) -> Isolation {
        match self {
            Self::Here(_) => Isolation::None,
            Self::Apart(_) => Isolation::Process,
        }
    }
}

impl Settings {
    /// The same with paths from the root, if they make sense.
    pub(crate) fn resolved(self, folder: &Path) -> Result<Self> {
        let from_root = |path: PathBuf| PathBuf::from(in_folder(&path.to_string_lossy(), folder));
        for digest in self.allow.iter().flatten() {
            if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let text = format!("'{digest}' is no SHA-256: 64 hexadecimal digits");
                return Err(Error::new(ErrorKind::Config, text).at("plugins.allow"));
            }
        }
        for (limit, name) in [(self.memory_mib, "plugins.memory_mib"), (self.files, "plugins.files")] {
            if limit.is_some_and(|limit| limit < 64) {
                return Err(Error::new(ErrorKind::Config, "nothing runs with less than 64").at(name));
            }
        }
        Ok(Self {
            dir: self.dir.map(from_root),
            libraries: self.libraries.into_iter().map(from_root).collect(),
            ..self
        })
    }

    /// Loads every library that these settings name: those listed first, then those of the folder by name. Of two that
    /// are of one type the second is refused.
    pub(super) fn find(&self) -> Result<Vec<Found>> {
        let mut paths = self.libraries.clone();
        if let Some(dir) = &self.dir {
            let mut inside = libraries_in(dir).map_err(|error| {
                Error::new(ErrorKind::Config, error.to_string()).at(dir.display()).at("plugins.dir")
            })?;
            inside.sort();
            paths.extend(inside);
        }
        let mut known: Vec<PathBuf> = Vec::new();
        paths.retain(|path| {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            let is_new = !known.contains(&real);
            known.push(real);
            is_new
        });
        let mut found: Vec<Found> = Vec::new();
        for some in paths.chunks(AT_ONCE) {
            found.extend(std::thread::scope(|scope| {
                let loading: Vec<_> =
                    some.iter().map(|path| scope.spawn(|| load(path, self.isolation, self))).collect();
                let panicked = |_| Err(Error::new(ErrorKind::Internal, "loading it panicked"));
                let plugins = loading.into_iter().map(|thread| thread.join().unwrap_or_else(panicked));
                let found =
                    |(path, plugin): (&PathBuf, _)| Found { path: path.clone(), plugin, otherwise: OnceLock::new() };
                some.iter().zip(plugins).map(found).collect::<Vec<_>>()
            }));
        }
        refuse_twins(&mut found);
        for error in found.iter().filter_map(|library| library.plugin.as_ref().err()) {
            tracing::warn!("a plugin is refused: {error}");
        }
        Ok(found)
    }

    fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            memory: self.memory_mib.map_or(default.memory, |mib| mib.saturating_mul(1 << 20)),
            files: self.files.unwrap_or(default.files),
        }
    }
}

/// Loads a library. A process of its own is this program again, which then does nothing else.
pub(crate) fn load(path: &Path, isolation: Isolation, settings: &Settings) -> Result<RuntimePlugin> {
    let allowed = settings.allow.as_deref();
    if isolation == Isolation::None {
        return LoadedPlugin::load(path, allowed).map(RuntimePlugin::Here);
    }
    let program = std::env::current_exe()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("this program does not know where it is: {error}")))?;
    let limits = settings.limits();
    let mut arguments: Vec<OsString> = vec![PLUGIN_PROCESS.into()];
    arguments.extend(["--memory".into(), limits.memory.to_string().into()]);
    arguments.extend(["--files".into(), limits.files.to_string().into()]);
    arguments.extend(["--level".into(), wanted_level().to_string().into()]);
    match allowed {
        Some([]) => arguments.push("--allow=".into()),
        Some(allowed) => arguments.extend(allowed.iter().map(|digest| format!("--allow={digest}").into())),
        None => {}
    }
    arguments.extend(["--".into(), path.into()]);
    let plugin = IsolatedPlugin::load(Recipe { program, arguments });
    // A process that crashed did not say which library it was.
    let named = |error: Error| if error.place().is_some() { error } else { error.at(path.display()) };
    plugin.map(RuntimePlugin::Apart).map_err(named)
}

/// Is the process of a library, until the host has no more questions.
pub(crate) fn serve(arguments: &ProcessArgs) -> Result<()> {
    let limits = Limits { memory: arguments.memory, files: arguments.files };
    process::serve(&arguments.library, arguments.allow.as_deref(), limits, arguments.level)
}

fn libraries_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A sticky folder keeps others' files, and takes new ones from anybody.
        if std::fs::metadata(dir)?.permissions().mode() & 0o002 != 0 {
            return Err(std::io::Error::other("everybody may add libraries to it"));
        }
    }
    let is_library = |path: &PathBuf| path.to_string_lossy().ends_with(std::env::consts::DLL_SUFFIX);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        paths.extend(Some(entry?.path()).filter(is_library));
    }
    Ok(paths)
}

fn refuse_twins(found: &mut [Found]) {
    for at in 0..found.len() {
        let (before, rest) = found.split_at_mut(at);
        let this = &mut rest[0];
        let Ok(plugin) = &this.plugin else { continue };
        let kind = plugin.info().kind.clone();
        let twin = if super::built_in().any(|known| known.kind == kind) {
            "is built in".to_owned()
        } else if let Some(other) = before.iter().find(|other| other.is_of(&kind)) {
            format!("is also that of {}", other.path.display())
        } else {
            continue;
        };
        let error = Error::new(ErrorKind::Config, format!("its type '{kind}' {twin}"));
        this.plugin = Err(error.at(this.path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_limits_are_checked_before_anything_is_loaded() {
        let resolved = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            settings.resolved(Path::new("/etc/fedaudit"))
        };
        let error = resolved("allow = ['abc']").unwrap_err();
        assert_eq!(error.to_string(), "plugins.allow: 'abc' is no SHA-256: 64 hexadecimal digits");
        assert!(resolved("memory_mib = 63").unwrap_err().to_string().starts_with("plugins.memory_mib: "));
        let settings = resolved("dir = 'plugins'\nlibraries = ['/opt/one.so', 'two.so']").unwrap();
        assert_eq!(settings.dir.unwrap(), Path::new("/etc/fedaudit/plugins"));
        assert_eq!(settings.libraries, ["/opt/one.so", "/etc/fedaudit/two.so"].map(PathBuf::from));
    }
}

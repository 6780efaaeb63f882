//! The host's side: loads a library once, checks what can be checked, and makes sources of it.
//!
//! A library is code of this process: what it does to memory is not checked. What it hands over is: statuses, texts and
//! rows that are not as agreed are that source's errors. Whoever trusts a library less runs it in a process of its own.

mod complete;
pub(crate) mod content;
pub(crate) mod file;
pub(crate) mod import;
pub(crate) mod running;
mod shape;
mod source;

use std::collections::HashSet;
use std::ffi::c_void;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use fedaudit_core::{AuditSource, Error, ErrorKind, PluginInfo, Result, SourceInfo};
use libloading::Library;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use self::running::within;
use self::source::LoadedSource;
use crate::abi::{
    self, ABI_MAJOR, ABI_MINOR, Ask, Bytes, Cancel, Create, Fetch, Host, OK, Release, SYMBOL, Slice, Start,
    TABLE_SIZE_1_0, Table,
};
use crate::wire::{one_line, read};

/// Longest time for a library to start, and for a source to be made: neither asks a product anything.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(10);

/// No product has more.
const MOST_STREAMS: usize = 1000;

/// A loaded library. It is never unloaded: its threads may run, and its rows may be read, for as long as the process
/// lives.
#[derive(Clone)]
pub struct LoadedPlugin {
    path: PathBuf,
    info: PluginInfo,
    functions: Functions,
    /// What follows when a call has to be left behind.
    left_behind: fn(),
}

/// A table that has everything.
#[derive(Clone, Copy)]
struct Functions {
    start: Start,
    create: Create,
    check: Ask,
    fetch: Fetch,
    close: Ask,
    cancel: Option<Cancel>,
    release: Release,
}

impl LoadedPlugin {
    /// Loads a library. With `allowed`, only a file whose SHA-256 (hex) is among them.
    ///
    /// Loading runs code of the library, so everything about the file is checked before.
    pub fn load(path: &Path, allowed: Option<&[String]>) -> Result<Self> {
        Self::loaded(path, allowed).map_err(|error| error.at(path.display()))
    }

    fn loaded(path: &Path, allowed: Option<&[String]>) -> Result<Self> {
        let path = path.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let file = file::check(&path, allowed)?;
        let opened = as_looked_at(&path, &file, allowed.is_some());
        let library = within(START_LIMIT, "loading", move || {
            // SAFETY: the interface promises that loading has no effects; the file is one that this installation trusts.
            let library = unsafe { Library::new(&opened) }.map_err(|error| unusable(error.to_string()));
            drop(file);
            library
        })?;
        // SAFETY: the type of the symbol is part of the interface.
        let entry = unsafe { library.get::<abi::Entry>(SYMBOL) }.map(|symbol| *symbol).map_err(|_| {
            unusable(format!("it exports no `{SYMBOL}`: not a plugin of fedaudit"))
                .hint("a Rust crate needs crate-type = [\"cdylib\"] and export_plugin!")
        })?;
        std::mem::forget(library);
        let functions = Functions::of(within(START_LIMIT, "giving its table", move || {
            // SAFETY: part of the interface.
            Ok(Shared(unsafe { entry() }))
        })?)?;
        let start = functions.start;
        let described = within(START_LIMIT, "starting", move || {
            // SAFETY: part of the interface; the host lives as long as the process.
            ask(|out| unsafe { start(&raw const *HOST, out) })
        })?;
        let info: PluginInfo = read(&described, "description")?;
        if info.kind.is_empty() {
            return Err(unusable("its type is empty"));
        }
        Ok(Self { path, info, functions, left_behind: || {} })
    }

    /// The same, with something to do when a call did not come back and is left behind.
    #[cfg(unix)]
    pub(crate) fn or_else(mut self, left_behind: fn()) -> Self {
        self.left_behind = left_behind;
        self
    }

    /// What it says of itself.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a source of its settings, a JSON object.
    pub fn build(&self, name: &str, settings: &serde_json::Value) -> Result<Box<dyn AuditSource>> {
        let functions = self.functions;
        let (name, settings) = (name.to_owned(), settings.to_string());
        let (Shared(source), info) = within(START_LIMIT, "making a source", move || {
            let mut source: *mut c_void = std::ptr::null_mut();
            let info = ask(|out| {
                let (name, settings) = (Slice::of(name.as_bytes()), Slice::of(settings.as_bytes()));
                // SAFETY: part of the interface; everything is lent for the call.
                unsafe { (functions.create)(name, settings, &raw mut source, out) }
            })?;
            Ok((Shared(source), info))
        })?;
        let loaded = LoadedSource::new(functions, source, read(&info, "SourceInfo")?, self.left_behind);
        plausible(loaded.info())?;
        Ok(Box::new(loaded))
    }
}

impl fmt::Debug for LoadedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPlugin").field("path", &self.path).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Functions {
    fn of(Shared(table): Shared<*const Table>) -> Result<Self> {
        if table.is_null() {
            return Err(unusable("its table is NULL"));
        }
        // SAFETY: every version of the table begins with these three.
        let (major, minor, size) = unsafe {
            (
                (&raw const (*table).abi_major).read(),
                (&raw const (*table).abi_minor).read(),
                (&raw const (*table).size).read(),
            )
        };
        if major != ABI_MAJOR {
            let newer =
                if major > ABI_MAJOR { "a newer fedaudit is needed" } else { "build it with a newer fedaudit-plugin" };
            return Err(unusable(format!(
                "it was built for version {major}.{minor} of the interface, this fedaudit has {ABI_MAJOR}.{ABI_MINOR}"
            ))
            .hint(newer));
        }
        if size < TABLE_SIZE_1_0 {
            return Err(unusable(format!("its table of {size} bytes is shorter than that of version {ABI_MAJOR}.0")));
        }
        // SAFETY: a table of this major version and at least this size; all fields of ours are within that size.
        let table = unsafe { table.read() };
        Ok(Self {
            start: needed(table.start, "start")?,
            create: needed(table.create, "create")?,
            check: needed(table.check, "check")?,
            fetch: needed(table.fetch, "fetch")?,
            close: needed(table.close, "close")?,
            cancel: table.cancel,
            release: needed(table.release, "release")?,
        })
    }
}

fn needed<T>(function: Option<T>, name: &str) -> Result<T> {
    function.ok_or_else(|| unusable(format!("`{name}` of its table is NULL")))
}

fn unusable(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

/// A pointer that the interface allows on any thread.
struct Shared<T>(T);

// SAFETY: sources, tables and their functions may be used on any thread, as the interface demands.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// Calls a function of the table and reads its answer or its error.
fn ask(function: impl FnOnce(*mut Bytes) -> i32) -> Result<Vec<u8>> {
    let mut out = Bytes::empty();
    let status = function(&raw mut out);
    // SAFETY: empty, or as the plugin wrote it.
    let bytes = unsafe { out.take() }.map_err(|text| Error::new(ErrorKind::Malformed, text))?;
    if status == OK {
        return Ok(bytes);
    }
    let error: Error = read(&bytes, "error").unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes);
        Error::new(ErrorKind::Malformed, format!("the plugin failed with status {status} and without an error: {text}"))
    });
    Err(error.rewritten(|text| one_line(text).into_owned()))
}

/// The path of the very file that was looked at, where it matters that it is no other one.
fn as_looked_at(path: &Path, file: &std::fs::File, matters: bool) -> PathBuf {
    #[cfg(target_os = "linux")]
    if matters {
        use std::os::fd::AsRawFd as _;
        return format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    }
    let _ = (file, matters);
    path.to_owned()
}

/// What a source says of itself decides what it is asked: nonsense is better found now.
pub(crate) fn plausible(info: &SourceInfo) -> Result<()> {
    let wrong = |text: String| Err(Error::new(ErrorKind::Malformed, text).at("the plugin's SourceInfo"));
    if info.product.is_empty() || info.origin.is_empty() {
        return wrong("product or origin is empty".into());
    }
    if info.streams.len() > MOST_STREAMS {
        return wrong(format!("it has {} streams; {MOST_STREAMS} are enough", info.streams.len()));
    }
    let mut names = HashSet::new();
    for stream in &info.streams {
        if !names.insert(&stream.name) {
            return wrong(format!("two streams are named '{}'", stream.name));
        }
        let table = import::table(stream.kind);
        if let Some(pushable) = stream.pushable.iter().find(|pushable| table.column(&pushable.column).is_none()) {
            return wrong(format!("stream '{}': there is no column '{}'", stream.name, pushable.column));
        }
    }
    Ok(())
}

static HOST: LazyLock<Host> =
    LazyLock::new(|| Host { size: size_of::<Host>(), max_level: wanted_level(), log: Some(log) });

/// What of the libraries' log anybody here wants.
pub fn wanted_level() -> u32 {
    match LevelFilter::current().into_level() {
        None => 0,
        Some(Level::ERROR) => abi::LOG_ERROR,
        Some(Level::WARN) => abi::LOG_WARN,
        Some(Level::INFO) => abi::LOG_INFO,
        Some(Level::DEBUG) => abi::LOG_DEBUG,
        Some(Level::TRACE) => abi::LOG_TRACE,
    }
}

unsafe extern "C" fn log(level: u32, target: Slice, message: Slice) {
    // SAFETY: lent for this call.
    let (target, message) = unsafe { (target.bytes(), message.bytes()) };
    let (from, message) = (String::from_utf8_lossy(target), String::from_utf8_lossy(message));
    let message = one_line(&message);
    match level {
        abi::LOG_ERROR => tracing::error!(target: "fedaudit_plugin::library", %from, "{message}"),
        abi::LOG_WARN => tracing::warn!(target: "fedaudit_plugin::library", %from, "{message}"),
        abi::LOG_INFO => tracing::info!(target: "fedaudit_plugin::library", %from, "{message}"),
        abi::LOG_DEBUG => tracing::debug!(target: "fedaudit_plugin::library", %from, "{message}"),
        _ => tracing::trace!(target: "fedaudit_plugin::library", %from, "{message}"),
    }
}

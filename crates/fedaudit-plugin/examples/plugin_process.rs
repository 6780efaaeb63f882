//! The program of a child, for the tests of the interface: `plugin_process LIBRARY [MEMORY FILES]`.

use std::path::PathBuf;
use std::process::ExitCode;

use fedaudit_plugin::abi::LOG_DEBUG;
use fedaudit_plugin::process::{Limits, serve};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(library), memory, files) = (arguments.next().map(PathBuf::from), arguments.next(), arguments.next())
    else {
        return ExitCode::from(2);
    };
    let number = |text: Option<std::ffi::OsString>| text.and_then(|text| text.to_str()?.parse().ok());
    let limits = Limits {
        memory: number(memory).unwrap_or(Limits::default().memory),
        files: number(files).unwrap_or(Limits::default().files),
    };
    match serve(&library, None, limits, LOG_DEBUG) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

//! What can be said about a library before any of its code runs.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use fedaudit_core::Result;
use fedaudit_core::key::sha256_hex;

use super::unusable;

pub(super) fn check(path: &Path, allowed: Option<&[String]>) -> Result<()> {
    let mut file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    let about = file.metadata().map_err(|error| unusable(error.to_string()))?;
    if !about.is_file() {
        return Err(unusable("it is no file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if about.permissions().mode() & 0o002 != 0 {
            return Err(unusable("everybody may write to it, and so could replace its code").hint("chmod o-w"));
        }
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| unusable(error.to_string()))?;
    if let Some(allowed) = allowed {
        let digest = sha256_hex(&bytes);
        let digest = String::from_utf8_lossy(&digest);
        if !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&digest)) {
            return Err(unusable(format!("its SHA-256 {digest} is not among the allowed ones")));
        }
    }
    built_for_this_machine(&bytes)
}

/// The loader's own words for another architecture are hard to understand. Other formats than ELF are left to it.
fn built_for_this_machine(bytes: &[u8]) -> Result<()> {
    let (Some(b"\x7fELF"), Some(&[low, high])) = (bytes.get(..4), bytes.get(18..20)) else {
        return if cfg!(target_os = "linux") { Err(unusable("it is no ELF library")) } else { Ok(()) };
    };
    let big_endian = bytes.get(5) == Some(&2);
    let machine = if big_endian { u16::from_be_bytes([low, high]) } else { u16::from_le_bytes([low, high]) };
    let built = match machine {
        3 => "x86",
        8 => "mips",
        20 | 21 => "powerpc",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        _ => "another architecture",
    };
    if built == std::env::consts::ARCH || !matches!(std::env::consts::ARCH, "x86" | "x86_64" | "arm" | "aarch64") {
        return Ok(());
    }
    Err(unusable(format!("it was built for {built}, this machine is {}", std::env::consts::ARCH)))
}

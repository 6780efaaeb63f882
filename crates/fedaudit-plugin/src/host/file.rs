//! What can be said about a library before any of its code runs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use fedaudit_core::Result;
use sha2::{Digest as _, Sha256};

use super::unusable;

/// Bytes in which a library says what it is.
const HEAD: u64 = 64;

/// What the file says before it is loaded: whose it is, whether it is an allowed one, and for which machine. The file stays
/// open, so that what was looked at can be what is loaded.
pub(super) fn check(path: &Path, allowed: Option<&[String]>) -> Result<File> {
    // Before it is opened: a pipe would be waited for.
    let about = path.metadata().map_err(|error| unusable(error.to_string()))?;
    if !about.is_file() {
        return Err(unusable("it is no file"));
    }
    let mut file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    #[cfg(unix)]
    replaceable(&file.metadata().map_err(|error| unusable(error.to_string()))?, path)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(|error| unusable(error.to_string()))?;
    if let Some(allowed) = allowed {
        let digest = digest(&head, &file).map_err(|error| unusable(error.to_string()))?;
        if !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&digest)) {
            return Err(unusable(format!("its SHA-256 {digest} is not among the allowed ones"))
                .hint("[plugins] allow = [\"…\"] lists the libraries that may be loaded"));
        }
    }
    built_for_this_machine(&head).map(|()| file)
}

/// Whoever may write to the file, or replace it or a folder above it, says what this process does.
#[cfg(unix)]
fn replaceable(file: &std::fs::Metadata, path: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    if file.permissions().mode() & OTHERS_WRITE != 0 {
        return Err(unusable("everybody may write to it, and so could replace its code").hint("chmod o-w"));
    }
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&file.uid()) {
        return Err(unusable(format!("it belongs to user {}, who may change its code", file.uid()))
            .hint("a library belongs to root or to whoever runs fedaudit"));
    }
    for folder in path.ancestors().skip(1) {
        let mode = folder.metadata().map_or(0, |about| about.permissions().mode());
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            let text = format!("everybody may write to {}, and so could replace it", folder.display());
            return Err(unusable(text).hint("chmod o-w that folder"));
        }
    }
    Ok(())
}

/// SHA-256 of a file of which the head was read.
fn digest(head: &[u8], mut rest: &File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(head);
    let mut piece = vec![0; 1 << 16];
    loop {
        match rest.read(&mut piece)? {
            0 => break,
            length => hasher.update(&piece[..length]),
        }
    }
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
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

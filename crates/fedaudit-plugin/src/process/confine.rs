//! What a child gives up before any code of its library runs.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::parent::Limits;

/// Limits what this process may use. What it may use already is not raised.
pub(super) fn limit(limits: Limits) -> rustix::io::Result<()> {
    // Memory that can be written to; address space alone costs nothing.
    for (resource, most) in [(Resource::Data, limits.memory), (Resource::Nofile, limits.files), (Resource::Core, 0)] {
        let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Closes what this process was left by whoever started its host, and hides its memory and environment from other processes of
/// the same user.
pub(super) fn close_and_hide() {
    hide();
    // The folder itself is among them, and is closed by then.
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    let ours = [std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd(), std::io::stderr().as_raw_fd()];
    for number in open.into_iter().filter(|number| !ours.contains(number)) {
        // SAFETY: nothing of this process has opened anything yet, so that nobody here owns it; it may be closed already.
        unsafe {
            if rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(number)).is_ok() {
                drop(OwnedFd::from_raw_fd(number));
            }
        }
    }
}

/// Other processes of the same user cannot read this one's memory and environment from then on. Those of root can.
pub(super) fn hide() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "this process stays readable for others of its user");
    }
}

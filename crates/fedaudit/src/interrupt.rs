//! The ways in which somebody asks the program to end early. Every one of them still logs out.

/// Waits for Ctrl-C, or for the signals of a service manager and of a closing terminal.
pub(crate) async fn requested() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            let _ = tokio::signal::ctrl_c().await;
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

/// Once leaving has begun, being asked again ends the program at once.
pub(crate) fn insist() {
    tokio::spawn(async {
        requested().await;
        std::process::exit(130);
    });
}

//! The ways in which somebody asks the program to end early. Every one of them still logs out.

use fedaudit_core::{Error, ErrorKind, Result};
use tokio::task::AbortHandle;

/// Ctrl-C, and the signals of a service manager and of a closing terminal. From its making on, they are heard here and end
/// nothing by themselves.
#[derive(Debug)]
pub(crate) struct Interrupts {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
}

impl Interrupts {
    /// Listens from now on.
    #[cfg(unix)]
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// Listens from now on.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> Self {
        Self {}
    }

    /// Waits until somebody asks, or has asked since.
    #[cfg(unix)]
    pub(crate) async fn requested(&mut self) {
        let asked = self.signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        match asked.collect::<Vec<_>>() {
            // Nothing can be heard: the signals do what they do without us.
            none if none.is_empty() => std::future::pending().await,
            asked => {
                futures::future::select_all(asked).await;
            }
        }
    }

    /// Waits until somebody asks.
    #[cfg(not(unix))]
    pub(crate) async fn requested(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

impl Interrupts {
    /// Does something that may take its time, such as loading plugins, unless somebody asks to end first.
    pub(crate) async fn unless<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        tokio::select! {
            done = tokio::task::spawn_blocking(work) => {
                done.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, error.to_string())))
            }
            () = self.requested() => Err(Error::new(ErrorKind::Unavailable, "interrupted")),
        }
    }
}

/// While it lives, being asked again ends the program at once.
#[derive(Debug)]
pub(crate) struct Insisting(AbortHandle);

/// Once leaving has begun: listens to those who do not want to wait for it.
pub(crate) fn insisting() -> Insisting {
    let mut interrupts = Interrupts::listen();
    let task = tokio::spawn(async move {
        interrupts.requested().await;
        std::process::exit(130);
    });
    Insisting(task.abort_handle())
}

impl Drop for Insisting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! What a person sees while an answer is on its way: one line on a terminal, nothing in a pipe.

use std::io::IsTerminal as _;
use std::time::Duration;

use fedaudit_engine::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows progress until dropped.
pub(crate) struct Shown {
    bar: ProgressBar,
    task: tokio::task::JoinHandle<()>,
}

/// Shows what is read, if somebody is looking.
pub(crate) fn show(progress: Progress) -> Option<Shown> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let line = bar.clone();
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let streams = progress.streams();
            let open: Vec<String> = streams
                .iter()
                .filter(|stream| stream.end.is_none() && stream.error.is_none())
                .map(|stream| format!("{}/{} {}", stream.source, stream.stream, stream.rows))
                .collect();
            line.set_message(format!(
                "{} of {} streams read; reading {}",
                streams.len() - open.len(),
                streams.len(),
                open.join(", ")
            ));
            line.tick();
        }
    });
    Some(Shown { bar, task })
}

/// Shows how many of some cases have ended, if somebody is looking.
pub(crate) fn cases() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {bar:30} {pos} of {len} cases") {
        bar.set_style(style);
    }
    bar
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

//! `fedaudit demo`: four stand-in products on loopback, and a tour of questions to all of them at once.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use fedaudit_core::{Clock as _, Error, ErrorKind, Result, Time, Window};
use fedaudit_engine::Question;
use fedaudit_testkit::demo::{Demo, DemoOptions};
use fedaudit_testkit::organisation::Settings;

use crate::cli::{ConfigArgs, DemoArgs, Format};
use crate::exit::Exit;
use crate::files::file_error;
use crate::interrupt::Interrupts;
use crate::output::{Output, Target};
use crate::query::{Outcome, answer};
use crate::terminal::{emphasise, say};
use crate::times::{SystemClock, span};

/// The questions of the tour, with what they show.
const TOUR: &[(&str, &str)] = &[
    (
        "Who could not log in, over all products? (Canvas records no failures, so the receipt says that it is blind.)",
        "SELECT user_name, count(*) AS failures, count(DISTINCT product) AS products, max(time) AS last \
         FROM events WHERE action = 'auth.login' AND outcome = 'failure' \
         GROUP BY user_name ORDER BY failures DESC, user_name LIMIT 8",
    ),
    (
        "What happened, by product and kind?",
        "SELECT product, action, outcome, count(*) AS events FROM events \
         GROUP BY product, action, outcome ORDER BY events DESC, product, action LIMIT 15",
    ),
    (
        "Which sessions are there, and how do we know? (TrueNAS and Canvas do not list past sessions: rebuilt from events.)",
        "SELECT product, state, derived, confidence, count(*) AS sessions FROM sessions \
         GROUP BY product, state, derived, confidence ORDER BY product, state, derived, confidence",
    ),
    (
        "What did administrators do last? (Newest pages first: reading stops as soon as the answer is known.)",
        "SELECT time, source, user_name, action, target_name, operation FROM events \
         WHERE action IN ('account.create', 'account.delete', 'role.update', 'priv.grant', 'log.config', 'object.delete') \
         ORDER BY time DESC LIMIT 8",
    ),
];

pub(crate) async fn run(arguments: DemoArgs) -> Result<Exit> {
    let now = SystemClock.now();
    // The history ends before the demo starts, so that nothing changes while it is looked at.
    let to = now.seconds() - 60;
    let settings =
        Settings { events: arguments.events, only: arguments.only, ..Settings::new(arguments.seed, to * 1_000_000) };
    let live = arguments.live.as_deref().map(span).transpose().map_err(|error| error.at("--live"))?;
    let latency = Duration::from_millis(arguments.latency_ms);
    let options = DemoOptions { latency, live, ..DemoOptions::default() };
    let cannot =
        |error: std::io::Error| Error::new(ErrorKind::Internal, format!("cannot start the stand-ins: {error}"));
    let demo = Demo::start(settings, options).await.map_err(cannot)?;
    // From here on there are secrets in a folder: whoever ends the demo, it is removed.
    let mut interrupts = Interrupts::listen();
    let folder = tempfile::Builder::new().prefix("fedaudit-demo-").tempdir().map_err(cannot)?;
    let config = demo.write_config(folder.path()).map_err(cannot)?;
    if let Some(path) = &arguments.config_out {
        std::fs::copy(&config, path).map_err(|error| file_error(path, &error))?;
    }
    if let Some(path) = &arguments.truth {
        let file = File::create(path).map_err(|error| file_error(path, &error))?;
        demo.world.truth.write_json(file).map_err(|error| file_error(path, &error))?;
    }
    emphasise(&format!(
        "Four stand-in products answer on this machine: {}.",
        demo.origins().map(|(name, origin)| format!("{name} at {origin}")).join(", ")
    ));
    let window = Window { from: Time::from_seconds(demo.world.from / 1_000_000), to: Time::from_seconds(to) };
    if !arguments.no_tour {
        tour(&config, window, &mut interrupts).await?;
    }
    if arguments.hold {
        let shown = arguments.config_out.as_deref().unwrap_or(&config);
        say("");
        emphasise(
            "The stand-ins go on answering. Ask them yourself from another terminal, and press Ctrl-C here to end them:",
        );
        say(&format!(
            "  fedaudit query --config {} --from -14d \"SELECT product, count(*) FROM events GROUP BY product\"",
            shown.display()
        ));
        if live.is_some() {
            say(&format!("  fedaudit watch --config {} \"action = 'auth.login'\"", shown.display()));
        }
        interrupts.requested().await;
    }
    Ok(Exit::Complete)
}

async fn tour(config: &Path, window: Window, interrupts: &mut Interrupts) -> Result<()> {
    let configured = crate::config::load(&ConfigArgs { config: Some(config.to_owned()) })?;
    for (what, sql) in TOUR {
        say("");
        emphasise(what);
        emphasise(&format!("  {sql}"));
        let question = Question { sql: (*sql).to_owned(), window, ..Question::default() };
        let output = Output::new(Format::Table, Target::Stdout, false);
        // A blind spot is part of the tour: an incomplete receipt is no failure of the demo.
        match answer(&configured.engine, question, output, interrupts).await?.outcome {
            Outcome::Whole => {}
            Outcome::ReaderLeft => break,
            Outcome::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

//! `fedaudit coverage`: what the store covers, one bar per stream over time, or JSON for programs.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use fedaudit_core::{Clock as _, Error, ErrorKind, Result, Time, Window, Windows};
use fedaudit_engine::Engine;
use fedaudit_store::{Coverage, Store};
use serde_json::{Value, json};

use crate::cli::ConfigArgs;
use crate::collect::place;
use crate::config;
use crate::exit::Exit;
use crate::terminal::print;
use crate::times::{SystemClock, instant};

/// Columns of a bar.
const WIDTH: usize = 60;

#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// From here on [default: the first instant that is covered]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: Option<String>,
    /// Up to here [default: now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    to: Option<String>,
    /// Form of the answer [default: bars on a terminal, json elsewhere]
    #[arg(long, value_enum)]
    format: Option<Form>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One bar for each stream
    Bars,
    /// {"from":…,"to":…,"streams":[…]}
    Json,
}

/// What is known of one stream.
struct Line {
    name: (String, String),
    coverage: Coverage,
    /// The product keeps nothing older, as far as that is known.
    floor: Option<Time>,
    /// It lists what is open now, and covers no time.
    live_list: bool,
}

pub(crate) async fn run(arguments: CoverageArgs) -> Result<Exit> {
    let configured = config::load(&arguments.config)?;
    let now = SystemClock.now();
    let store = Store::open(&place(&configured.config)?, now).await?;
    let lines = lines(&configured.engine, &store, now);
    let bound = |text: &Option<String>, flag: &str| {
        text.as_deref().map(|text| instant(text, now).map_err(|error| error.at(flag))).transpose()
    };
    let first = lines.iter().filter_map(|line| line.coverage.covered.span()?.from).min();
    let from = bound(&arguments.from, "--from")?.or(first);
    let to = bound(&arguments.to, "--to")?.unwrap_or(now);
    let shown = Window { from: Some(from.unwrap_or(to)), to: Some(to) };
    if shown.is_empty() && arguments.from.is_some() {
        return Err(Error::new(ErrorKind::Config, "--from is not before --to"));
    }
    let form = arguments.format.unwrap_or(if std::io::stdout().is_terminal() { Form::Bars } else { Form::Json });
    match form {
        Form::Json => print([json_of(shown, &lines).to_string().as_str()])?,
        Form::Bars => print(bars(shown, &lines).iter().map(String::as_str))?,
    }
    Ok(Exit::Complete)
}

/// Every stream that is configured or was ever read.
fn lines(engine: &Engine, store: &Store, now: Time) -> Vec<Line> {
    let mut lines = Vec::new();
    for source in engine.sources() {
        for stream in &source.plugin.info().streams {
            let coverage = store.ledger().of(&source.source_key, &stream.name);
            let documented = stream.history.map(|history| now.minus(history));
            let floor = coverage.retention_floor.max(documented);
            let name = (source.name.clone(), stream.name.clone());
            let live_list = source.plugin.info().is_live_list(stream);
            lines.push(Line { name, coverage, floor, live_list });
        }
    }
    for (source_key, stream, coverage) in store.ledger().streams() {
        let configured = engine
            .sources()
            .iter()
            .any(|source| source.source_key == source_key && source.plugin.info().stream(stream).is_some());
        if !configured {
            let name = (coverage.source.clone(), stream.to_owned());
            let (coverage, floor) = (coverage.clone(), coverage.retention_floor);
            lines.push(Line { name, coverage, floor, live_list: false });
        }
    }
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    lines
}

fn gaps(line: &Line, shown: Window) -> Windows {
    Windows::of(shown).without(&line.coverage.covered)
}

fn forgotten(line: &Line, shown: Window) -> Windows {
    let old = line.floor.map_or(Windows::NONE, |floor| Windows::of(Window { from: None, to: Some(floor) }));
    gaps(line, shown).intersect(&old)
}

/// `█` sealed, `▒` provisional, `·` not collected, `×` not collected and forgotten by the product; a column that is not all
/// of one kind shows the worst of it.
fn bar(line: &Line, shown: Window) -> String {
    let (Some(from), Some(to)) = (shown.from, shown.to) else { return String::new() };
    let length = (to.micros() - from.micros()).max(1);
    let edge =
        |column: usize| Time::from_micros(from.micros() + (i128::from(length) * column as i128 / WIDTH as i128) as i64);
    (0..WIDTH)
        .map(|column| {
            let part = Window::new(edge(column), edge(column + 1));
            if !forgotten(line, part).is_empty() {
                '×'
            } else if !gaps(line, part).is_empty() {
                '·'
            } else if line.coverage.sealed.covers(part) {
                '█'
            } else {
                '▒'
            }
        })
        .collect()
}

fn bars(shown: Window, lines: &[Line]) -> Vec<String> {
    let name = |line: &Line| format!("{}/{}", line.name.0, line.name.1);
    let width = lines.iter().map(|line| name(line).chars().count()).max().unwrap_or(0);
    let mut text = vec![match (shown.from, shown.to) {
        (Some(from), Some(to)) => format!("{:width$}  {from} to {to}", ""),
        _ => String::new(),
    }];
    for line in lines {
        if line.live_list {
            let read = line.coverage.read_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
            text.push(format!("{:width$}  a list of what is open now, read last: {read}", name(line)));
            continue;
        }
        let gaps = gaps(line, shown).iter().count();
        let say = match (line.coverage.read_at, gaps) {
            (None, _) => "never read".to_owned(),
            (Some(_), 0) => String::new(),
            (Some(_), 1) => "1 gap".to_owned(),
            (Some(_), gaps) => format!("{gaps} gaps"),
        };
        text.push(format!("{:width$}  {}  {say}", name(line), bar(line, shown)).trim_end().to_owned());
    }
    text.push(format!("{:width$}  █ sealed  ▒ provisional  · not collected  × forgotten by the product", ""));
    text
}

fn json_of(shown: Window, lines: &[Line]) -> Value {
    let list = |windows: &Windows| windows.iter().map(|window| json!(window)).collect::<Vec<_>>();
    let streams: Vec<Value> = lines
        .iter()
        .map(|line| {
            let within = Windows::of(shown);
            if line.live_list {
                return json!({
                    "source": line.name.0, "stream": line.name.1, "live_list": true, "read_at": line.coverage.read_at,
                });
            }
            json!({
                "source": line.name.0,
                "stream": line.name.1,
                "covered": list(&line.coverage.covered.intersect(&within)),
                "sealed": list(&line.coverage.sealed.intersect(&within)),
                "provisional": list(&line.coverage.provisional(shown)),
                "gaps": list(&gaps(line, shown)),
                "forgotten": list(&forgotten(line, shown)),
                "rejected": list(&line.coverage.rejected.intersect(&within)),
                "retention_floor": line.floor,
                "read_at": line.coverage.read_at,
            })
        })
        .collect();
    json!({"from": shown.from, "to": shown.to, "streams": streams})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window::new(Time::from_micros(from), Time::from_micros(to))
    }

    #[test]
    fn a_bar_shows_the_worst_of_each_column() {
        let coverage = Coverage {
            covered: [window(10, 30), window(40, 60)].into_iter().collect(),
            sealed: [window(10, 30), window(40, 50)].into_iter().collect(),
            read_at: Some(Time::from_micros(60)),
            ..Coverage::default()
        };
        let floor = Some(Time::from_micros(5));
        let line = Line { name: ("nas".into(), "log".into()), coverage, floor, live_list: false };
        let bar = bar(&line, window(0, 60));
        let times = |c: char, count: usize| c.to_string().repeat(count);
        let expected =
            [times('×', 5), times('·', 5), times('█', 20), times('·', 10), times('█', 10), times('▒', 10)].concat();
        assert_eq!(bar, expected);
        assert_eq!(bars(window(0, 60), &[line])[1], format!("nas/log  {bar}  2 gaps"));
    }
}

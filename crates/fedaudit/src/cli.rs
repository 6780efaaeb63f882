//! Arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plugins::Isolation;

/// One SQL question over the audit logs of many products, answered with a receipt.
///
/// Tables: events, sessions, sources, streams, blind_spots; with a store coverage, amendments, rejected, identities
/// ('fedaudit schema' describes them). Every answer says what was
/// asked of each source and what could not be seen. Exit codes: 0 complete, 1 failed or interrupted, 2 usage, 3 some part is missing, 130 interrupted
/// twice. A reader that goes away (| head) is no failure: the code then tells about what was read until then.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start four stand-in products on this machine and ask them questions
    Demo(DemoArgs),
    /// Ask one SQL question of all configured sources, and of what was collected of them
    #[command(after_help = QUERY_HELP)]
    Query(Box<QueryArgs>),
    /// Read into the store what the products would forget
    #[command(after_help = crate::collect::HELP)]
    Collect(crate::collect::CollectArgs),
    /// Show what the store covers, and what it lacks
    Coverage(crate::coverage::CoverageArgs),
    /// List the configured sources, prove access to them, or describe what one offers
    Sources(SourcesArgs),
    /// Describe the tables and their columns
    Schema(SchemaArgs),
    /// Show the events of all sources as they happen
    #[command(after_help = WATCH_HELP)]
    Watch(WatchArgs),
    /// List the plugins, check a library, or begin a plugin of your own
    Plugin(PluginArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const QUERY_HELP: &str = "\
Examples:
  fedaudit query --from -7d \"SELECT source, action, outcome, count(*) FROM events GROUP BY ALL\"
  fedaudit query --from -1d \"SELECT time, source, user_name, src_ip FROM events
                            WHERE action = 'auth.login' AND outcome = 'failure' ORDER BY time DESC LIMIT 20\"
  fedaudit query --from 2026-01-01 --to 2026-02-01 --format csv --output january.csv \\
                 \"SELECT * FROM sessions WHERE user_name = 'ana'\"
  fedaudit query --from -1h --file question.sql
  fedaudit query --from -90d --stored \"SELECT source, count(*) FROM events GROUP BY source\"
  fedaudit query --from -1h --explain \"SELECT * FROM events WHERE ip_in(src_ip, '10.0.0.0/8')\"

Times: RFC 3339 (2026-01-31T12:00:00Z), a date, 'now', or relative: -90s, -15m, -12h, -30d, -4w.
Two columns of one name: the second is called name:1, or what AS says.
Nested fields: raw->>'audit_id', unmapped->'event_data'->>'method', json_get_int(raw, 'key').";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the stand-ins running until interrupted, for questions of your own
    #[arg(long)]
    pub(crate) hold: bool,
    /// Which organisation to make up; the same seed gives the same one
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Roughly how many events its history has
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub(crate) events: usize,
    /// All of them at one product
    #[arg(long, value_name = "PRODUCT", value_parser = ["truenas", "vsphere", "sps", "canvas"])]
    pub(crate) only: Option<String>,
    /// Ask nothing itself, and only wait for the questions of others
    #[arg(long, requires = "hold")]
    pub(crate) no_tour: bool,
    /// Write what really happened to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// Write the configuration for the stand-ins to a file of your choice
    #[arg(long, value_name = "FILE")]
    pub(crate) config_out: Option<PathBuf>,
    /// Go on after the history: somebody logs in at each product every so often, for 'fedaudit watch'
    #[arg(long, value_name = "D", num_args = 0..=1, default_missing_value = "3s", requires = "hold", conflicts_with = "truth")]
    pub(crate) live: Option<String>,
    /// Delay every answer of the stand-ins by this many milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) latency_ms: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: ./fedaudit.toml, else fedaudit/fedaudit.toml in the user's configuration folder]
    #[arg(long, value_name = "FILE", env = "FEDAUDIT_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The question: one SELECT, or '-' to read it from stdin
    #[arg(required_unless_present = "file")]
    pub(crate) sql: Option<String>,
    /// Read the question from a file
    #[arg(long, value_name = "F", conflicts_with = "sql")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Bounds events.time from below, and keeps the sessions that reach into the window
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Bounds events.time from above (that instant is outside)
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// Form of the answer [default: table on a terminal, ndjson elsewhere]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write the answer to a file instead of stdout; it is replaced when the answer is whole
    #[arg(long, short, value_name = "F")]
    pub(crate) output: Option<PathBuf>,
    /// Ask the products alone, whatever is stored [default: what is sealed in the store comes from there, the rest from the products]
    #[arg(long, conflicts_with = "stored")]
    pub(crate) live: bool,
    /// Ask the store alone: no product is contacted, and what is not collected is missing
    #[arg(long)]
    pub(crate) stored: bool,
    /// What a missing part makes of the exit code: 1, 3 or 0 [default: warn]
    #[arg(long, value_enum)]
    pub(crate) partial: Option<Partial>,
    /// Write the receipt as JSON; one that says why there is no answer if there is none
    #[arg(long, value_name = "F")]
    pub(crate) receipt: Option<PathBuf>,
    /// Show what each source would be asked instead of asking
    #[arg(long)]
    pub(crate) explain: bool,
    /// Allow a question without a lower bound in time
    #[arg(long)]
    pub(crate) all_time: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people
    Table,
    /// {"rows":[…],"receipt":{…}}
    Json,
    /// One JSON object per line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC stream
    Arrow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Partial {
    /// Exit code 1
    Fail,
    /// Exit code 3
    #[default]
    Warn,
    /// Exit code 0
    Allow,
}

#[derive(Debug, Args)]
pub(crate) struct SourcesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SourcesCommand>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourcesCommand {
    /// List the configured sources; nothing is asked of them
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Prove address, TLS, credentials and rights of each source
    Check {
        /// Only this source
        name: Option<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Describe what a source offers: streams, push-down, history, blind spots
    Info {
        /// The source
        name: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Only this table: events, sessions, or one of the store such as coverage
    pub(crate) table: Option<String>,
    /// As Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
}

const WATCH_HELP: &str = "\
Each source is followed as it offers: by its own subscription or by asking again and again. Rows wait up to 2 s for earlier ones
of slower sources; those that come later still are shown at once and marked late. What is wrong with a source is said on stderr,
and it is asked again.

Examples:
  fedaudit watch \"action = 'auth.login' AND outcome = 'failure'\"
  fedaudit watch --state watch.state --format ndjson >> events.ndjson     goes on where it was, whatever ended it
  fedaudit watch --from -1h \"source = 'nas-1'\"";

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// What to watch for: a condition on events, as behind WHERE [default: everything]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Begin with what happened since then [default: now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Form of the rows [default: line on a terminal, ndjson elsewhere]
    #[arg(long, value_enum)]
    pub(crate) format: Option<WatchFormat>,
    /// Pause between two questions to a source that cannot wait for new rows
    #[arg(long, value_name = "D", default_value = "2s")]
    pub(crate) every: String,
    /// Say of a stream that it is quiet after so long without a row
    #[arg(long, value_name = "D", default_value = "15m")]
    pub(crate) quiet_after: String,
    /// Remember here what was shown, and go on from there next time
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchFormat {
    /// A line for people
    Line,
    /// One JSON object per line, with every column and whether it is late
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    pub(crate) command: Option<PluginCommand>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins that are built in and those that the configuration finds
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Write a crate that builds and passes as it stands: a source, a stand-in of its product, tests
    #[command(after_help = NEW_HELP)]
    New(NewArgs),
    /// Hold a built library against the conformance suite
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
}

const NEW_HELP: &str = "\
Examples:
  fedaudit plugin new demo-src --path ../fedaudit        the crates of a checkout
  fedaudit plugin new demo-src --git https://git.example/fedaudit.git --rev v0.1.0

The crates of fedaudit are not published, so one of the two has to say where they are.";

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the crate, of the folder and of the type: lower case, digits and hyphens
    pub(crate) name: String,
    /// Take fedaudit's crates from this checkout
    #[arg(long, value_name = "DIR", required_unless_present = "git", conflicts_with = "git")]
    pub(crate) path: Option<PathBuf>,
    /// Take fedaudit's crates from this repository
    #[arg(long, value_name = "URL")]
    pub(crate) git: Option<String>,
    /// The commit, branch or tag of the repository
    #[arg(long, value_name = "REV", requires = "git")]
    pub(crate) rev: Option<String>,
}

const CHECK_HELP: &str = "\
Without a configuration the product is played from fixtures/check.toml, looked for in the folders above the library. It holds the
settings of a source, recorded answers, and the rows that are in them; docs/writing-a-plugin.md describes it. Cases that
need a stand-in say so.

With --config each source of that type is asked for real, for the last day only; cases that need to know what is true, or
to break answers, say that they need a stand-in.

Examples:
  fedaudit plugin check target/release/libdemo_src.so
  fedaudit plugin check target/release/libdemo_src.so --config fedaudit.toml --isolation none";

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The library
    pub(crate) library: PathBuf,
    /// Ask the sources of this configuration instead of the fixtures
    #[arg(long, value_name = "FILE", conflicts_with = "fixtures")]
    pub(crate) config: Option<PathBuf>,
    /// The folder that holds check.toml [default: fixtures in the nearest folder above the library that has one]
    #[arg(long, value_name = "DIR")]
    pub(crate) fixtures: Option<PathBuf>,
    /// In which process its code runs
    #[arg(long, value_enum, default_value = "process")]
    pub(crate) isolation: Isolation,
    /// Only these cases, such as U11; may be given several times
    #[arg(long = "case", value_name = "ID")]
    pub(crate) cases: Vec<String>,
}

/// The first argument of this program where it is the process of a library, which is no command of anybody's.
pub(crate) const PLUGIN_PROCESS: &str = "plugin-process";

#[derive(Debug, Parser)]
pub(crate) struct ProcessArgs {
    pub(crate) library: PathBuf,
    #[arg(long)]
    pub(crate) memory: u64,
    #[arg(long)]
    pub(crate) files: u64,
    #[arg(long)]
    pub(crate) level: u32,
    #[arg(long)]
    pub(crate) allow: Option<Vec<String>>,
}

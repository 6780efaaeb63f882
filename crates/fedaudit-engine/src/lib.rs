//! SQL over audit sources: `events`, `sessions`, `sources`, `streams` and `blind_spots` as tables, push-down, concurrent
//! scans, session reconstruction, and a receipt on every answer. Knows no product.

mod catalog;
mod chain;
mod collected;
mod engine;
mod filters;
mod functions;
mod ledger;
mod listed;
mod newest_first;
#[cfg(test)]
mod parallel_tests;
mod reader;
mod run;
mod scan;
mod seam;
mod session_scan;
pub mod sessions;
mod sight;
mod table;
mod watch;
mod whole;

pub use collected::{Collected, Coverage, SelectedSource, Selection};
pub use datafusion::arrow;
pub use engine::{Answer, Engine, Progress, Question};
pub use functions::register as register_functions;
pub use run::{Options, Source};
pub use watch::{Memory, News, Note, Watch, Watching};
pub use whole::{Whole, WholeEnd};

//! Scripts of faults: the same questions under plans of things that go wrong, each judged against the answer without them.
//! What comes out is the truth, or a receipt that names the hole; anything else is a silent difference.

mod answers;
mod judge;
mod script;
mod small_pages;

pub use script::{Outcome, Through, Verdict, Worlds, run, run_through};

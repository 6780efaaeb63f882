//! The store from outside: what is written stays, what is read again is known, what another version made is refused.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "tests panic where they must, and say what they did"
)]

mod collecting;
mod failing;
mod faults;
mod killed;
mod made;
mod moving;
mod product;
mod running;
mod seam;
mod sessions;
mod sql;
mod writing;

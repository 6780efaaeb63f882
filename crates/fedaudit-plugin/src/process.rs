//! The same library in a process of its own: a crash, a hang or a greedy allocation costs one source's outcome.
//!
//! The child is the host's own program with the arguments that [`Recipe`] gives; it calls [`serve`]. Questions go to its
//! standard input and answers come from its standard output as [frames](frame): a head of JSON, and for pages a body of
//! Arrow IPC. The child's environment is empty but for what a client needs and what the settings name, and its memory and
//! open files are limited. A child that has ended is started again by the next question.

mod child;
mod confine;
mod ending;
mod frame;
mod fresh;
mod parent;
mod rows;

/// Status of a child that ends because a call of its library did not come back.
const HANGS: i32 = 70;

pub use child::serve;
pub use parent::{IsolatedPlugin, Limits, Recipe};

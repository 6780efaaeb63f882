//! What happens to the product while a reader is there.

use std::sync::PoisonError;

use super::StandIn;

impl StandIn {
    /// Ends every login and its collectors, as after a long pause.
    pub fn end_logins(&self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).logins.clear();
    }
}

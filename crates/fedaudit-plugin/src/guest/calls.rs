//! What a call is handed, in the words of core: the clock, the deadline, and the counters.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fedaudit_core::{Clock, Context, Error, ErrorKind, Meter, MeterReading, Result, Time};

use crate::abi::{self, Call};
use crate::wire::counted;

/// A call while it runs.
pub(super) struct Called<'c> {
    call: &'c Call,
    clock: Arc<HostClock>,
    told: Mutex<MeterReading>,
}

// SAFETY: the host's functions may be called on any thread, which the interface demands of it.
unsafe impl Send for Called<'_> {}
// SAFETY: as above.
unsafe impl Sync for Called<'_> {}

impl Called<'_> {
    /// # Safety
    /// The call is lent for `'c`.
    pub(super) unsafe fn new(call: *const Call) -> Result<Self> {
        // SAFETY: as promised by the caller.
        let call = unsafe { call.as_ref() };
        let call = call
            .filter(|call| call.size >= size_of::<Call>())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the host's call is not of this version"))?;
        let clock = Arc::new(HostClock(Mutex::new(Reading::Asked(call))));
        Ok(Self { call, clock, told: Mutex::default() })
    }

    pub(super) fn is_cancelled(&self) -> bool {
        // SAFETY: the host's function with the host's pointer.
        self.call.cancelled.is_some_and(|cancelled| unsafe { cancelled(self.call.host) } != 0)
    }

    pub(super) fn context(&self) -> Context {
        // SAFETY: lent for the call.
        let text = |slice: abi::Slice| Arc::from(String::from_utf8_lossy(unsafe { slice.bytes() }));
        Context {
            source: text(self.call.source),
            source_key: text(self.call.source_key),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            deadline: (self.call.deadline != i64::MAX).then(|| Time::from_micros(self.call.deadline)),
            meter: Arc::new(Meter::default()),
        }
    }

    /// Tells the host what was counted since it was last told.
    pub(super) fn tell(&self, meter: &Meter) {
        let Some(count) = self.call.count else { return };
        let mut told = lock(&self.told);
        let now = meter.read();
        for (counter, amount) in counted(*told, now) {
            // SAFETY: the host's function with the host's pointer.
            unsafe { count(self.call.host, counter, amount) };
        }
        *told = now;
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        let now = self.clock.now();
        *lock(&self.clock.0) = Reading::Ahead(now.micros() - system_micros());
    }
}

/// The host's clock. A source may keep it beyond the call: then it goes on from what the host last said.
struct HostClock(Mutex<Reading>);

enum Reading {
    Asked(*const Call),
    Ahead(i64),
}

// SAFETY: the pointer is used under the lock, and taken away before the call returns.
unsafe impl Send for HostClock {}
// SAFETY: as above.
unsafe impl Sync for HostClock {}

impl Clock for HostClock {
    fn now(&self) -> Time {
        let micros = match *lock(&self.0) {
            Reading::Ahead(micros) => system_micros() + micros,
            Reading::Asked(call) => {
                // SAFETY: `Called` takes the call away before it ends.
                let call = unsafe { &*call };
                // SAFETY: the host's function with the host's pointer.
                call.now.map_or_else(system_micros, |now| unsafe { now(call.host) })
            }
        };
        Time::from_micros(micros)
    }
}

fn system_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

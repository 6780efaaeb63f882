//! The leaky bucket that bounds what a token may cost. Time comes from outside, so that it can be a test's own.

/// The five figures of an installation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// From this level on requests are refused.
    pub high_water: f64,
    /// The level never rises above this.
    pub maximum: f64,
    /// What drains in a second.
    pub outflow: f64,
    /// What a request reserves while it is in flight.
    pub up_front: f64,
    /// What a request costs besides the time it takes.
    pub extra_cost: f64,
    /// Whether the time it takes is charged at all.
    pub charges_time: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { high_water: 600.0, maximum: 800.0, outflow: 10.0, up_front: 50.0, extra_cost: 0.0, charges_time: true }
    }
}

/// The level of one token's bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    limits: Limits,
    level: f64,
    at: f64,
}

impl Bucket {
    /// An empty bucket.
    pub fn new(limits: Limits) -> Self {
        Self { limits, level: 0.0, at: 0.0 }
    }

    fn leak(&mut self, now: f64) {
        self.level = (self.level - (now - self.at).max(0.0) * self.limits.outflow).max(0.0);
        self.at = self.at.max(now);
    }

    /// What remains until requests are refused.
    pub fn remaining(&mut self, now: f64) -> f64 {
        self.leak(now);
        self.limits.high_water - self.level
    }

    /// Lets a request in and reserves for it, or says what remains.
    pub fn reserve(&mut self, now: f64) -> Result<(), f64> {
        self.leak(now);
        if self.level >= self.limits.high_water {
            return Err(self.remaining(now));
        }
        self.level = (self.level + self.limits.up_front).min(self.limits.maximum);
        Ok(())
    }

    /// Ends a request: the reservation goes back, the real cost stays. Returns what remains.
    pub fn settle(&mut self, now: f64, cost: f64) -> f64 {
        self.leak(now);
        let time = if self.limits.charges_time { cost } else { 0.0 };
        let settled = self.level - self.limits.up_front + time + self.limits.extra_cost;
        self.level = settled.clamp(0.0, self.limits.maximum);
        self.remaining(now)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "whole numbers")]
mod tests {
    use super::*;

    #[test]
    fn the_thirteenth_request_in_flight_is_refused() {
        let mut bucket = Bucket::new(Limits::default());
        assert!((0..12).all(|_| bucket.reserve(0.0).is_ok()));
        assert_eq!(bucket.reserve(0.0), Err(0.0));
        assert_eq!(bucket.settle(0.0, 1.0), 49.0);
        assert!(bucket.reserve(0.0).is_ok());
    }

    #[test]
    fn it_drains() {
        let mut bucket = Bucket::new(Limits { extra_cost: 650.0, ..Limits::default() });
        assert!(bucket.reserve(0.0).is_ok());
        assert_eq!(bucket.settle(0.0, 0.0), -50.0);
        assert!(bucket.reserve(4.9).is_err());
        assert!(bucket.reserve(5.1).is_ok());
    }
}

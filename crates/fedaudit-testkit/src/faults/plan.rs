//! Draws a plan from a seed.

use std::time::Duration;

use super::{Fault, Plan, Product, RetryAfter, What, names};
use crate::random::Random;

/// Most faults of a plan.
const MOST: usize = 6;

impl Plan {
    /// The plan of this seed, the same on every machine.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xFA_17);
        // Few, mostly: what one fault does must not hide behind another.
        let count = 1 + random.skewed(MOST);
        Self { seed, faults: (0..count).map(|_| Fault::draw(&mut random)).collect() }
    }

    /// Whether a reader may have to wait for an answer until its own patience ends.
    pub fn tries_patience(&self) -> bool {
        self.faults.iter().any(|fault| fault.what.may_leave_silence(fault.product))
    }
}

impl Fault {
    fn draw(random: &mut Random) -> Self {
        let product = random.pick(&Product::ALL);
        let (pages, others) = names::menu(product);
        let on = match random.index(10) {
            0..3 => "",
            3..7 => random.pick(pages),
            _ => random.pick(others),
        };
        let what = What::draw(random, product);
        let nth = 1 + random.skewed(if on.is_empty() { 24 } else { 8 }) as u32;
        let times = match (&what, random.index(10)) {
            // What goes away is away; the number of refusals says for how long.
            (What::Gone(_), _) | (_, 0..6) => Some(1),
            (_, 6..8) => Some(2 + random.skewed(6) as u32),
            _ => None,
        };
        let (on, nth) = if what == What::NoHandshake { ("", 1 + random.skewed(4) as u32) } else { (on, nth) };
        Self { product, on, nth, times, what }
    }
}

impl What {
    /// Whether the reader may hear nothing at all, on a connection that stays.
    pub(super) fn may_leave_silence(&self, product: Product) -> bool {
        match self {
            Self::Silent => true,
            // The answer to another call, which may have been given up.
            Self::Repeated => product == Product::TrueNas,
            _ => false,
        }
    }

    fn draw(random: &mut Random, product: Product) -> Self {
        match random.index(30) {
            2 | 3 => Self::Unanswered,
            4 | 5 => Self::Cut(random.range(0, 1001) as u16),
            6..9 => Self::Truncated(random.range(1, 1000) as u16),
            9 => Self::Garbage,
            // An empty body is how VI JSON writes an empty list.
            10 if product != Product::Vsphere => Self::Nothing,
            11 => Self::LoginPage { xhtml: false },
            12 => Self::LoginPage { xhtml: true },
            13..17 => Self::Status(random.pick(&[500, 500, 502, 503, 503, 504, 408, 400, 404])),
            17..20 => Self::Throttled(match random.index(8) {
                0 | 1 => RetryAfter::Unsaid,
                2 => RetryAfter::Seconds(0),
                3 | 4 => RetryAfter::Seconds(1),
                5 => RetryAfter::Seconds(3600),
                6 => RetryAfter::Date(1),
                _ => RetryAfter::Date(3600),
            }),
            20 => Self::Late(Duration::from_millis(random.range(50, 600) as u64)),
            21 => Self::Silent,
            22 | 23 => Self::LoginLost,
            24 | 25 => Self::Denied,
            // The others' answers do not say what they answer.
            26 if matches!(product, Product::TrueNas | Product::Canvas) => Self::Repeated,
            27 => Self::OtherType,
            28 if product == Product::TrueNas => Self::Closed(random.pick(&[1000, 1001, 1006, 1008, 1011, 1013])),
            29 if random.chance(0.5) => Self::NoHandshake,
            29 => Self::Gone(if random.chance(0.5) { None } else { Some(random.range(0, 12) as u32) }),
            _ => Self::Unheard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_one_plan() {
        assert_eq!(Plan::new(7), Plan::new(7));
        assert_ne!(Plan::new(7).faults, Plan::new(8).faults);
    }

    #[test]
    fn every_kind_of_fault_meets_every_product() {
        let mut met = std::collections::BTreeSet::new();
        for seed in 0..5000 {
            let plan = Plan::new(seed);
            assert!((1..=MOST).contains(&plan.faults.len()));
            assert_eq!(plan.to_string().lines().count(), plan.faults.len());
            for fault in plan.faults {
                let what = format!("{:?}", fault.what);
                let kind = what.split(['(', ' ']).next().unwrap_or_default().to_owned();
                met.insert((fault.product, kind));
            }
        }
        // 18 kinds for each of four products; one is for sockets only, and three would be lies that nobody can tell.
        assert_eq!(met.len(), 4 * 18 - 3 - 3, "{met:#?}");
    }
}

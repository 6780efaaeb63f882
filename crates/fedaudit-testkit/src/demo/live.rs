//! Logins that happen while the products run: people of the organisation log in again, one after the other, at each product.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::records::{SpsSession, VsphereEvent, World};
use crate::{canvas, sps, truenas, vsphere};

/// So many logins at each product.
const LOGINS: usize = 1200;
/// How often the products are looked after.
const STEP: Duration = Duration::from_millis(100);

/// What has not happened yet. TrueNAS and Canvas hold it already, and hide it until its time comes.
#[derive(Debug)]
pub(super) struct Live {
    vsphere: VecDeque<VsphereEvent>,
    sps: VecDeque<SpsSession>,
}

/// The products that it happens at.
#[derive(Clone)]
pub(super) struct At {
    pub(super) truenas: truenas::StandIn,
    pub(super) vsphere: vsphere::StandIn,
    pub(super) sps: sps::StandIn,
    pub(super) canvas: canvas::StandIn,
}

impl Live {
    /// Logins from now on, as those of the history, with so long between two of a product.
    pub(super) fn after(world: &mut World, pause: Duration) -> Self {
        let begin = now() + 1_000_000;
        let at = |number: usize, product: u32| begin + (pause * (4 * number as u32 + product) / 4).as_micros() as i64;
        let id = |number: usize| format!("11fe0000-0000-4000-8000-{number:012}");
        let logins = |count: usize| (0..LOGINS).map(move |number| (number, number % count.max(1)));

        let middleware = &mut world.truenas.middleware;
        let models: Vec<_> = middleware.iter().filter(|record| record.event == "AUTHENTICATION").cloned().collect();
        for (number, model) in logins(models.len()) {
            let Some(mut record) = models.get(model).cloned() else { break };
            record.audit_id = id(number);
            record.timestamp = at(number, 0) / 1_000_000;
            record.message_timestamp = record.timestamp;
            middleware.push(record);
        }

        let events = &mut world.canvas.events;
        let models: Vec<_> = events.iter().filter(|event| event.event_type == "login").cloned().collect();
        for (number, model) in logins(models.len()) {
            let Some(mut event) = models.get(model).cloned() else { break };
            event.id = id(number);
            event.created_at = at(number, 1) / 1_000_000;
            // The newest first.
            events.insert(0, event);
        }

        let events = &world.vsphere.events;
        let models: Vec<_> = events.iter().filter(|event| event.class == "UserLoginSessionEvent").collect();
        let last = events.iter().map(|event| event.key).max().unwrap_or_default();
        let vsphere = logins(models.len()).filter_map(|(number, model)| {
            let key = last + 1 + number as i32;
            let model = (*models.get(model)?).clone();
            Some(VsphereEvent { key, chain_id: key, created: at(number, 2), ..model })
        });
        let models = &world.sps.sessions;
        let sps = logins(models.len()).filter_map(|(number, model)| {
            let (model, start) = (models.get(model)?.clone(), at(number, 3));
            let key = format!("live{number:08}");
            Some(SpsSession { key, start, end: None, creation: start, active: true, ..model })
        });
        Self { vsphere: vsphere.collect(), sps: sps.collect() }
    }

    /// Lets everything happen in its time.
    pub(super) async fn happen(mut self, at: At) {
        let mut step = tokio::time::interval(STEP);
        loop {
            step.tick().await;
            let now = now();
            at.truenas.store_until(now / 1_000_000);
            at.canvas.show_until(now / 1_000_000);
            while let Some(event) = self.vsphere.pop_front_if(|event| event.created <= now) {
                at.vsphere.add(event);
            }
            while let Some(session) = self.sps.pop_front_if(|session| session.start <= now) {
                at.sps.insert(session);
            }
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}

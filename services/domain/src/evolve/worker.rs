//! What events do to workers.

use muster_events::event::WorkerRegistered;
use muster_events::id::WorkerId;

use super::{Illegal, Step, job};
use crate::claims::{self, Held};
use crate::jobs::systems_on;
use crate::state::{Worker, WorkerStatus};

impl Step<'_> {
    /// Changes something that decides whether the worker takes work.
    pub(super) fn standing(
        &mut self,
        id: &WorkerId,
        change: impl FnOnce(&mut Worker),
    ) -> Result<(), Illegal> {
        let worker = self.worker(id)?;
        change(worker);
        if let Some(worker) = self.state.workers.get(id) {
            self.state.fleet.put(id, worker);
            if worker.status() != WorkerStatus::Active {
                claims::release_all(self.state, id);
            }
        }
        Ok(())
    }

    pub(super) fn active(&mut self, id: &WorkerId) -> Result<&Worker, Illegal> {
        let status = self.worker(id)?.status();
        if status != WorkerStatus::Active {
            return Err(self.misfit(id, format!("{status:?}").to_lowercase()));
        }
        Ok(self.worker(id)?)
    }

    pub(super) fn registered(mut self, e: &WorkerRegistered) {
        claims::release_all(self.state, &e.worker);
        let known = self.state.workers.remove(&e.worker);
        if let Some(known) = known.as_ref().filter(|w| w.info.hostname != e.info.hostname) {
            self.move_ports(known, &e.info.hostname);
        }
        let (used, devices, tasks, tenants, carries, drain) =
            known.map(|w| (w.used, w.devices, w.tasks, w.tenants, w.carries, w.drain)).unwrap_or_default();
        let worker = Worker {
            incarnation: e.incarnation,
            installation: e.installation,
            info: (*e.info).clone(),
            registered_seq: self.seq,
            registered_at: self.at,
            online: true,
            drain,
            used,
            devices,
            held: Held::default(),
            tasks,
            tenants,
            carries,
            occupied: 0,
        };
        self.state.fleet.put(&e.worker, &worker);
        self.state.workers.insert(e.worker.clone(), worker);
    }

    pub(super) fn drained(&mut self, id: &WorkerId) -> Result<(), Illegal> {
        let staying = self.state.workers.get(id).map_or(0, |worker| systems_on(self.state, worker));
        let worker = self.worker(id)?;
        let burden = worker.burden();
        match &mut worker.drain {
            Some(drain) if burden == if drain.ignore_system { staying } else { 0 } => drain.drained = true,
            Some(_) => return Err(self.misfit(id, "still has tasks")),
            None => return Err(self.misfit(id, "not draining")),
        }
        Ok(())
    }

    pub(super) fn unregistered(&mut self, id: &WorkerId) -> Result<(), Illegal> {
        if self.worker(id)?.burden() > 0 {
            return Err(self.misfit(id, "still has tasks"));
        }
        claims::release_all(self.state, id);
        self.state.workers.remove(id);
        self.state.fleet.remove(id);
        job::leave_workers(self.state);
        Ok(())
    }

    /// The worker turns out to be on another host, and what it runs with it.
    pub(super) fn move_ports(&mut self, worker: &Worker, hostname: &str) {
        for attempt in worker.tasks.iter().filter_map(|id| self.state.tasks.get(id)?.live_attempt()) {
            self.state.ports.give_back(&worker.info.hostname, attempt.ports.values().copied());
            self.state.ports.take(hostname, attempt.ports.values().copied());
        }
    }
}

//! The pool of rigs: a rig passes from trial to trial, and is dropped if it does not come back as it was
//! taken.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use xdproof_ebpf::abi;
use xdproof_scenarios::Frame;

use crate::{
    judge::findings::Attached,
    model::mode::Mode,
    plan::support::Refusal,
    program::Object,
    testbed::{Testbed, VethTestbed},
    trial::{
        attaching::NoRig,
        rig::{Rig, RigKind, RigRole},
    },
};

/// The rigs of one kind that wait for a trial, or the reason why there are none.
#[derive(Debug)]
enum PoolSlot {
    Ready(Vec<Rig>),
    Barred(NoRig),
}

/// The rigs of a run.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) testbed: Arc<dyn Testbed>,
    /// Outcomes of attaching by mode, where the needs were the usual ones.
    attached: Mutex<BTreeMap<Mode, Attached>>,
    slots: Mutex<HashMap<RigKind, PoolSlot>>,
}

impl Default for Pool {
    fn default() -> Self {
        Self::on(Arc::new(VethTestbed::default()))
    }
}

impl Pool {
    pub(crate) fn on(testbed: Arc<dyn Testbed>) -> Self {
        Self { testbed, attached: Mutex::default(), slots: Mutex::default() }
    }

    /// Takes a rig that is still as it was returned from the pool, or brings one up.
    pub(crate) fn take(&self, object: &Object, kind: &RigKind) -> Result<Rig, NoRig> {
        loop {
            let waiting = match self.slots().get_mut(kind) {
                Some(PoolSlot::Barred(reason)) => return Err(reason.clone()),
                Some(PoolSlot::Ready(rigs)) => rigs.pop(),
                None => None,
            };
            match waiting {
                Some(rig) if rig.is_untouched() => return Ok(rig),
                Some(_) => {}
                None => break,
            }
        }
        if self.testbed.facts().exclusive {
            if let Some(refusal) = self.refused_altogether(kind) {
                return Err(NoRig::Refused(refusal));
            }
            if let Some(reason) = kind.needs.unmet(self.testbed.facts()) {
                return Err(NoRig::Incapable(reason));
            }
            // The last program has to be detached from the only DUT first.
            self.clear();
        }
        let rig = match kind.role {
            RigRole::UnderTest => Rig::bring_up(object, kind, self.testbed.as_ref()),
            RigRole::CountsQueues => {
                let program = Some(abi::QUEUES_PROGRAM.to_owned());
                Rig::bring_up(&Object { program, ..Object::default() }, kind, self.testbed.as_ref())
            }
        };
        let rig = rig.map_err(|reason| self.blamed(reason));
        self.note(kind, &rig);
        if let Err(reason @ (NoRig::Refused(_) | NoRig::Incapable(_) | NoRig::NoTraffic(_))) = &rig {
            // The answer of a device does not change from trial to trial.
            self.slots().insert(kind.clone(), PoolSlot::Barred(reason.clone()));
        }
        rig
    }

    /// Blames a device that is gone, down or without a carrier for what its driver did. A link that was reset comes up again.
    fn blamed(&self, reason: NoRig) -> NoRig {
        if matches!(reason, NoRig::Failed(_)) {
            return reason;
        }
        let fault = self.testbed.fault(self.testbed.facts().link_up);
        fault.map_or(reason, |fault| NoRig::Failed(fault.what))
    }

    /// Returns the refusal of a mode at the usual MTU: a driver that rejects the program there (EOPNOTSUPP, EINVAL) rejects it at a
    /// larger MTU too, and setting that would only reset the device.
    fn refused_altogether(&self, kind: &RigKind) -> Option<Refusal> {
        let usual = self.usual_of(kind);
        match self.slots().get(&usual) {
            Some(PoolSlot::Barred(NoRig::Refused(refusal))) => Some(refusal.clone()),
            _ => None,
        }
    }

    fn usual_of(&self, kind: &RigKind) -> RigKind {
        RigKind { path: kind.path, ..RigKind::usual(kind.path.mode, self.testbed.facts()) }
    }

    /// Returns the outcomes of attaching, by mode.
    pub(crate) fn attached(&self) -> BTreeMap<Mode, Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, kind: &RigKind, rig: &Result<Rig, NoRig>) {
        if *kind != self.usual_of(kind) {
            return;
        }
        let outcome = match rig {
            Ok(Rig::Attached(_)) => Attached::Yes,
            Err(NoRig::Refused(Refusal { answer, .. })) => Attached::Refused(answer.clone()),
            Err(NoRig::NoTraffic(reason)) => Attached::NoTraffic(reason.clone()),
            Ok(Rig::Detached(_)) | Err(NoRig::Incapable(_) | NoRig::Failed(_)) => return,
        };
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.path.mode, outcome);
    }

    /// Returns a rig to the pool if it is clean after a trial that has sent these frames; otherwise says what is wrong with it.
    pub(crate) fn hand_back(&self, kind: &RigKind, mut rig: Rig, sent: &[Frame]) -> Result<(), String> {
        rig.check_clean(sent)?;
        if let PoolSlot::Ready(rigs) =
            self.slots().entry(kind.clone()).or_insert_with(|| PoolSlot::Ready(Vec::new()))
        {
            rigs.push(rig);
        }
        Ok(())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<RigKind, PoolSlot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops all rigs that wait. Kinds that were refused stay so.
    pub(crate) fn clear(&self) {
        let mut rigs = Vec::new();
        for slot in self.slots().values_mut() {
            if let PoolSlot::Ready(ready) = slot {
                rigs.append(ready);
            }
        }
        if rigs.is_empty() {
            return;
        }
        // Closing a packet socket or a `bpf_link` waits for an RCU grace period of some ten milliseconds; closing them at the
        // same time waits for one.
        std::thread::scope(|scope| {
            for rig in rigs {
                scope.spawn(move || drop(rig));
            }
        });
        // If the last program stays, the refusal of the next one says so.
        let _released = self.testbed.wait_released();
    }

    /// Publishes the namespaces of one rig of each kind under names that outlive this process and begin with `prefix`; returns
    /// those names.
    pub(crate) fn keep(&self, prefix: &str) -> Result<Vec<String>, xdproof_netns::Error> {
        let mut names = Vec::new();
        for (kind, slot) in std::mem::take(&mut *self.slots()) {
            let PoolSlot::Ready(mut rigs) = slot else { continue };
            if let Some(Rig::Attached(rig)) = rigs.pop() {
                let prefix = format!("{prefix}-{}", kind.name());
                for name in rig.ports.publish(&prefix)? {
                    names.extend(name.path().file_name().map(|name| name.to_string_lossy().into_owned()));
                    name.persist();
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

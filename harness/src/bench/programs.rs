//! The programs that are compared, each loaded twice: the second load stands for it in the A/A control.
//!
//! The place in memory of a program's machine code and of its map costs or saves a nanosecond. Programs are
//! therefore loaded anew for every round, in random order: the kernel gives the first free place to the first
//! caller. The effect of the place is then scatter, which shows, instead of bias, which does not.

use std::path::PathBuf;

use xdproof_ebpf::abi;
use xdproof_netns::{NetNs, Worker};

use crate::{
    model::{Measured, ProgramRole},
    program::{CounterMap, DispatcherHold, Object, Program, ProgramError},
};

/// The objects that are measured.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub subject: Object,
    /// The object that it is compared with, if there is one.
    pub reference: Option<Object>,
}

/// A program that is ready to be measured.
#[derive(Debug)]
pub struct Loaded {
    // Removed from the dispatcher before the program goes.
    _hold: DispatcherHold,
    pub program: Program,
    pub counters: CounterMap,
    /// Set if it counts nothing, so that only the device's statistics show what arrived.
    pub is_null: bool,
}

/// Both loads of each program. Each worker's namespace has a loopback device that keeps a program in the
/// kernel's dispatcher.
#[derive(Debug)]
pub struct Programs {
    loaded: Vec<(ProgramRole, bool, Loaded)>,
    draws: fastrand::Rng,
    shelves: Vec<Worker>,
    objects: Objects,
}

impl Programs {
    /// Loads them. Needs `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    ///
    /// An object that is no counter, or that the kernel rejects.
    pub fn load(objects: Objects) -> Result<Self, ProgramError> {
        let draws = fastrand::Rng::with_seed(0);
        let mut programs = Self { loaded: Vec::new(), draws, shelves: Vec::new(), objects };
        let roles = programs.roles();
        for _ in 0..2 * roles.len() {
            programs.shelves.push(Worker::spawn(&NetNs::create()?, "shelf")?);
        }
        programs.reload()?;
        Ok(programs)
    }

    fn roles(&self) -> Vec<(ProgramRole, Object)> {
        let null = Object::builtin(abi::NULL_PROGRAM);
        let mut roles = vec![(ProgramRole::Null, null), (ProgramRole::Subject, self.objects.subject.clone())];
        roles.extend(self.objects.reference.clone().map(|object| (ProgramRole::Reference, object)));
        roles
    }

    /// Loads all of them anew, in another order.
    pub fn reload(&mut self) -> Result<(), ProgramError> {
        self.loaded.clear();
        let mut order: Vec<(ProgramRole, bool, Object)> = self
            .roles()
            .into_iter()
            .flat_map(|(role, object)| [(role, false, object.clone()), (role, true, object)])
            .collect();
        self.draws.shuffle(&mut order);
        for (shelf, (role, second, object)) in self.shelves.iter().zip(order) {
            let (program, counters) = Program::load_counter(&object)?;
            let hold = DispatcherHold::on_loopback(shelf, program.descriptor()?)?;
            let loaded = Loaded { _hold: hold, program, counters, is_null: role == ProgramRole::Null };
            self.loaded.push((role, second, loaded));
        }
        Ok(())
    }

    /// Returns one of the two loads of a role's program.
    #[must_use]
    pub fn get(&self, role: ProgramRole, second: bool) -> Option<&Loaded> {
        let is_it =
            |(its, its_second, _): &&(ProgramRole, bool, Loaded)| (*its, *its_second) == (role, second);
        self.loaded.iter().find(is_it).map(|(_, _, loaded)| loaded)
    }

    /// Returns the description of a role's program.
    #[must_use]
    pub fn describe(&self, role: ProgramRole) -> Option<Measured> {
        let identity = self.get(role, false)?.program.identity();
        let path = |object: &Object| object.path.clone();
        let object: Option<PathBuf> = match role {
            ProgramRole::Null => None,
            ProgramRole::Subject => path(&self.objects.subject),
            ProgramRole::Reference => self.objects.reference.as_ref().and_then(path),
        };
        Some(Measured {
            object: object.map(|path| path.display().to_string()),
            name: identity.name.clone(),
            tag: format!("{:016x}", identity.tag),
            instructions: identity.instructions,
            verified_instructions: identity.verified_instructions,
            machine_code_bytes: identity.machine_code_bytes,
        })
    }
}

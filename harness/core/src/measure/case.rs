//! Measurement cases: every comparison of a selection, decided before anything touches the kernel. Pure.

use crate::{
    measure::traffic::{JUMBO, Mix, SIZES, Traffic, TrafficError},
    model::{
        measurement::{ProgramRole, Quantity},
        mode::{InjectorKind, Mode},
    },
};

/// A program's place and its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub place: Place,
    pub traffic: Traffic,
}

/// The place where a program is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Test runs, without a device.
    Alone,
    /// Attached to the DUT.
    Wire {
        mode: Mode,
        injector: InjectorKind,
        /// The number of CPUs that send at once, each with queues of its own.
        cpus: usize,
    },
}

impl Place {
    /// Returns the place as it stands in an id: `native/ring`.
    fn name(self) -> String {
        match self {
            Self::Alone => "alone".to_owned(),
            Self::Wire { mode, injector, .. } => format!("{mode}/{injector}"),
        }
    }
}

/// A comparison of a subject with a reference, each a program in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub quantity: Quantity,
    /// The subject's place.
    pub setup: Setup,
    /// The reference's place, if it differs from the subject's.
    pub elsewhere: Option<Setup>,
    pub subject: ProgramRole,
    pub reference: ProgramRole,
}

impl Case {
    /// Returns the name in results and tables: `path/native/ring/udp/64`, followed by `/2cpus` for more than
    /// one CPU.
    #[must_use]
    pub fn id(&self) -> String {
        let place = match (self.quantity, self.setup.place) {
            (Quantity::ProgramCost, _) => String::new(),
            (Quantity::NativeToGeneric, Place::Wire { injector, .. }) => format!("/{injector}"),
            (_, place) => format!("/{}", place.name()),
        };
        let cpus = match self.setup.place {
            Place::Wire { cpus, .. } if cpus > 1 => format!("/{cpus}cpus"),
            _ => String::new(),
        };
        format!("{}{place}/{}{cpus}", self.quantity, self.setup.traffic.name)
    }

    /// Returns the reference's place and frames.
    #[must_use]
    pub fn reference_setup(&self) -> &Setup {
        self.elsewhere.as_ref().unwrap_or(&self.setup)
    }

    /// Returns true if the subject is judged. It is not where the reference is the null program or another
    /// place.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.reference == ProgramRole::Reference
    }
}

/// An error in a selection of measurements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    #[error("--injector {} cannot be combined with --mode or --cpus", InjectorKind::TestRun)]
    NothingToAttach,
    #[error("--size cannot be combined with the mix {}, whose frame sizes are fixed", Mix::Imix.name())]
    ManySizes,
    #[error("the cost of a program is measured on one frame; {name} has several")]
    SeveralFrames { name: String },
}

/// A selection of comparisons; an empty list means the default.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub modes: Vec<Mode>,
    /// Injectors; `test_run` selects the program's cost.
    pub injectors: Vec<InjectorKind>,
    /// Frame sizes in bytes, FCS included.
    pub sizes: Vec<usize>,
    pub mixes: Vec<Mix>,
    /// Numbers of CPUs that send.
    pub cpus: Vec<usize>,
    /// Scenarios whose frames are sent instead of a mix.
    pub scenarios: Vec<Traffic>,
    /// CPUs that can be used.
    pub cpus_available: usize,
    /// Set if there is a program to compare with.
    pub against: bool,
}

impl Wanted {
    /// Returns every comparison, in the order of the table.
    ///
    /// # Errors
    ///
    /// A size that a mix does not have, and options that exclude each other.
    pub fn cases(&self) -> Result<Vec<Case>, WantedError> {
        self.contradiction().map_or(Ok(()), Err)?;
        let Self { modes, injectors, sizes, mixes, cpus, scenarios, cpus_available: _, against: _ } = self;
        let chosen =
            [modes.len(), injectors.len(), sizes.len(), mixes.len(), cpus.len(), scenarios.len()] != [0; 6];
        let mut cases: Vec<Case> = Vec::new();
        let all = match (chosen, self.against) {
            (true, _) => self.product(),
            (false, true) => self.versions(),
            (false, false) => self.survey(),
        };
        // A case that was named twice is measured once: an id is unique within a result.
        for case in all? {
            if !cases.contains(&case) {
                cases.push(case);
            }
        }
        Ok(cases)
    }

    /// Returns an error for an option that would have no effect.
    fn contradiction(&self) -> Option<WantedError> {
        let is_test_run = |injector: &InjectorKind| *injector == InjectorKind::TestRun;
        let only_test_runs = !self.injectors.is_empty() && self.injectors.iter().all(is_test_run);
        let several = self.scenarios.iter().find(|traffic| traffic.frames.len() != 1);
        if only_test_runs && !(self.modes.is_empty() && self.cpus.is_empty()) {
            Some(WantedError::NothingToAttach)
        } else if !self.sizes.is_empty() && self.mixes == [Mix::Imix] {
            Some(WantedError::ManySizes)
        } else {
            let name = several.filter(|_| only_test_runs).map(|traffic| traffic.name.clone());
            let imix =
                (only_test_runs && self.mixes.contains(&Mix::Imix)).then(|| Mix::Imix.name().to_owned());
            name.or(imix).map(|name| WantedError::SeveralFrames { name })
        }
    }

    fn modes(&self) -> &[Mode] {
        if self.modes.is_empty() { &[Mode::Generic, Mode::Native] } else { &self.modes }
    }

    fn cost(&self, traffic: Traffic) -> Case {
        self.case(Quantity::ProgramCost, Place::Alone, traffic)
    }

    fn path(&self, place: Place, traffic: Traffic) -> Case {
        self.case(Quantity::PathRate, place, traffic)
    }

    fn case(&self, quantity: Quantity, place: Place, traffic: Traffic) -> Case {
        let reference = if self.against { ProgramRole::Reference } else { ProgramRole::Null };
        let (setup, subject) = (Setup { place, traffic }, ProgramRole::Subject);
        Case { quantity, setup, elsewhere: None, subject, reference }
    }

    /// Returns the product of everything that was named.
    fn product(&self) -> Result<Vec<Case>, TrafficError> {
        let injectors: &[InjectorKind] = match (self.injectors.is_empty(), self.modes.is_empty()) {
            (false, _) => &self.injectors,
            (true, true) => &[InjectorKind::TestRun, InjectorKind::LiveFrames],
            (true, false) => &[InjectorKind::LiveFrames],
        };
        let cpus: &[usize] = if self.cpus.is_empty() { &[1] } else { &self.cpus };
        let mut cases = Vec::new();
        let traffic = self.traffic()?;
        if injectors.contains(&InjectorKind::TestRun) {
            cases.extend(traffic.iter().map(|traffic| self.cost(traffic.clone())));
        }
        for &mode in self.modes() {
            for &injector in injectors.iter().filter(|injector| **injector != InjectorKind::TestRun) {
                for traffic in &traffic {
                    for &cpus in cpus {
                        cases.push(self.path(Place::Wire { mode, injector, cpus }, traffic.clone()));
                    }
                }
            }
        }
        Ok(cases)
    }

    fn traffic(&self) -> Result<Vec<Traffic>, TrafficError> {
        let mut traffic = self.scenarios.clone();
        if !(traffic.is_empty() || !self.mixes.is_empty() || !self.sizes.is_empty()) {
            return Ok(traffic);
        }
        let mixes: &[Mix] = if self.mixes.is_empty() { &[Mix::Udp] } else { &self.mixes };
        for &mix in mixes {
            match (mix, self.sizes.is_empty()) {
                (Mix::Imix, _) => traffic.push(Traffic::of(mix, 0)?),
                (_, true) => traffic.push(Traffic::of(mix, mix.least())?),
                (_, false) => {
                    for &size in &self.sizes {
                        traffic.push(Traffic::of(mix, size)?);
                    }
                }
            }
        }
        Ok(traffic)
    }

    /// Returns the comparison of two versions of a program: its cost, and the path rate with it.
    fn versions(&self) -> Result<Vec<Case>, TrafficError> {
        let udp = Traffic::of(Mix::Udp, Mix::Udp.least())?;
        let qinq = Traffic::of(Mix::QinqIpv6, Mix::QinqIpv6.least())?;
        let mut cases = vec![self.cost(udp.clone()), self.cost(qinq)];
        for &mode in self.modes() {
            let place = Place::Wire { mode, injector: InjectorKind::LiveFrames, cpus: 1 };
            cases.push(self.path(place, udp.clone()));
        }
        Ok(cases)
    }

    /// Returns a survey: the program's cost; each injector in each mode; each size, mix and number of CPUs by
    /// the fastest injector; native against generic mode, and the largest against the smallest size.
    fn survey(&self) -> Result<Vec<Case>, TrafficError> {
        use InjectorKind::{LiveFrames, Pnet, Ring};
        let udp = |size| Traffic::of(Mix::Udp, size);
        let least = Mix::Udp.least();
        let (qinq, imix) = (Traffic::of(Mix::QinqIpv6, Mix::QinqIpv6.least())?, Traffic::of(Mix::Imix, 0)?);
        let mut cases = vec![self.cost(udp(least)?), self.cost(qinq.clone())];
        let wire = |mode, injector, cpus| Place::Wire { mode, injector, cpus };
        for &mode in self.modes() {
            for injector in [Pnet, Ring, LiveFrames] {
                cases.push(self.path(wire(mode, injector, 1), udp(least)?));
            }
            for size in SIZES.into_iter().filter(|size| *size > least) {
                cases.push(self.path(wire(mode, LiveFrames, 1), udp(size)?));
            }
            cases.push(self.path(wire(mode, Ring, 1), udp(JUMBO)?));
            for traffic in [&qinq, &imix] {
                cases.push(self.path(wire(mode, LiveFrames, 1), traffic.clone()));
            }
            if self.cpus_available > 1 {
                cases.push(self.path(wire(mode, LiveFrames, self.cpus_available), udp(least)?));
            }
        }
        for injector in [Ring, LiveFrames] {
            cases.push(native_to_generic(injector, udp(least)?));
        }
        for mode in [Mode::Generic, Mode::Native] {
            let largest = SIZES.into_iter().max().unwrap_or(least);
            cases.push(size_to_smallest(wire(mode, LiveFrames, 1), udp(largest)?, udp(least)?));
        }
        Ok(cases)
    }
}

/// Returns the comparison of native with generic mode, with the same program.
#[must_use]
pub fn native_to_generic(injector: InjectorKind, traffic: Traffic) -> Case {
    let place = |mode| Place::Wire { mode, injector, cpus: 1 };
    let generic = Setup { place: place(Mode::Generic), traffic: traffic.clone() };
    of_places(Quantity::NativeToGeneric, Setup { place: place(Mode::Native), traffic }, generic)
}

/// Returns the comparison of two frame sizes, with the same program.
#[must_use]
pub fn size_to_smallest(place: Place, traffic: Traffic, smallest: Traffic) -> Case {
    let [setup, elsewhere] = [traffic, smallest].map(|traffic| Setup { place, traffic });
    of_places(Quantity::SizeToSmallest, setup, elsewhere)
}

fn of_places(quantity: Quantity, setup: Setup, elsewhere: Setup) -> Case {
    let program = ProgramRole::Subject;
    Case { quantity, setup, elsewhere: Some(elsewhere), subject: program, reference: program }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(wanted: &Wanted) -> Vec<String> {
        wanted.cases().unwrap().iter().map(Case::id).collect()
    }

    #[test]
    fn a_survey_has_every_injector_mode_size_mix_and_number_of_cpus_once() {
        let ids = ids(&Wanted { cpus_available: 2, ..Wanted::default() });
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        for id in [
            "cost/udp/64",
            "cost/qinq_ipv6/74",
            "path/generic/pnet/udp/64",
            "path/native/ring/udp/64",
            "path/native/live_frames/udp/1518",
            "path/generic/ring/udp/9018",
            "path/native/live_frames/imix",
            "path/native/live_frames/qinq_ipv6/74",
            "path/native/live_frames/udp/64/2cpus",
            "modes/live_frames/udp/64",
            "sizes/native/live_frames/udp/1518",
        ] {
            assert!(ids.iter().any(|other| other == id), "{id} is not in {ids:?}");
        }
    }

    #[test]
    fn two_versions_are_compared_by_cost_and_by_path() {
        let wanted = Wanted { against: true, cpus_available: 2, ..Wanted::default() };
        assert_eq!(
            ids(&wanted),
            [
                "cost/udp/64",
                "cost/qinq_ipv6/74",
                "path/generic/live_frames/udp/64",
                "path/native/live_frames/udp/64"
            ]
        );
        assert!(wanted.cases().unwrap().iter().all(Case::is_judged));
    }

    #[test]
    fn what_is_named_is_combined_with_what_else_is_named() {
        let wanted = Wanted {
            modes: vec![Mode::Native],
            injectors: vec![InjectorKind::Ring, InjectorKind::TestRun],
            sizes: vec![64, 1518],
            mixes: vec![Mix::Udp, Mix::Imix],
            ..Wanted::default()
        };
        assert_eq!(
            ids(&wanted),
            [
                "cost/udp/64",
                "cost/udp/1518",
                "cost/imix",
                "path/native/ring/udp/64",
                "path/native/ring/udp/1518",
                "path/native/ring/imix"
            ]
        );
        let twice = Wanted {
            modes: vec![Mode::Native; 2],
            mixes: vec![Mix::Imix; 2],
            cpus: vec![1, 1],
            ..Wanted::default()
        };
        assert_eq!(ids(&twice), ["path/native/live_frames/imix"]);
        let wrong = Wanted { mixes: vec![Mix::QinqIpv6], sizes: vec![64], ..Wanted::default() };
        assert!(wrong.cases().is_err());
    }

    #[test]
    fn what_does_not_go_together_is_said_and_not_left_out() {
        let alone = |wanted: Wanted| Wanted { injectors: vec![InjectorKind::TestRun], ..wanted }.cases();
        let wrong = [
            alone(Wanted { modes: vec![Mode::Native], ..Wanted::default() }),
            alone(Wanted { cpus: vec![2], ..Wanted::default() }),
            alone(Wanted { mixes: vec![Mix::Imix], ..Wanted::default() }),
            Wanted { mixes: vec![Mix::Imix], sizes: vec![64], ..Wanted::default() }.cases(),
        ];
        assert!(wrong.iter().all(Result::is_err), "{wrong:?}");
        assert!(alone(Wanted::default()).is_ok());
    }
}

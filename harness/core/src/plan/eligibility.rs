//! Eligibility: whether a trial may run, why not, and what a refused attachment means. Pure.
//!
//! Promises: a trial is skipped only for a reason that was declared beforehand, by its scenario, by the command line or by the
//! [support table](crate::plan::support); a trial is unreachable only where the frames do not arrive without a program either.

use xdproof_scenarios::{Deviation, Frame, KernelVersion, describe};

use crate::{
    model::{Counts, Facts, FrameFate, InjectorKind, Mode, TrialPath, stack_discards},
    plan::{
        selection::Trial,
        support::{self, Refusal, RefusalMeaning, Refused, Request, Support},
    },
};

/// Ethernet header in bytes.
const ETHERNET: usize = 14;

/// Everything on which eligibility depends but the trial.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The testbed.
    pub facts: &'a Facts,
    /// The running kernel.
    pub kernel: KernelVersion,
    /// Size of a page of this machine in bytes.
    pub page: usize,
    /// Set if the program under test takes multi-buffer frames (frags).
    pub takes_frags: bool,
    /// The most frames that a scenario may send; none: any number.
    pub most_frames: Option<u64>,
}

/// The frames that a path carries without a program, at the MTU of a trial.
#[derive(Clone, Copy)]
pub struct Carriage<'a> {
    /// MTU of both ends in bytes.
    pub mtu: u32,
    /// The longest frame in bytes, without FCS, that arrives.
    pub longest: usize,
    /// The fate of a frame that does not arrive as it should.
    pub fate: &'a dyn Fn(&[u8]) -> Option<FrameFate>,
}

impl Conditions<'_> {
    /// Returns what the scenario requires and this trial cannot offer.
    #[must_use]
    pub fn unmet_requirement(&self, trial: &Trial<'_>) -> Option<String> {
        if !trial.is_possible() {
            return Some(format!("{} cannot inject these frames as they are meant", trial.path.injector));
        }
        let sends = trial.scenario.sent();
        if let Some(most) = self.most_frames.filter(|most| sends > *most) {
            return Some(format!("the scenario sends {sends} frames, and --most-frames is {most}"));
        }
        if let Some(reason) = self.missing_injector(trial.path.injector).or_else(|| self.one_at_a_time(trial))
        {
            return Some(reason);
        }
        let oldest = trial.scenario.requires.min_kernel.filter(|oldest| self.kernel < *oldest)?;
        Some(format!("the scenario needs kernel {oldest}; this is {}", self.kernel))
    }

    /// Returns why frames that are to be counted on all CPUs at the same time are counted one at a time on this path.
    fn one_at_a_time(&self, trial: &Trial<'_>) -> Option<String> {
        if !trial.scenario.spread.at_once {
            return None;
        }
        if self.facts.cpus.len() < 2 {
            return Some(
                "proves nothing: frames are counted at the same time only on two or more CPUs; 1 is online"
                    .to_owned(),
            );
        }
        if trial.path.injector == InjectorKind::LiveFrames {
            let why = "proves nothing: the kernel makes live frames in batches, during which CPUs seldom count at the same time";
            return Some(why.to_owned());
        }
        (self.facts.asynchronous && trial.path.mode.is_attached()).then(|| {
            "proves nothing: the device chooses the CPUs on which frames arrive; a test run and a veth use all at the same time"
                .to_owned()
        })
    }

    /// Returns why this kernel has no such injector, if it has none.
    #[must_use]
    pub fn missing_injector(&self, injector: InjectorKind) -> Option<String> {
        support::injector(injector, self.kernel)
    }

    /// Looks up whether a program can be attached: by the support table, and else by what the device advertises.
    #[must_use]
    pub fn support(&self, mode: Mode, mtu: u32) -> Support {
        let known = support::lookup(Request {
            driver: &self.facts.driver,
            mode,
            kernel: self.kernel,
            mtu,
            fragments: self.takes_frags,
            page: self.page,
        });
        let advertised = mode == Mode::Native && self.facts.advertises_native == Some(true);
        if known == Support::Unknown && advertised { Support::Supported } else { known }
    }

    /// Explains a refusal to attach in a mode at an MTU. `longest` is the longest frame in bytes that was to be sent.
    #[must_use]
    pub fn explain(&self, mode: Mode, mtu: u32, longest: usize, refusal: &Refusal) -> RefusalMeaning {
        let Refusal { errno, answer } = refusal;
        match self.support(mode, mtu) {
            Support::Unsupported(known) | Support::Depends(known) if known.is(*errno, answer) => {
                RefusalMeaning::Declared(format!("{} ({answer})", known.reason))
            }
            Support::Unsupported(Refused { reason, errnos, texts })
            | Support::Depends(Refused { reason, errnos, texts }) => {
                let sentence: String = texts.iter().map(|text| format!(", \"{text}\"")).collect();
                RefusalMeaning::Unexpected(format!("refused with {errnos:?}{sentence} ({reason})"))
            }
            Support::Supported => match self.too_long(mode, longest) {
                Some(reason) => RefusalMeaning::Unreachable(format!("{reason} ({answer})")),
                None => RefusalMeaning::Unexpected("attached".to_owned()),
            },
            Support::Unknown => RefusalMeaning::Declared(format!(
                "the support table has no entry for {} in {mode} mode, and the driver refuses the program ({answer})",
                self.facts.driver
            )),
        }
    }

    /// Returns why a mode cannot carry a frame of this length in bytes, if that is known.
    #[must_use]
    pub fn too_long(&self, mode: Mode, longest: usize) -> Option<String> {
        if !mode.is_attached() {
            let taken = support::longest_test_run(self.kernel, self.page);
            let reason = format!(
                "a frame of {longest} bytes is too long: a test run takes frames of at most {taken} bytes"
            );
            return (longest > taken).then_some(reason);
        }
        let carried = support::longest_frame(mode, self.takes_frags);
        (longest > carried).then(|| {
            let mtu = longest.saturating_sub(ETHERNET);
            format!("a frame of {longest} bytes needs an MTU of {mtu}; this path carries frames of at most {carried} bytes")
        })
    }

    /// Returns why the frames of a trial do not arrive as they were sent, with or without a program.
    #[must_use]
    pub fn not_carried(&self, trial: &Trial<'_>, carriage: Carriage<'_>) -> Option<String> {
        let Carriage { mtu, longest: carried, fate } = carriage;
        let (mode, frames) = (trial.path.mode, &trial.scenario.frames);
        if !mode.is_attached() || trial.scenario.is_unreachable() {
            return None;
        }
        let lengths = || frames.iter().map(|frame| frame.bytes.len());
        let (shortest, longest) = (lengths().min()?, lengths().max()?);
        if shortest < self.facts.shortest {
            let least = self.facts.shortest;
            return Some(format!(
                "a frame of {shortest} bytes is shorter than the {least} bytes from which on this path is known to deliver frames unchanged"
            ));
        }
        if longest > carried {
            return Some(format!(
                "a frame of {longest} bytes does not arrive, with or without a program: at an MTU of {mtu} this path carries frames of at most {carried} bytes"
            ));
        }
        let rx = self.facts.rx_transform(mode);
        let discarded = |frame: &&Frame| stack_discards(&rx.arriving(&frame.bytes));
        if self.facts.stacked
            && mode != Mode::Native
            && let Some(frame) = frames.iter().find(discarded)
        {
            let frame = describe(&frame.bytes);
            return Some(format!(
                "the stack of the lower device discards it, with or without a program: {frame}"
            ));
        }
        let (frame, fate) = frames.iter().find_map(|frame| Some((frame, fate(&frame.bytes)?)))?;
        let what = match fate {
            FrameFate::Lost => "does not arrive",
            FrameFate::Altered => "is modified in transit",
            FrameFate::Unseen => {
                let frame = describe(&frame.bytes);
                return Some(format!(
                    "nothing shows that the path carries it, with or without a program: {frame}"
                ));
            }
        };
        Some(format!("{what}, with or without a program: {}", describe(&frame.bytes)))
    }

    /// Returns why a trial that spreads frames over queues shows nothing: which queues a device uses is its own choice (its
    /// indirection table, its hash), while a veth has to use them all. `queues` are the frames by receive queue.
    #[must_use]
    pub fn not_spread(&self, trial: &Trial<'_>, queues: &Counts) -> Option<String> {
        let needed = trial.scenario.spread.queues?.saturating_sub(1) as usize;
        (self.facts.asynchronous && queues.len() < needed).then(|| {
            let used: Vec<&u8> = queues.keys().collect();
            format!("the scenario needs frames on {needed} receive queues, and the DUT uses {used:?}")
        })
    }

    /// Returns the reason of the deviation that is declared for this trial, if there is one.
    #[must_use]
    pub fn deviation<'t>(&self, trial: &Trial<'t>) -> Option<&'t str> {
        let TrialPath { mode, injector } = trial.path;
        // Without a device, no driver can deviate.
        let driver = if mode.is_attached() { self.facts.driver.as_str() } else { "" };
        let holds =
            |deviation: &&Deviation| deviation.holds(driver, mode.name(), self.kernel, injector.name());
        trial.scenario.deviations.iter().find(holds).map(|deviation| deviation.reason.as_str())
    }
}

/// Returns why the program does not get the frames as they are declared, if the path changes one of them: it pads short frames, or
/// the device takes a VLAN tag out.
#[must_use]
pub fn changed_on_arrival<'f>(
    facts: &Facts,
    mode: Mode,
    frames: impl IntoIterator<Item = &'f [u8]>,
) -> Option<String> {
    if !mode.is_attached() {
        return None;
    }
    let rx = facts.rx_transform(mode);
    frames.into_iter().zip(1_usize..).find_map(|(frame, number)| {
        let (length, least) = (frame.len(), facts.shortest);
        if length < least {
            return Some(format!(
                "frame {number} of {length} bytes is shorter than the {least} bytes from which on this path is known to deliver frames unchanged"
            ));
        }
        let arriving = rx.arriving(frame);
        let given = rx.given(&arriving);
        let change = match (arriving.len() != length, given.len() != arriving.len()) {
            (false, false) => return None,
            (true, false) => "it is padded",
            (false, true) => "its VLAN tag is stripped",
            (true, true) => "it is padded, and its VLAN tag is stripped",
        };
        let arrives = given.len();
        Some(format!("frame {number} of {length} bytes arrives as {arrives} bytes on this path: {change}"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustix::io::Errno;
    use xdproof_scenarios::Scenario;

    use super::*;
    use crate::model::Strips;

    const KERNEL: KernelVersion = KernelVersion { major: 6, minor: 18, patch: 0 };
    const NATIVE: TrialPath = TrialPath { mode: Mode::Native, injector: InjectorKind::Pnet };

    fn under(facts: &Facts) -> Conditions<'_> {
        Conditions { facts, kernel: KERNEL, page: 4096, takes_frags: false, most_frames: None }
    }

    fn device(driver: &str) -> Facts {
        Facts {
            driver: driver.to_owned(),
            exclusive: true,
            asynchronous: true,
            queues: Some(1),
            shortest: 14,
            ..Facts::veth()
        }
    }

    /// One UDP frame of the built-in corpus.
    fn scenario() -> Scenario {
        let all = xdproof_scenarios::load::builtin().unwrap();
        all.into_iter().find(|scenario| scenario.id.to_string() == "ipv4/udp").unwrap()
    }

    fn refused(errno: Errno, answer: &str) -> Refusal {
        Refusal { errno: Some(errno), answer: answer.to_owned() }
    }

    fn carried(longest: usize, fate: &dyn Fn(&[u8]) -> Option<FrameFate>) -> Carriage<'_> {
        Carriage { mtu: 1508, longest, fate }
    }

    #[test]
    fn a_trial_that_asks_for_nothing_special_is_eligible() {
        let (facts, scenario) = (Facts::veth(), scenario());
        let trial = Trial { scenario: &scenario, path: NATIVE };
        assert_eq!(under(&facts).unmet_requirement(&trial), None);
        assert_eq!(under(&facts).not_carried(&trial, carried(1526, &|_| None)), None);
        assert_eq!(under(&facts).deviation(&trial), None);
    }

    #[test]
    fn a_scenario_that_sends_more_frames_than_allowed_is_skipped_with_both_numbers() {
        let (facts, mut scenario) = (Facts::veth(), scenario());
        scenario.frames[0].repeat = 11;
        let trial = Trial { scenario: &scenario, path: NATIVE };
        let sends = scenario.sent();
        let limited =
            |most| Conditions { most_frames: Some(most), ..under(&facts) }.unmet_requirement(&trial);
        assert_eq!(limited(sends), None);
        let reason = limited(sends - 1).unwrap();
        assert!(reason.contains(&sends.to_string()) && reason.contains("--most-frames"), "{reason}");
    }

    #[test]
    fn a_race_needs_two_cpus_and_a_path_that_uses_them_at_the_same_time() {
        let mut scenario = scenario();
        (scenario.spread.cpus, scenario.spread.at_once) = (true, true);
        let unmet =
            |facts: &Facts, path| under(facts).unmet_requirement(&Trial { scenario: &scenario, path });
        let two = |facts| Facts { cpus: vec![0, 1], ..facts };
        assert_eq!(unmet(&two(Facts::veth()), NATIVE), None);
        let one = Facts { cpus: vec![0], ..Facts::veth() };
        assert!(unmet(&one, NATIVE).unwrap().starts_with("proves nothing"));
        assert!(unmet(&two(device("igb")), NATIVE).unwrap().contains("the device chooses"));
        let test_run = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
        assert_eq!(unmet(&two(device("igb")), test_run), None);
        let live = TrialPath { injector: InjectorKind::LiveFrames, ..NATIVE };
        assert!(unmet(&two(Facts::veth()), live).unwrap().contains("batches"));
        assert!(unmet(&one, test_run).is_some());
    }

    #[test]
    fn a_kernel_that_is_too_old_is_named_beside_the_one_that_is_needed() {
        let (facts, mut scenario) = (Facts::veth(), scenario());
        scenario.requires.min_kernel = Some(KernelVersion { major: 7, minor: 0, patch: 0 });
        let reason = under(&facts).unmet_requirement(&Trial { scenario: &scenario, path: NATIVE }).unwrap();
        assert!(reason.contains("7.0") && reason.contains("6.18"), "{reason}");
        let live = TrialPath { injector: InjectorKind::LiveFrames, ..NATIVE };
        let old = Conditions { kernel: KernelVersion { major: 5, minor: 10, patch: 0 }, ..under(&facts) };
        scenario.requires.min_kernel = None;
        assert!(old.unmet_requirement(&Trial { scenario: &scenario, path: live }).unwrap().contains("5.18"));
    }

    #[test]
    fn a_driver_without_an_entry_is_trusted_to_support_what_it_advertises() {
        let silent = device("no_such_driver");
        assert_eq!(under(&silent).support(Mode::Native, 1508), Support::Unknown);
        let advertising = Facts { advertises_native: Some(true), ..silent };
        assert_eq!(under(&advertising).support(Mode::Native, 1508), Support::Supported);
        assert_eq!(under(&advertising).support(Mode::Offload, 1508), Support::Unknown);
    }

    #[test]
    fn a_refusal_is_declared_only_with_the_errno_and_the_sentence_of_the_table() {
        let facts = device("e1000e");
        let explain = |refusal| under(&facts).explain(Mode::Native, 1508, 60, &refusal);
        let sentence = "Underlying driver does not support XDP in native mode";
        assert!(matches!(explain(refused(Errno::OPNOTSUPP, sentence)), RefusalMeaning::Declared(_)));
        for other in [
            refused(Errno::INVAL, sentence),
            refused(Errno::OPNOTSUPP, "no"),
            Refusal { errno: None, answer: sentence.to_owned() },
        ] {
            assert!(matches!(explain(other), RefusalMeaning::Unexpected(_)));
        }
    }

    #[test]
    fn a_refusal_by_an_unknown_driver_is_declared_and_by_one_that_advertises_it_is_not() {
        let silent = device("no_such_driver");
        let refusal = refused(Errno::OPNOTSUPP, "no");
        assert!(matches!(
            under(&silent).explain(Mode::Native, 1508, 60, &refusal),
            RefusalMeaning::Declared(_)
        ));
        let lying = Facts { advertises_native: Some(true), ..silent };
        assert_eq!(
            under(&lying).explain(Mode::Native, 1508, 60, &refusal),
            RefusalMeaning::Unexpected("attached".to_owned())
        );
    }

    #[test]
    fn a_refusal_where_no_mode_could_carry_the_frame_makes_the_trial_unreachable() {
        let facts = Facts::veth();
        let frags = Conditions { takes_frags: true, ..under(&facts) };
        let refusal = refused(Errno::RANGE, "too long");
        let longest = support::longest_frame(Mode::Native, true);
        assert!(matches!(
            frags.explain(Mode::Native, 1508, longest + 1, &refusal),
            RefusalMeaning::Unreachable(_)
        ));
        assert!(matches!(
            frags.explain(Mode::Native, 1508, longest, &refusal),
            RefusalMeaning::Unexpected(_)
        ));
    }

    #[test]
    fn frames_that_a_path_does_not_carry_are_unreachable_with_the_limit() {
        let (facts, scenario) = (device("igb"), scenario());
        let trial = Trial { scenario: &scenario, path: NATIVE };
        let length = scenario.frames[0].bytes.len();
        let lost = |_: &[u8]| Some(FrameFate::Lost);
        let reason = under(&facts).not_carried(&trial, carried(length - 1, &|_| None)).unwrap();
        assert!(reason.contains(&length.to_string()) && reason.contains("1508"), "{reason}");
        let reason = under(&facts).not_carried(&trial, carried(9000, &lost)).unwrap();
        assert!(reason.starts_with("does not arrive, with or without a program: Ethernet"), "{reason}");
        let altered = |_: &[u8]| Some(FrameFate::Altered);
        assert!(
            under(&facts)
                .not_carried(&trial, carried(9000, &altered))
                .unwrap()
                .contains("modified in transit")
        );
        let strict = Facts { shortest: length + 1, ..facts.clone() };
        assert!(under(&strict).not_carried(&trial, carried(9000, &|_| None)).is_some());
        // A test run does not use the path.
        let test_run = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
        let trial = Trial { scenario: &scenario, path: test_run };
        assert_eq!(under(&strict).not_carried(&trial, carried(0, &lost)), None);
    }

    #[test]
    fn a_short_tagged_frame_is_unreachable_for_a_generic_program_above_another_device() {
        let (facts, mut scenario) = (Facts { stacked: true, ..device("macvlan") }, scenario());
        scenario.frames[0].bytes.truncate(12);
        scenario.frames[0].bytes.extend([0x81, 0x00, 0, 1, 0x08]);
        let reason = |mode| {
            let path = TrialPath { mode, ..NATIVE };
            under(&facts).not_carried(&Trial { scenario: &scenario, path }, carried(9000, &|_| None))
        };
        assert!(reason(Mode::Generic).unwrap().contains("lower device"));
        assert_eq!(reason(Mode::Native), None);
    }

    #[test]
    fn a_frame_that_the_path_changes_is_named_with_both_lengths() {
        let facts = Facts {
            padded_to: 60,
            driver_strips: Strips { customer: true, service: false },
            ..device("igb")
        };
        let tagged = |length: usize| {
            let mut bytes = [&[7; 12][..], &[0x81, 0x00, 0, 5]].concat();
            bytes.resize(length, 9);
            bytes
        };
        let reason = |mode, frames: &[Vec<u8>]| {
            changed_on_arrival(&facts, mode, frames.iter().map(Vec::as_slice)).unwrap_or_default()
        };
        let long = vec![7; 60];
        assert_eq!(
            reason(Mode::Generic, &[long.clone(), vec![7; 38]]),
            "frame 2 of 38 bytes arrives as 60 bytes on this path: it is padded"
        );
        assert_eq!(
            reason(Mode::Native, &[tagged(64)]),
            "frame 1 of 64 bytes arrives as 60 bytes on this path: its VLAN tag is stripped"
        );
        assert!(
            reason(Mode::Native, &[tagged(30)])
                .ends_with("as 56 bytes on this path: it is padded, and its VLAN tag is stripped")
        );
        assert!(
            reason(Mode::Native, &[vec![7; 13]])
                .starts_with("frame 1 of 13 bytes is shorter than the 14 bytes")
        );
        // Generic mode keeps the tag here, and a test run does not use the path.
        assert_eq!(reason(Mode::Generic, &[long, tagged(64)]), "");
        assert_eq!(reason(Mode::Unattached, &[tagged(30), vec![7; 13]]), "");
    }

    #[test]
    fn only_a_device_may_leave_queues_unused() {
        let mut scenario = scenario();
        scenario.spread.queues = Some(4);
        let trial = Trial { scenario: &scenario, path: NATIVE };
        let two = Counts::from([(0, 5), (1, 3)]);
        let three = BTreeMap::from([(0, 5), (1, 3), (2, 1)]);
        let nic = device("igb");
        assert!(under(&nic).not_spread(&trial, &two).is_some());
        assert_eq!(under(&nic).not_spread(&trial, &three), None);
        assert_eq!(under(&Facts::veth()).not_spread(&trial, &two), None);
    }
}

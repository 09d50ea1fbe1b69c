//! Runs cases: makes or takes the device that a case needs, and turns what happened into a result.

use xdproof_netns::{Host, IfIndex, LinkName, NetNs, VirtualKind, Worker};

use crate::{
    error::chain,
    judge::trial::attach_step,
    model::{AttachTestRecord, StepRecord, Verdict},
    ports::PortPair,
    program::ProgramError,
    suites::attach_semantics::{
        case::{AttachCase, CaseBody, CaseTarget},
        error::CaseError,
        fixture::{AttachFixture, TestPrograms},
    },
};

/// The kernel's name of the driver of the pairs.
const VETH: &str = "veth";

/// MTU of the veth pairs in bytes, which bounds the frames of a TCP stream.
const MTU: u32 = 1500;

/// A device on which cases run that need nothing else.
#[derive(Clone, Copy, Debug)]
pub struct TargetDevice<'a> {
    /// A thread in its namespace.
    pub worker: &'a Worker,
    pub index: IfIndex,
    /// The kernel's name of its driver.
    pub driver: &'a str,
    /// Set if the driver has native XDP.
    pub native: bool,
}

/// Runs cases with programs that are loaded once for all of them.
#[derive(Debug)]
pub struct AttachSuite {
    programs: TestPrograms,
}

impl AttachSuite {
    /// Loads the programs that cases attach. Needs root, or `CAP_BPF` and `CAP_NET_ADMIN`.
    pub fn open() -> Result<Self, ProgramError> {
        Ok(Self { programs: TestPrograms::load()? })
    }

    /// Runs a case on links and in namespaces made for it. Needs root, or `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`.
    #[must_use]
    pub fn run(&self, case: &AttachCase) -> AttachTestRecord {
        let mut steps = Vec::new();
        let (driver, ended) = match case.target {
            CaseTarget::Device | CaseTarget::NativeDevice | CaseTarget::Expendable => {
                (VETH, self.on_veth(case, 1, 1, &mut steps))
            }
            CaseTarget::Veth { dut_queues, tester_queues } => {
                (VETH, self.on_veth(case, dut_queues, tester_queues, &mut steps))
            }
            CaseTarget::Loopback => ("lo", self.on_virtual(case, "lo", None, &mut steps)),
            CaseTarget::Virtual(kind) => {
                let driver = match kind {
                    VirtualKind::Bridge => "bridge",
                    VirtualKind::Ifb => "ifb",
                    VirtualKind::Dummy => "dummy",
                };
                (driver, self.on_virtual(case, driver, Some(kind), &mut steps))
            }
        };
        result(case, driver, ended, steps)
    }

    /// Runs a case on a device of the caller's that has no program, and leaves it without one. A case that needs more than a
    /// device, or native XDP that the device lacks, is skipped.
    #[must_use]
    pub fn run_on(&self, case: &AttachCase, device: &TargetDevice<'_>) -> AttachTestRecord {
        let mut steps = Vec::new();
        let driver = device.driver;
        let ended = match case.target {
            CaseTarget::NativeDevice if !device.native => {
                Err(CaseError::NotApplicable { reason: format!("{driver} has no native XDP") })
            }
            CaseTarget::Device | CaseTarget::NativeDevice => {
                self.on_device(case, device.worker, device.index, None, &mut steps)
            }
            CaseTarget::Expendable
            | CaseTarget::Veth { .. }
            | CaseTarget::Loopback
            | CaseTarget::Virtual(_) => {
                Err(CaseError::NotApplicable { reason: format!("the case is not about {driver}") })
            }
        };
        result(case, driver, ended, steps)
    }

    fn on_veth(
        &self,
        case: &AttachCase,
        dut_queues: u32,
        tester_queues: u32,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), CaseError> {
        let PortPair { topology, tester, dut, .. } =
            PortPair::veth_with_queues(MTU, tester_queues, dut_queues)?;
        let peer = (&tester, topology.tester.index);
        self.on_device(case, &dut, topology.dut.index, Some(peer), steps)
    }

    /// Runs a case on the loopback device, or on a new link of a kind.
    fn on_virtual(
        &self,
        case: &AttachCase,
        driver: &str,
        kind: Option<VirtualKind>,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), CaseError> {
        let worker = Worker::spawn(&NetNs::create()?, "dut")?;
        let name: LinkName = if kind.is_some() { "dut" } else { "lo" }.parse()?;
        let made = worker.call(move |host: &mut Host| {
            kind.map_or(Ok(()), |kind| host.create_virtual(&name, kind))?;
            host.link(&name)
        });
        let index = match made {
            Ok(link) => link.index,
            // The reply of rtnl_newlink() of net/core/rtnetlink.c when no module knows the kind.
            Err(error) if error.errno() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
                return Err(CaseError::NotApplicable { reason: format!("this kernel has no {driver}") });
            }
            Err(error) => return Err(error.into()),
        };
        self.on_device(case, &worker, index, None, steps)
    }

    fn on_device(
        &self,
        case: &AttachCase,
        worker: &Worker,
        index: IfIndex,
        peer: Option<(&Worker, IfIndex)>,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), CaseError> {
        match &case.body {
            CaseBody::Steps(its) => AttachFixture::new(worker, index, peer, &self.programs)?
                .run(|fixture| fixture.perform(its), steps),
            CaseBody::Function(function) => {
                let own = TestPrograms::load()?;
                AttachFixture::new(worker, index, peer, &own)?.run(|fixture| function(fixture), steps)
            }
        }
    }
}

/// Returns the result of a case: a pass needs steps, and each of them as expected. A case that checks nothing is an error.
fn result(
    case: &AttachCase,
    nic: &str,
    ended: Result<(), CaseError>,
    steps: Vec<StepRecord>,
) -> AttachTestRecord {
    let mismatches: Vec<_> = steps.iter().filter_map(attach_step).collect();
    let verdict = match ended {
        _ if !mismatches.is_empty() => Verdict::Fail(mismatches),
        Err(CaseError::NotApplicable { reason }) => Verdict::Skip { reason },
        Err(error) => Verdict::Error { reason: chain(&error) },
        Ok(()) if steps.is_empty() => Verdict::Error { reason: "the case has no step".to_owned() },
        Ok(()) => Verdict::Pass,
    };
    AttachTestRecord {
        id: case.id.clone(),
        fact: case.row.to_owned(),
        nic: nic.to_owned(),
        verdict: verdict.kind(),
        reason: verdict.reason(),
        steps,
    }
}

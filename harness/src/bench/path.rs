//! A path: ports with a program attached to the DUT, and trials of the rate at which frames get from the
//! injector into the map.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use xdproof_netns::{NetNs, Statistics, TxOutcome, Worker, XdpMode};

use crate::{
    bench::{
        machine::{MachineReading, thread_cpu_time},
        programs::Loaded,
    },
    error::chain,
    exchange,
    inject::{cpu::Pinned, pace::Pps, sender::Sender},
    measure::{median, traffic::Traffic},
    model::{
        BURSTS, InjectorKind, Losses, MAX_PREEMPTED, MOST_STEAL, MeasuredDevice, ProgramRole, Sample, Void,
    },
    plan::needs::Needs,
    program::{Attachment, RunCounting, Width},
    testbed::{PortPair, Testbed},
    trial::attaching::{NoRig, attach_at_dut},
};

/// Time in which one more of the frames that were sent must be counted or be known as lost. A frame that has
/// not arrived by then never does, and a trial has to end early: there may be many of them.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(300);

/// The same if frames cross a device, whose driver may update its statistics by a timer: e1000's watchdog
/// does so every two seconds.
const DEVICE_TIMEOUT: Duration = Duration::from_millis(2500);

/// Time that the first frame may take to reach a program that was just attached to a device.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Paths of one kind are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathKind {
    pub mode: XdpMode,
    pub needs: Needs,
    /// Set if frames are redirected to the DUT, for which a veth may need GRO.
    pub redirected: bool,
}

/// An error in preparing to send on a path.
#[derive(Debug, thiserror::Error)]
pub enum SenderSetupError {
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    #[error(transparent)]
    Sender(#[from] crate::inject::sender::SenderError),
    #[error("the injector cannot send these frames")]
    Load {
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Ports with a program attached to the DUT.
// The order of the fields is the order in which they are dropped: the program is detached before its device goes.
#[derive(Debug)]
pub struct MeasuredPath {
    attachment: Attachment,
    senders: HashMap<InjectorKind, Senders>,
    ports: Arc<PortPair>,
    kind: PathKind,
    driver: String,
    arrival_timeout: Duration,
}

/// A sender for each CPU, and the frames that they are prepared to send.
#[derive(Debug)]
struct Senders {
    each: Vec<Sender>,
    /// A namespace for each, whose loopback device keeps a program that creates live frames in the kernel's
    /// dispatcher.
    shelves: Vec<Worker>,
    loaded: Option<Traffic>,
}

/// The frames of a trial and the way in which they are sent.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    pub injector: InjectorKind,
    pub traffic: &'a Traffic,
    /// Frames from each CPU, in each of [`BURSTS`].
    pub frames: u32,
    /// CPUs that send.
    pub cpus: &'a [usize],
    /// Frames per second over all CPUs; none: as many as possible.
    pub rate: Option<Pps>,
}

/// The counters before or after the program ran.
struct Look {
    counted: u64,
    tester: Statistics,
    dut: Statistics,
}

impl MeasuredPath {
    /// Acquires ports and attaches a program to the DUT. Where frames cross a device, it waits for the first one.
    pub fn up(testbed: &dyn Testbed, kind: PathKind, program: &Loaded) -> Result<Self, NoRig> {
        let facts = testbed.facts();
        let (attachment, ports) = attach_at_dut(testbed, &kind.needs, &program.program, kind.mode)?;
        ports.keep_frames_apart().map_err(NoRig::failed)?;
        testbed.set_offloads(&ports, &kind.needs.offloads)?;
        if kind.redirected {
            ports.take_redirected(kind.mode).map_err(NoRig::failed)?;
        }
        let arrival_timeout = if facts.asynchronous { DEVICE_TIMEOUT } else { ARRIVAL_TIMEOUT };
        let path = Self {
            attachment,
            senders: HashMap::new(),
            ports,
            kind,
            driver: facts.driver.clone(),
            arrival_timeout,
        };
        if facts.asynchronous {
            path.wait_for_first_frame(program)?;
        }
        Ok(path)
    }

    fn wait_for_first_frame(&self, program: &Loaded) -> Result<(), NoRig> {
        // Only meanwhile: counting slows down every run.
        let _counting = RunCounting::enable().map_err(NoRig::failed)?;
        let mut sender = Sender::open(InjectorKind::Pnet, &self.ports).map_err(NoRig::failed)?;
        let first = exchange::until_first_frame(&program.program, &mut sender, FIRST_FRAME_TIMEOUT);
        match first.map_err(NoRig::failed)? {
            Some(_) => Ok(()),
            None => Err(NoRig::NoTraffic(format!(
                "attached in {} mode, and no frame reached the program within {} s, although frames arrive without it",
                self.kind.mode,
                FIRST_FRAME_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Returns notes about the way in which frames are sent.
    #[must_use]
    pub fn notes(&self, injector: InjectorKind, traffic: &Traffic) -> Vec<String> {
        let PathKind { mode, redirected, .. } = self.kind;
        let gro = redirected && mode == XdpMode::Generic;
        let gro = gro.then(|| {
            "GRO is on at the DUT: without it a veth in generic mode takes no live frame".to_owned()
        });
        let way = self.senders.get(&injector).and_then(|senders| match senders.each.first() {
            Some(Sender::Ring(ring)) => ring.note(traffic.longest()),
            _ => None,
        });
        gro.into_iter().chain(way).collect()
    }

    /// Returns the DUT as the fingerprint has it.
    pub fn device(&self) -> Result<MeasuredDevice, xdproof_netns::Error> {
        let index = self.ports.topology.dut.index;
        let (link, offloads) =
            self.ports.dut.call(move |host| Ok((host.link_by_index(index)?, host.offloads(index)?)))?;
        let on = offloads.iter().filter(|(_, state)| state.active).map(|(offload, _)| offload.to_string());
        Ok(MeasuredDevice {
            driver: self.driver.clone(),
            firmware: None,
            mtu: link.settings.mtu,
            rx_queues: link.rx_queues,
            tx_queues: link.tx_queues,
            offloads: on.collect(),
        })
    }

    /// Prepares to send such frames by an injector, from each of the tester's queues.
    pub fn prepare(&mut self, injector: InjectorKind, traffic: &Traffic) -> Result<(), SenderSetupError> {
        if !self.senders.contains_key(&injector) {
            let mut senders = Senders { each: Vec::new(), shelves: Vec::new(), loaded: None };
            for queue in 0..self.kind.needs.queues {
                let shelf = Worker::spawn(&NetNs::create()?, "shelf")?;
                senders.each.push(Sender::open_on(injector, &self.ports, queue, &shelf)?);
                senders.shelves.push(shelf);
            }
            self.senders.insert(injector, senders);
        }
        let Some(senders) =
            self.senders.get_mut(&injector).filter(|senders| senders.loaded.as_ref() != Some(traffic))
        else {
            return Ok(());
        };
        // The frames that were loaded before are gone, even if not all of these can be loaded.
        senders.loaded = None;
        let frames = borrowed(traffic);
        for sender in &mut senders.each {
            sender.load(&frames).map_err(|source| SenderSetupError::Load { source })?;
        }
        senders.loaded = Some(traffic.clone());
        Ok(())
    }

    /// Rounds a number of frames from each CPU up to whole bursts of the injector.
    #[must_use]
    pub fn whole_bursts(&self, injector: InjectorKind, frames: u32) -> u32 {
        let grain =
            self.senders.get(&injector).and_then(|senders| senders.each.first()).map_or(1, Sender::grain);
        frames.div_ceil(grain).max(1) * grain
    }

    /// Replaces the attached program, sends, and waits until each frame is counted or known as lost.
    ///
    /// # Errors
    ///
    /// When the machine cannot be read. An error that only concerns the trial makes it void.
    pub fn trial(&mut self, program: &Loaded, load: Load<'_>, role: ProgramRole) -> io::Result<Sample> {
        if self.attachment.id != program.program.identity().id {
            self.attachment.replace(&program.program).map_err(io::Error::other)?;
        }
        let slots: Vec<u8> = load.traffic.slots.keys().copied().collect();
        let reading = MachineReading::take()?;
        let before = self.look(program, &slots)?;
        let runs = || program.program.runs().map_err(io::Error::other);
        let runs_before = runs()?;
        let per_cpu_before = program.counters.counted_by_cpu(&slots).map_err(io::Error::other)?;
        let sent = self.send(load);
        let begun = sent.begun;
        let offered = sent.handed.accepted + sent.handed.dropped;
        let width = program.counters.width();
        // The count is read first and by itself, because it ends the measured time.
        let mut deadline = Instant::now() + self.arrival_timeout;
        let mut accounted_before = 0;
        let (mut ended, mut after);
        loop {
            let counted = if program.is_null { None } else { Some(count(program, &slots)?) };
            ended = Instant::now();
            let arrived =
                counted.is_some_and(|counted| added(program, width, before.counted, counted) >= offered);
            after = self.look(program, &slots)?;
            let softnet = MachineReading::take()?.since(&reading).softnet_dropped;
            let accounted = added(program, width, before.counted, after.counted)
                + losses(&before, &after, softnet).frames(&self.driver);
            if arrived || accounted >= offered || ended > deadline {
                break;
            }
            if accounted > accounted_before {
                (accounted_before, deadline) = (accounted, Instant::now() + self.arrival_timeout);
            }
            std::thread::yield_now();
        }
        let meanwhile = MachineReading::take()?.since(&reading);
        let losses = losses(&before, &after, meanwhile.softnet_dropped);
        let counted = added(program, width, before.counted, after.counted);
        let lost = losses.frames(&self.driver);
        // 0 unless the kernel counts them, which slows down each.
        let ran = runs()?.wrapping_sub(runs_before);
        let per_cpu = program.counters.counted_by_cpu(&slots).map_err(io::Error::other)?;
        let per_cpu = per_cpu.iter().zip(&per_cpu_before).map(|(after, before)| width.added(*before, *after));
        let ended = if program.is_null { sent.ended } else { ended };
        let time_ns =
            u64::try_from(ended.saturating_duration_since(begun).as_nanos()).map_err(io::Error::other)?;
        let away = 1.0 - sent.cpu_ns as f64 / sent.busy_ns.max(1) as f64;
        let void = match sent.failure {
            Some(reason) => Some(Void::Injector { reason }),
            None if !program.is_null && ran + lost == offered && ran != counted => {
                Some(Void::Miscounted { ran, counted })
            }
            None if counted + lost != offered => {
                Some(Void::Conservation { sent: offered, counted, explained: lost })
            }
            None if meanwhile.softnet_dropped > 0 => {
                Some(Void::Softnet { dropped: meanwhile.softnet_dropped })
            }
            None if meanwhile.steal > MOST_STEAL => Some(Void::Steal { share: meanwhile.steal }),
            None if counted == 0 => Some(Void::Injector { reason: "each frame was lost".to_owned() }),
            None if away > MAX_PREEMPTED => Some(Void::Preempted { share: away }),
            None => sent.migration,
        };
        // A frame that was lost took less time to send than one that is counted, and is not role of the rate.
        let ns_per_frame =
            if counted == 0 { 0.0 } else { sent.ns_per_frame * offered as f64 / counted as f64 };
        Ok(Sample {
            block: 0,
            control: false,
            role,
            sent: offered,
            counted,
            lost,
            time_ns,
            ns_per_frame,
            cpu_ns: sent.cpu_ns,
            steal: meanwhile.steal,
            losses,
            per_cpu: per_cpu.collect(),
            void,
        })
    }

    fn look(&self, program: &Loaded, slots: &[u8]) -> io::Result<Look> {
        let statistics = |worker: &Worker, index| {
            let link = worker.call(move |host| host.link_by_index(index)).map_err(io::Error::other)?;
            Ok::<_, io::Error>(link.statistics)
        };
        let PortPair { topology, tester, dut, .. } = &*self.ports;
        // The DUT's first: frames that it has counted, the tester has counted before.
        let dut = statistics(dut, topology.dut.index)?;
        let tester = statistics(tester, topology.tester.index)?;
        let counted = if program.is_null { dut.rx_packets } else { count(program, slots)? };
        Ok(Look { counted, tester, dut })
    }

    fn send(&mut self, load: Load<'_>) -> Sent {
        let Load { injector, traffic, frames, cpus, rate } = load;
        let frames_of = borrowed(traffic);
        let each: &mut [Sender] =
            self.senders.get_mut(&injector).map_or(&mut [], |senders| senders.each.as_mut_slice());
        let share = rate.map(|Pps(rate)| Pps(rate / cpus.len().max(1) as f64));
        // A CPU without a sender would keep the others waiting.
        let start = Barrier::new(cpus.len().min(each.len()));
        let one = |sender: &mut Sender, cpu: usize| -> Sent {
            let pinned = Pinned::on(cpu);
            start.wait();
            let (cpu_before, begun) = (thread_cpu_time(), Instant::now());
            let mut result: io::Result<TxOutcome> = Ok(TxOutcome::default());
            let (mut ended, mut bursts) = (begun, Vec::new());
            for _ in 0..BURSTS {
                let sent = sender.repeat(&frames_of, frames, share);
                let now = Instant::now();
                bursts.push(now.duration_since(ended).as_nanos() as f64 / f64::from(frames));
                ended = now;
                result = result.and_then(|before| Ok(sum(before, sent?)));
            }
            let cpu_ns = thread_cpu_time() - cpu_before;
            let ns_per_frame = median(&bursts).unwrap_or(f64::NAN);
            let busy_ns = u64::try_from(ended.duration_since(begun).as_nanos()).unwrap_or(u64::MAX);
            let now = rustix::thread::sched_getcpu();
            let migration = (now != cpu).then(|| Void::Migration {
                from: u32::try_from(cpu).unwrap_or(u32::MAX),
                to: u32::try_from(now).unwrap_or(u32::MAX),
            });
            let failure = match (&pinned, &result) {
                (Err(error), _) => Some(format!("failed to stay on CPU {cpu}: {error}")),
                (_, Err(error)) => Some(format!("failed to send: {}", chain(error))),
                _ => None,
            };
            Sent {
                handed: result.unwrap_or_default(),
                begun,
                ended,
                ns_per_frame,
                busy_ns,
                cpu_ns,
                migration,
                failure,
            }
        };
        match (each, cpus) {
            ([only], [cpu]) => one(only, *cpu),
            (each, cpus) => std::thread::scope(|scope| {
                let threads: Vec<_> = each
                    .iter_mut()
                    .zip(cpus)
                    .map(|(sender, &cpu)| scope.spawn(move || one(sender, cpu)))
                    .collect();
                let sent = threads.into_iter().filter_map(|thread| thread.join().ok());
                sent.reduce(Sent::and).unwrap_or_else(Sent::nothing)
            }),
        }
    }
}

/// The work of the senders.
struct Sent {
    handed: TxOutcome,
    begun: Instant,
    ended: Instant,
    /// Time of a frame in the median of the bursts, in nanoseconds.
    ns_per_frame: f64,
    /// Time over all CPUs in nanoseconds, and the CPU time in it.
    busy_ns: u64,
    cpu_ns: u64,
    migration: Option<Void>,
    failure: Option<String>,
}

impl Sent {
    fn and(self, other: Self) -> Self {
        Self {
            handed: sum(self.handed, other.handed),
            // Rates add up.
            ns_per_frame: 1.0 / (1.0 / self.ns_per_frame + 1.0 / other.ns_per_frame),
            begun: self.begun.min(other.begun),
            ended: self.ended.max(other.ended),
            busy_ns: self.busy_ns + other.busy_ns,
            cpu_ns: self.cpu_ns + other.cpu_ns,
            migration: self.migration.or(other.migration),
            failure: self.failure.or(other.failure),
        }
    }

    fn nothing() -> Self {
        let now = Instant::now();
        let failure = Some("there is no sender".to_owned());
        Self {
            handed: TxOutcome::default(),
            begun: now,
            ended: now,
            // JSON has no other number for this.
            ns_per_frame: 0.0,
            busy_ns: 0,
            cpu_ns: 0,
            migration: None,
            failure,
        }
    }
}

fn sum(one: TxOutcome, other: TxOutcome) -> TxOutcome {
    TxOutcome { accepted: one.accepted + other.accepted, dropped: one.dropped + other.dropped }
}

fn borrowed(traffic: &Traffic) -> Vec<(&[u8], u32)> {
    traffic.frames.iter().map(|(frame, times)| (frame.as_slice(), *times)).collect()
}

fn count(program: &Loaded, slots: &[u8]) -> io::Result<u64> {
    program.counters.counted(slots).map_err(io::Error::other)
}

/// Returns the frames counted between two readings. A counter wraps at its width, and the device's statistics
/// at theirs.
fn added(program: &Loaded, width: Width, before: u64, after: u64) -> u64 {
    if program.is_null { after.wrapping_sub(before) } else { width.added(before, after) }
}

fn losses(before: &Look, after: &Look, softnet: u64) -> Losses {
    let grown =
        |of: fn(&Statistics) -> u64, at: fn(&Look) -> &Statistics| of(at(after)).wrapping_sub(of(at(before)));
    Losses {
        tx_dropped: grown(|its| its.tx_dropped, |look| &look.tester),
        tx_errors: grown(|its| its.tx_errors, |look| &look.tester),
        rx_dropped: grown(|its| its.rx_dropped, |look| &look.dut),
        rx_missed: grown(|its| its.rx_missed, |look| &look.dut),
        softnet,
    }
}

//! `xdproof watch`: the counter on one interface, live.
//!
//! Promises: a rate is packets over the time that passed, and nothing stays attached, however it ends.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;
use xdproof_ebpf::abi::protocol_name;
use xdproof_netns::{Error as NetError, LinkName, NetNs, Offloads, Worker, XdpMode};

use crate::{
    cli::{
        Exit, Failure, Output, args::ObjectArgs, interface::InterfaceName, signals::EndSignals,
        stderr::say_on_stderr,
    },
    exchange::difference,
    host::xdp_mode,
    model::{
        mode::Mode,
        observation::{self, Counts},
    },
    program::{Attachment, CounterMap, Program, ProgramError, Width},
};

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Interface of the current network namespace.
    interface: InterfaceName,
    /// Attach in generic (SKB) mode.
    #[arg(short = 'S', long, group = "wanted")]
    generic: bool,
    /// Attach in native (DRV) mode.
    #[arg(short = 'N', long, group = "wanted")]
    native: bool,
    /// Attach in this mode: generic, native, offload.
    ///
    /// By default the kernel chooses one.
    #[arg(long, value_enum, group = "wanted", value_name = "MODE")]
    mode: Option<Mode>,
    /// Print the rates every so many seconds.
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    interval: Duration,
    /// Exit after N reports [default: on Ctrl-C].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    object: ObjectArgs,
}

/// A line of output: the attachment, one protocol in one interval, or its total.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Attached { interface: String, mode: String, program: u32 },
    Rate { protocol: u8, name: Option<&'static str>, packets: u64, seconds: f64, packets_per_second: f64 },
    Total { protocol: u8, name: Option<&'static str>, packets: u64 },
}

impl Watch {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")
            .map_err(Failure::Machine)?;
        let mode = match (self.generic, self.native, self.mode) {
            (true, ..) => Some(XdpMode::Generic),
            (_, true, _) => Some(XdpMode::Native),
            (.., mode) => mode.and_then(xdp_mode::to_kernel),
        };
        runtime.block_on(async {
            // Before anything is attached: from here on, no signal ends the process before it detaches.
            let mut signals = EndSignals::listen()?;
            let station = WatchedInterface::set_up(&self.interface.resolve()?, mode, self.object.clone())?;
            let watched = self.watch(&station, &mut signals, output).await;
            station.take_down()?;
            watched.map(|()| Exit::AsExpected)
        })
    }

    async fn watch(
        &self,
        station: &WatchedInterface,
        signals: &mut EndSignals,
        output: Output,
    ) -> Result<(), Failure> {
        let mut printer = Printer { to: output.people(), json: output.json };
        if let Some(why) = station.silence() {
            say_on_stderr(format_args!("{}: {why}", self.interface));
        }
        let WatchedInterface { counters, attachment: Attachment { mode, id, .. }, .. } = station;
        // Read before the attachment is printed: whatever is sent from then on is counted.
        let (mut before, mut since) = (counters.counts()?, Instant::now());
        // Added up each time: over the whole run, a 32-bit counter may wrap more than once.
        let mut totals = Counts::new();
        printer
            .print(&Line::Attached {
                interface: self.interface.to_string(),
                mode: mode.to_string(),
                program: *id,
            })
            .map_err(Failure::output)?;
        let mut ticks = tokio::time::interval_at((since + self.interval).into(), self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut left = self.count;
        let mut gone = None;
        let mut is_down = station.silence().is_some();
        while left != Some(0) && gone.is_none() {
            let ended = tokio::select! {
                _ = ticks.tick() => false,
                () = signals.wait() => true,
            };
            let (now, counts) = (Instant::now(), counters.counts()?);
            let elapsed = now.duration_since(since);
            let added = sum(counters.width(), &before, &counts);
            printer.rates(&added, elapsed).map_err(Failure::output)?;
            for (protocol, packets) in added {
                *totals.entry(protocol).or_default() += packets;
            }
            (before, since) = (counts, now);
            if ended {
                break;
            }
            left = left.map(|left| left - 1);
            gone = station.end();
            let silent = station.silence();
            if let Some(why) = silent.filter(|_| !is_down) {
                say_on_stderr(format_args!("{}: {why}", self.interface));
            }
            is_down = silent.is_some();
        }
        printer.totals(&totals).map_err(Failure::output)?;
        gone.map_or(Ok(()), |what| Err(Failure::Machine(anyhow!("{}: {what}", self.interface))))
    }
}

/// A counter on an interface, with the settings to restore there.
struct WatchedInterface {
    // The attachment holds the program.
    counters: CounterMap,
    attachment: Attachment,
    worker: Worker,
    /// None where the kernel does not report them.
    offloads: Option<Offloads>,
}

impl WatchedInterface {
    fn set_up(name: &LinkName, mode: Option<XdpMode>, object: ObjectArgs) -> Result<Self, Failure> {
        let worker = NetNs::current().and_then(|here| Worker::spawn(&here, "watch")).map_err(network)?;
        let wanted = name.clone();
        let link = worker.call(move |host| host.link(&wanted)).map_err(|error| match error {
            NetError::NoSuchLink { name } => {
                Failure::Machine(anyhow!("no interface `{name}` in this network namespace"))
            }
            other => network(other),
        })?;
        let object = object.object();
        if !link.ethernet && !link.loopback {
            let what = format!("{name} has no Ethernet header ({})", link.header);
            if object.path.is_none() {
                return Err(Failure::Machine(anyhow!(
                    "{what}: the counter would read its packets as Ethernet frames"
                )));
            }
            anstream::eprintln!("{what}: the program has to read its packets without one");
        }
        let index = link.index;
        let offloads = worker.call(move |host| host.offloads(index)).ok();
        let (program, counters) = Program::load_counter(&object)?;
        match program.attach(&worker, index, mode) {
            Ok(attachment) => Ok(Self { counters, attachment, worker, offloads }),
            Err(error @ ProgramError::Refused { .. }) if !link.xdp.is_empty() => Err(Failure::Machine(
                anyhow::Error::new(error).context(format!("{name} already has an XDP program: {}", link.xdp)),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns why nothing can be counted any more, if that is so.
    fn end(&self) -> Option<&'static str> {
        let Attachment { index, id, mode, .. } = self.attachment;
        match self.worker.call(move |host| host.xdp(index)) {
            Ok(state) if state.attached(mode) == Some(id) => None,
            Ok(_) => Some("the program was detached by another process"),
            Err(_) => Some("the interface was deleted"),
        }
    }

    /// Returns why nothing can arrive at the moment, if that is so.
    fn silence(&self) -> Option<&'static str> {
        let index = self.attachment.index;
        match self.worker.call(move |host| host.link_by_index(index)) {
            Ok(link) if !link.settings.up => {
                Some("the interface is down, so that nothing arrives until `ip link set dev NAME up`")
            }
            Ok(link) if !link.running => Some("the interface has no carrier, so that nothing arrives"),
            _ => None,
        }
    }

    /// Detaches the program and restores what attaching it has changed: the kernel turns LRO and hardware GRO off for a
    /// generic program (`generic_xdp_install`) and leaves them off when it is detached.
    fn take_down(self) -> Result<(), Failure> {
        let Self { counters: _, attachment, worker, offloads } = self;
        let index = attachment.index;
        drop(attachment);
        let Some(before) = offloads else { return Ok(()) };
        worker
            .run(move |host| {
                let Ok(after) = host.offloads(index) else { return Ok(()) }; // The interface was deleted.
                for (offload, was) in before.iter() {
                    if after.get(offload).is_some_and(|is| is.active != was.active && is.changeable) {
                        host.set_offload(index, offload, was.active)?;
                    }
                }
                Ok(())
            })
            .and_then(|restored| restored)
            .map_err(network)
    }
}

fn network(error: NetError) -> Failure {
    ProgramError::from(error).into()
}

/// Returns what was added between two readings, over all CPUs.
fn sum(width: Width, before: &[Counts], after: &[Counts]) -> Counts {
    observation::sum(&difference(width, before, after))
}

struct Printer {
    to: Box<dyn Write>,
    json: bool,
}

impl Printer {
    fn rates(&mut self, counts: &Counts, elapsed: Duration) -> io::Result<()> {
        let seconds = elapsed.as_secs_f64();
        for (&protocol, &packets) in counts {
            self.print(&Line::Rate {
                protocol,
                name: protocol_name(protocol),
                packets,
                seconds,
                packets_per_second: per_second(packets, seconds),
            })?;
        }
        self.to.flush()
    }

    fn totals(&mut self, counts: &Counts) -> io::Result<()> {
        for (&protocol, &packets) in counts {
            self.print(&Line::Total { protocol, name: protocol_name(protocol), packets })?;
        }
        self.to.flush()
    }

    fn print(&mut self, line: &Line) -> io::Result<()> {
        if self.json {
            let mut stdout = io::stdout().lock();
            serde_json::to_writer(&mut stdout, line)?;
            writeln!(stdout)?;
            return stdout.flush();
        }
        match line {
            Line::Attached { interface, mode, program } => {
                say_on_stderr(format_args!(
                    "{interface}: program {program} attached in {mode} mode; stop with Ctrl-C"
                ));
                Ok(())
            }
            Line::Rate { protocol, name, packets_per_second, .. } => {
                writeln!(
                    self.to,
                    "proto {protocol}: {packets_per_second:>10.0} pkt/s  {}",
                    name.unwrap_or("")
                )
            }
            Line::Total { protocol, name, packets } => {
                writeln!(self.to, "total {protocol}: {packets:>10} packets  {}", name.unwrap_or(""))
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no interface receives 2^53 packets in an interval")]
fn per_second(packets: u64, seconds: f64) -> f64 {
    packets as f64 / seconds
}

fn seconds(text: &str) -> Result<Duration, String> {
    const LIMITS: std::ops::RangeInclusive<f64> = 0.01..=86_400.0;
    match text.parse() {
        Ok(seconds) if LIMITS.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected a number of seconds from {} to {}", LIMITS.start(), LIMITS.end())),
    }
}

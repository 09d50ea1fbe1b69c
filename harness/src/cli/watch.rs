//! `xdproof watch`: the counter on one interface, live.
//!
//! Promises: a rate is packets over the time that really passed, and nothing stays attached, however it ends.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;
use xdproof_ebpf::abi::protocol_name;
use xdproof_netns::{Error as NetError, LinkName, NetNs, Worker, XdpMode};

use super::args::{EndSignals, Exit, Failure, ObjectArgs, Output};
use crate::{
    attach::{AttachError, Attachment, Counter, Width},
    observe::difference,
    plan::Mode,
    verdict::{Counts, Observation},
};

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The interface, in this process's network namespace.
    #[arg(value_parser = link_name)]
    interface: LinkName,
    /// Attach in generic mode.
    #[arg(short = 'S', long, group = "wanted")]
    generic: bool,
    /// Attach in native mode.
    #[arg(short = 'N', long, group = "wanted")]
    native: bool,
    /// Attach in this mode; the default is what the kernel chooses.
    #[arg(long, value_enum, group = "wanted", value_name = "MODE")]
    mode: Option<Mode>,
    /// Seconds between two reports.
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    interval: Duration,
    /// End after this many reports; the default is to go on until interrupted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    object: ObjectArgs,
}

/// A line of output for programs: one protocol in one interval, or its total.
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
            (.., mode) => mode.and_then(Mode::attach),
        };
        runtime.block_on(async {
            // Before anything is attached: from here on, no signal ends us without our taking it off.
            let mut signals =
                EndSignals::listen().context("failed to listen for signals").map_err(Failure::Machine)?;
            let (counter, attachment) = attach(&self.interface, mode, self.object.clone())?;
            let watched = self.watch(&counter, &attachment, &mut signals, output).await;
            drop(attachment);
            watched.map(|()| Exit::AsExpected)
        })
    }

    async fn watch(
        &self,
        counter: &Counter,
        attachment: &Attachment,
        signals: &mut EndSignals,
        output: Output,
    ) -> Result<(), Failure> {
        let mut printer = Printer { to: output.people(), json: output.json };
        let Attachment { mode, id, .. } = attachment;
        // Read before anyone is told: whatever is sent from then on is counted.
        let (mut before, mut since) = (counter.counts()?, Instant::now());
        // Summed up as they come: over the whole time, a 32-bit counter may wrap more than once.
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
        while left != Some(0) {
            let ended = tokio::select! {
                _ = ticks.tick() => false,
                () = signals.wait() => true,
            };
            let (now, counts) = (Instant::now(), counter.counts()?);
            let elapsed = now.duration_since(since);
            let added = sum(counter.width(), &before, &counts);
            printer.rates(&added, elapsed).map_err(Failure::output)?;
            for (protocol, packets) in added {
                *totals.entry(protocol).or_default() += packets;
            }
            (before, since) = (counts, now);
            if ended {
                break;
            }
            left = left.map(|left| left - 1);
        }
        printer.totals(&totals).map_err(Failure::output)
    }
}

fn attach(
    name: &LinkName,
    mode: Option<XdpMode>,
    object: ObjectArgs,
) -> Result<(Counter, Attachment), Failure> {
    let machine = |error: NetError| Failure::Machine(anyhow!("failed to {error}"));
    let worker = NetNs::current().and_then(|here| Worker::spawn(&here, "watch")).map_err(machine)?;
    let wanted = name.clone();
    let link = worker.call(move |host| host.link(&wanted)).map_err(|error| match error {
        NetError::NoSuchLink { name } => Failure::Machine(anyhow!("there is no interface `{name}` here")),
        other => machine(other),
    })?;
    let object = object.object();
    let counter = Counter::load(&object)?;
    let (counter, attached) = counter.attach(&worker, link.index, mode)?;
    match attached {
        Ok(attachment) => Ok((counter, attachment)),
        Err(error @ AttachError::Refused { .. }) if !link.xdp.is_empty() => Err(Failure::Machine(
            anyhow::Error::new(error).context(format!("{name} has an XDP program already: {}", link.xdp)),
        )),
        Err(error) => Err(error.into()),
    }
}

/// What was added between two readings, over all CPUs.
fn sum(width: Width, before: &[Counts], after: &[Counts]) -> Counts {
    Observation { per_cpu: difference(width, before, after), ..Observation::default() }.counts()
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
                anstream::eprintln!("{interface}: program {program} attached in {mode} mode; Ctrl-C ends");
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

/// Packets over seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate of more than 2^53 packets a second is not to be feared"
)]
fn per_second(packets: u64, seconds: f64) -> f64 {
    packets as f64 / seconds
}

fn link_name(text: &str) -> Result<LinkName, String> {
    text.parse().map_err(|error| format!("failed to {error}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration >= Duration::from_millis(10) => Ok(duration),
        _ => Err("expected at least 0.01 seconds".to_owned()),
    }
}

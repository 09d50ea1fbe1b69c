//! The survey: which frames a path carries without the program under test.
//!
//! Promises: a frame is taken for carried only if it was seen to arrive; losses are looked for in windows, not one by one; it ends within
//! [`LIMIT`], and the frames that it has not reached by then are not taken for carried.
//!
//! A switch learns addresses from what it forwards. So where a frame is missing, all are sent again, now that the switch has seen all of
//! them; and a frame behind which nothing else arrives (one with the DUT's address as its source, which moves that address to the tester's
//! port) is not carried either.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use xdproof_netns::XdpMode;

use crate::{
    exchange::{self, PROBE_TYPE},
    model::facts::FrameFate,
    testbed::{
        PortPair,
        devices::{
            prober::{PathError, Prober},
            sight::Sight,
        },
    },
};

/// The most time that a survey takes.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A frame of a survey.
#[derive(Debug)]
pub(super) struct Surveyed<'f> {
    pub(super) frame: &'f [u8],
    /// The bytes that should arrive.
    pub(super) arriving: Vec<u8>,
    /// The stack discards it before a packet socket sees it.
    pub(super) is_discarded: bool,
}

/// Is told how many frames were sent, and how many of them were lost so far.
pub(super) type Tell<'a> = &'a mut dyn FnMut(usize, usize);

/// A survey while it goes on. Frames are named by their place in the list.
pub(super) struct Survey<'a> {
    ports: &'a PortPair,
    prober: Prober<'a>,
    frames: &'a [Surveyed<'a>],
    /// Frames in flight at once.
    window: usize,
    deadline: Instant,
    fates: BTreeMap<usize, FrameFate>,
    tell: Tell<'a>,
}

/// Result of sending the frames once.
#[derive(Default)]
struct Pass {
    missing: Vec<usize>,
    /// A frame arrived that is none of those that should.
    altered: bool,
}

impl<'a> Survey<'a> {
    pub(super) fn new(
        ports: &'a PortPair,
        frames: &'a [Surveyed<'a>],
        window: usize,
        tell: Tell<'a>,
    ) -> Result<Self, PathError> {
        let (prober, deadline) = (Prober::open(ports)?, Instant::now() + LIMIT);
        Ok(Self { ports, prober, frames, window: window.max(1), deadline, fates: BTreeMap::new(), tell })
    }

    /// Returns the fates of the frames that are not carried as they should be.
    pub(super) fn run(mut self) -> Result<Vec<(Vec<u8>, FrameFate)>, PathError> {
        let all = || 0..self.frames.len();
        let discarded: Vec<usize> = all().filter(|&one| self.frames[one].is_discarded).collect();
        let seen: Vec<usize> = all().filter(|&one| !self.frames[one].is_discarded).collect();
        if !self.pass(&seen)?.missing.is_empty() || !self.fates.is_empty() {
            let again: Vec<usize> = seen.into_iter().filter(|one| !self.fates.contains_key(one)).collect();
            let missing = self.pass(&again)?.missing;
            let Pass { missing, altered } = self.pass(&missing)?;
            for one in missing {
                self.note_missing(one, altered)?;
            }
        }
        self.look_by_program(&discarded)?;
        let frame = |(one, fate): (&usize, &FrameFate)| (self.frames[*one].frame.to_vec(), *fate);
        Ok(self.fates.iter().map(frame).collect())
    }

    /// Sends frames in windows, and returns those that are missing. Notes those behind which nothing arrives, and those for which no time
    /// is left.
    fn pass(&mut self, frames: &[usize]) -> Result<Pass, PathError> {
        let expected: HashSet<&[u8]> = self.frames.iter().map(|frame| frame.arriving.as_slice()).collect();
        let mut pass = Pass::default();
        let mut left: Vec<&[usize]> = frames.chunks(self.window).rev().collect();
        let mut sent = 0;
        while let Some(window) = left.pop() {
            if Instant::now() > self.deadline {
                self.fates.extend(window.iter().map(|&one| (one, FrameFate::Unseen)));
                continue;
            }
            let bytes: Vec<&[u8]> = window.iter().map(|&one| self.frames[one].frame).collect();
            let exchanged = self.prober.exchange(&bytes)?;
            if !exchanged.closed {
                self.prober.announce()?;
            }
            if exchanged.closed && exchanged.accepted || window.len() == 1 {
                let arrived = &exchanged.arrived;
                let is_missing = |one: &&usize| !arrived.contains(&self.frames[**one].arriving);
                pass.missing.extend(window.iter().filter(is_missing));
                let is_other = |frame: &[u8]| {
                    !expected.contains(frame)
                        && !exchange::is_link_control(frame)
                        && frame.get(12..14) != Some(&PROBE_TYPE[..])
                };
                pass.altered |= arrived.distinct().any(is_other);
                sent += window.len();
                if !exchanged.closed && !self.closes_alone(window[0])? {
                    self.fates.insert(window[0], FrameFate::Lost);
                }
            } else {
                let (first, second) = window.split_at(window.len() / 2);
                left.extend([second, first]);
            }
            (self.tell)(sent, pass.missing.len() + self.fates.len());
        }
        pass.missing.retain(|one| !self.fates.contains_key(one));
        Ok(pass)
    }

    /// Sends a frame alone again behind which nothing arrived; returns true if something does now.
    fn closes_alone(&mut self, one: usize) -> Result<bool, PathError> {
        if self.prober.exchange(&[self.frames[one].frame])?.closed {
            return Ok(true);
        }
        self.prober.announce()?;
        match self.prober.exchange(&[])?.closed {
            true => Ok(false),
            // Whatever this frame does, the path carries nothing any more.
            false => self.prober.wait_for_first().map(|()| false),
        }
    }

    /// Notes the fate of a frame that did not arrive three times; alone it shows if something else arrives in its place.
    fn note_missing(&mut self, one: usize, altered: bool) -> Result<(), PathError> {
        let Surveyed { frame, arriving, .. } = &self.frames[one];
        let fate = match altered {
            false => Some(FrameFate::Lost),
            true if Instant::now() > self.deadline => Some(FrameFate::Unseen),
            true => self.prober.fate(frame, arriving)?,
        };
        self.fates.extend(fate.map(|fate| (one, fate)));
        Ok(())
    }

    /// Sends frames that the stack discards while the counter is attached in generic mode, where it runs before that
    /// (`__netif_receive_skb_core()` of `net/core/dev.c`).
    fn look_by_program(&mut self, frames: &[usize]) -> Result<(), PathError> {
        if frames.is_empty() {
            return Ok(());
        }
        let Some(sight) = Sight::attach(self.ports, XdpMode::Generic)? else {
            self.fates.extend(frames.iter().map(|&one| (one, FrameFate::Unseen)));
            return Ok(());
        };
        for window in frames.chunks(self.window) {
            let bytes: Vec<&[u8]> = window.iter().map(|&one| self.frames[one].frame).collect();
            if sight.reaches(&mut self.prober, &bytes)? == Some(true) {
                continue;
            }
            for (&one, &frame) in window.iter().zip(&bytes) {
                let mut fate = Some(FrameFate::Unseen);
                for _ in 0..3 {
                    if Instant::now() > self.deadline {
                        break;
                    }
                    match sight.reaches(&mut self.prober, &[frame])? {
                        Some(true) => fate = None,
                        Some(false) => fate = Some(FrameFate::Lost),
                        None => self.prober.announce()?,
                    }
                    if fate.is_none() {
                        break;
                    }
                }
                self.fates.extend(fate.map(|fate| (one, fate)));
            }
        }
        Ok(())
    }
}

//! xdproof's own counter at the DUT, which sees what packet sockets do not: frames that the stack discards, and tags that were taken out
//! of a frame before a program gets it.

use xdproof_netns::XdpMode;
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use crate::{
    exchange::{ExchangeError, difference},
    model::{observation, rx_transform::Strips},
    program::{Attachment, Object, ProgramError, RunCounting, Subject},
    testbed::{
        PortPair,
        devices::prober::{PathError, Prober},
    },
};

/// Tags of a frame: more than the counter parses, so that it counts the protocol behind them only if one was taken out.
const TAGS: [[u8; 4]; 2] = [[0x81, 0x00, 0x00, 0x02], [0x81, 0x00, 0x00, 0x03]];

/// An IPv4 header and a UDP header, with 18 bytes of payload.
const UDP: [u8; 28] = [
    0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0xf6, 0xbb, 192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 0, 9, 0, 26, 0, 0,
];

/// Protocol number of UDP (IANA).
const UDP_NUMBER: u8 = 17;

/// Length in bytes of a frame with three tags in front of [`UDP`].
const TAGGED: usize = 12 + 3 * 4 + 2 + UDP.len() + 18;

/// The counter, attached to the DUT.
#[derive(Debug)]
pub(super) struct Sight {
    // The attachment holds the program.
    counter: Subject,
    _attachment: Attachment,
    _counting: RunCounting,
}

impl Sight {
    /// Attaches the counter in a mode; none where the device refuses it.
    pub(super) fn attach(ports: &PortPair, mode: XdpMode) -> Result<Option<Self>, PathError> {
        let attach = || -> Result<Self, ProgramError> {
            let counting = RunCounting::enable()?;
            let counter = Subject::load(&Object::default())?;
            let attachment = counter.program.attach(&ports.dut, ports.topology.dut.index, Some(mode))?;
            Ok(Self { counter, _attachment: attachment, _counting: counting })
        };
        match attach() {
            Ok(sight) => Ok(Some(sight)),
            Err(ProgramError::Refused { .. }) => Ok(None),
            Err(error) => Err(ExchangeError::from(error).into()),
        }
    }

    /// Sends frames and one more after them; returns true if the program has run exactly once for each, and none if the last one does
    /// not arrive.
    pub(super) fn reaches(
        &self,
        prober: &mut Prober<'_>,
        frames: &[&[u8]],
    ) -> Result<Option<bool>, PathError> {
        let before = self.counter.runs().map_err(ExchangeError::from)?;
        if !prober.exchange(frames)?.closed {
            return Ok(None);
        }
        let ran = self.counter.runs().map_err(ExchangeError::from)?.wrapping_sub(before);
        Ok(Some(ran == frames.len() as u64 + 1))
    }

    /// Returns the outer tags that are taken out of a frame before the program gets it; none where a tagged frame does not arrive.
    pub(super) fn strips(&self, prober: &mut Prober<'_>) -> Result<Option<Strips>, PathError> {
        let (customer, service) =
            (self.strips_tag(prober, [0x81, 0x00])?, self.strips_tag(prober, [0x88, 0xa8])?);
        Ok(customer.zip(service).map(|(customer, service)| Strips { customer, service }))
    }

    fn strips_tag(&self, prober: &mut Prober<'_>, outer: [u8; 2]) -> Result<Option<bool>, PathError> {
        let mut frame = [DUT_MAC, TESTER_MAC].concat();
        frame.extend(outer);
        frame.extend([0, 1]);
        frame.extend(TAGS.as_flattened());
        frame.extend([0x08, 0x00]);
        frame.extend(UDP);
        frame.resize(TAGGED, 0);
        for _ in 0..TRIES {
            let before = self.counter.counts().map_err(ExchangeError::from)?;
            if self.reaches(prober, &[&frame])? == Some(true) {
                let after = self.counter.counts().map_err(ExchangeError::from)?;
                let added = observation::sum(&difference(self.counter.width(), &before, &after));
                return Ok(Some(added.contains_key(&UDP_NUMBER)));
            }
        }
        Ok(None)
    }
}

/// Attempts before a frame counts as one that does not arrive.
const TRIES: u32 = 3;

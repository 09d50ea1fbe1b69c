//! Offering frames to something that has to refuse them.

use super::ExchangeError;

/// The result of offering frames that nothing should accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Each was refused (EINVAL).
    Refused {
        /// Their lengths in bytes, in the order in which they were offered.
        lengths: Vec<usize>,
    },
    /// One was accepted.
    Accepted {
        /// Its length in bytes.
        length: usize,
    },
}

/// Offers each frame by itself, until one is accepted.
///
/// # Errors
///
/// Any answer but a refusal of the frame as such.
pub fn offer_each<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    mut offer: impl FnMut(&'a [u8]) -> Result<(), ExchangeError>,
) -> Result<Offered, ExchangeError> {
    let mut lengths = Vec::new();
    for frame in frames {
        match offer(frame) {
            Ok(()) => return Ok(Offered::Accepted { length: frame.len() }),
            Err(error) if error.refused_frame() => lengths.push(frame.len()),
            Err(error) => return Err(error),
        }
    }
    Ok(Offered::Refused { lengths })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refusal(kind: io::ErrorKind) -> ExchangeError {
        ExchangeError::TestRun { source: kind.into() }
    }

    #[test]
    fn frames_are_offered_until_one_is_accepted() {
        let frames: [&[u8]; 3] = [&[0; 9], &[0; 14], &[0; 3]];
        let accepts = |from: usize| {
            offer_each(frames.into_iter(), |frame| {
                if frame.len() < from { Err(refusal(io::ErrorKind::InvalidInput)) } else { Ok(()) }
            })
        };
        assert_eq!(accepts(14).unwrap(), Offered::Accepted { length: 14 });
        assert_eq!(accepts(15).unwrap(), Offered::Refused { lengths: vec![9, 14, 3] });
        let broken = offer_each(frames.into_iter(), |_| Err(refusal(io::ErrorKind::PermissionDenied)));
        assert!(broken.is_err());
    }
}

//! Losses of frames by place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Frames that the machine's counters report as lost while frames were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Losses {
    /// Dropped by the tester's port (`tx_dropped`), including frames whose sending failed visibly.
    pub tx_dropped: u64,
    /// Not sent because of an error of the tester's port (`tx_errors`).
    pub tx_errors: u64,
    /// Dropped by the DUT, before or after the program (`rx_dropped`).
    pub rx_dropped: u64,
    /// Dropped because the DUT had no buffer (`rx_missed_errors`).
    pub rx_missed: u64,
    /// Dropped by the stack because a CPU's backlog was full (`/proc/net/softnet_stat`), of any device.
    pub softnet: u64,
}

impl Losses {
    /// Returns the number of frames lost before the program, each counted once.
    ///
    /// The DUT's `rx_dropped` is not included: the stack adds frames to it that no protocol wants, which the
    /// program has counted and passed (`__netif_receive_skb_core()` of `net/core/dev.c`). A frame that the
    /// backlog drops is counted by `softnet`. A veth's transmit function runs the peer's backlog and counts
    /// it in `tx_dropped` already (`veth_xmit()` of `drivers/net/veth.c`).
    #[must_use]
    pub fn frames(&self, driver: &str) -> u64 {
        let Self { tx_dropped, tx_errors, rx_dropped: _, rx_missed, softnet } = *self;
        let backlog = if driver == "veth" { 0 } else { softnet };
        tx_dropped + tx_errors + rx_missed + backlog
    }
}

#[cfg(test)]
mod tests {
    use super::Losses;

    #[test]
    fn a_frame_that_the_backlog_drops_is_one_loss_although_three_count_it() {
        let losses = Losses { tx_dropped: 5, rx_dropped: 5, softnet: 5, ..Losses::default() };
        assert_eq!(losses.frames("veth"), 5);
        let losses = Losses { rx_dropped: 5, softnet: 5, ..Losses::default() };
        assert_eq!(losses.frames("igb"), 5);
    }

    #[test]
    fn losses_at_different_places_add_up_and_what_the_stack_had_no_use_for_is_none() {
        let losses = Losses { tx_dropped: 1, tx_errors: 2, rx_dropped: 700, rx_missed: 8, softnet: 4 };
        assert_eq!(losses.frames("igb"), 1 + 2 + 8 + 4);
        assert_eq!(losses.frames("veth"), 1 + 2 + 8);
    }
}

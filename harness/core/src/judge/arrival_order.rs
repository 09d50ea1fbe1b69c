//! The order in which a path delivers frames if nothing is wrong with it. Pure.
//!
//! Promises: where a correct driver may reorder frames, no order is claimed. A false alarm is as bad as a miss.

use crate::model::observation::ArrivalOrder;

/// Everything that decides whether frames keep their order between the sender and a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderTraits {
    /// All frames leave by one transmit queue, or the queue of each follows from a hash of its headers.
    pub sender_keeps_order: bool,
    /// Frames are sent from several CPUs in turn. A veth runs the program in the sender's softirq, which counts a run before it hands
    /// the frame up: a frame from the next CPU can overtake it.
    pub cpus_in_turn: bool,
    /// Frames cross network devices. The tester picks a transmit queue by a hash (`netdev_pick_tx()` of `net/core/dev.c`), and its qdisc may
    /// serve flows in turn (`fq_codel`).
    pub crosses_devices: bool,
    /// Receive queues of the DUT.
    pub queues: u32,
    /// An end is a bond or a team, which may send the frames of a flow by several ports (`bond_xmit_roundrobin()` of
    /// `drivers/net/bonding/bond_main.c`).
    pub aggregated: bool,
    /// The DUT merges frames (GRO, LRO): it holds some back while others, even of the same flow, pass (a wrong checksum;
    /// `dev_gro_receive()` of `net/core/gro.c`).
    pub merges: bool,
}

impl OrderTraits {
    /// The order that these guarantee.
    #[must_use]
    pub fn arrival_order(self) -> ArrivalOrder {
        let Self { sender_keeps_order, cpus_in_turn, crosses_devices, queues, aggregated, merges } = self;
        if !sender_keeps_order || cpus_in_turn || aggregated || merges {
            ArrivalOrder::Unspecified
        } else if crosses_devices || queues > 1 {
            ArrivalOrder::PerFlow
        } else {
            ArrivalOrder::PerEtherType
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VETH: OrderTraits = OrderTraits {
        sender_keeps_order: true,
        cpus_in_turn: false,
        crosses_devices: false,
        queues: 1,
        aggregated: false,
        merges: false,
    };

    #[test]
    fn one_queue_of_a_veth_keeps_the_order_of_all_frames_of_a_type() {
        assert_eq!(VETH.arrival_order(), ArrivalOrder::PerEtherType);
    }

    #[test]
    fn several_queues_and_devices_keep_the_order_of_a_flow() {
        for path in [OrderTraits { queues: 4, ..VETH }, OrderTraits { crosses_devices: true, ..VETH }] {
            assert_eq!(path.arrival_order(), ArrivalOrder::PerFlow);
        }
    }

    #[test]
    fn a_path_that_may_reorder_a_flow_guarantees_nothing() {
        for path in [
            OrderTraits { sender_keeps_order: false, ..VETH },
            OrderTraits { cpus_in_turn: true, ..VETH },
            OrderTraits { aggregated: true, ..VETH },
            OrderTraits { merges: true, ..VETH },
        ] {
            assert_eq!(path.arrival_order(), ArrivalOrder::Unspecified);
        }
    }
}

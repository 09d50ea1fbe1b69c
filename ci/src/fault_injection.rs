//! Deliberate faults, for tests which show that each of them ends as an infrastructure failure (`--inject-fault`).

use std::str::FromStr;

use anyhow::{Context as _, Error, Result, ensure};

/// QEMU is started without the NIC.
pub(crate) const NO_NIC: &str = "no-nic";
/// The initrd lacks the NIC's module.
pub(crate) const NO_MODULE: &str = "no-module";

/// The kinds of faults; those that the host does not make are described in `guest/init`.
const KINDS: &[&str] = &["panic", "reset", "hang", "warn", "lost", NO_NIC, NO_MODULE];

/// A fault in a cell, in every machine or in the first only: `KIND@CELL` or `KIND@CELL/first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    kind_and_cell: String,
    first_only: bool,
}

impl Fault {
    /// Tells whether a machine, counted from 1, gets the fault.
    pub(crate) fn applies_to(&self, machine: u32) -> bool {
        !self.first_only || machine == 1
    }

    pub(crate) fn is(&self, kind: &str, cell: &str) -> bool {
        self.kind_and_cell == format!("{kind}@{cell}")
    }

    /// The kernel parameter that `guest/init` reads; it ignores the faults that the host makes.
    pub(crate) fn kernel_parameter(&self) -> String {
        format!("xdproof.fault={}", self.kind_and_cell)
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let kind_and_cell = text.trim_end_matches("/first");
        let (kind, _cell) = kind_and_cell.split_once('@').context("expected KIND@CELL or KIND@CELL/first")?;
        ensure!(KINDS.contains(&kind), "unknown fault `{kind}`; known are {}", KINDS.join(", "));
        Ok(Self { kind_and_cell: kind_and_cell.to_owned(), first_only: kind_and_cell != text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_passed_to_the_guest_as_requested() {
        let fault: Fault = "panic@igb".parse().unwrap();
        assert_eq!(fault.kernel_parameter(), "xdproof.fault=panic@igb");
        assert!(fault.applies_to(1) && fault.applies_to(2) && fault.is("panic", "igb"));
        let fault: Fault = "no-module@e1000/first".parse().unwrap();
        assert_eq!(fault.kernel_parameter(), "xdproof.fault=no-module@e1000");
        assert!(fault.applies_to(1) && !fault.applies_to(2));
        assert!("panic".parse::<Fault>().is_err() && "burn@igb".parse::<Fault>().is_err());
    }
}

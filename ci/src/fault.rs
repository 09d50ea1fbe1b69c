//! Faults that are made on purpose, to see that each ends as an infrastructure error (`--inject-fault`, for tests).

use std::{fmt, str::FromStr};

use clap::ValueEnum;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultKind {
    /// The guest's kernel panics while the cell runs.
    Panic,
    /// The machine resets while the cell runs.
    Reset,
    /// The guest falls silent when the cell begins.
    Hang,
    /// The guest's kernel prints a warning while the cell runs.
    Warn,
    /// The guest loses a port before it starts.
    Lost,
    /// The machine is built without the NIC.
    NoNic,
    /// The guest is built without the NIC's module.
    NoModule,
}

/// A fault in a cell, in the first machine only or in each: `KIND@CELL` or `KIND@CELL/first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: FaultKind,
    cell: String,
    first_only: bool,
}

impl Fault {
    /// Whether it is made in a machine, counted from 1.
    pub(crate) fn holds(&self, machine: u32) -> bool {
        !self.first_only || machine == 1
    }

    /// Whether it is of a kind and in a cell.
    pub(crate) fn is(&self, kind: FaultKind, cell: &str) -> bool {
        self.kind == kind && self.cell == cell
    }

    /// What tells the guest of it, on its kernel's command line; those that the host makes are told too, and ignored.
    pub(crate) fn parameter(&self) -> String {
        format!("xdproof.fault={self}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_possible_value();
        write!(f, "{}@{}", kind.as_ref().map_or("", |kind| kind.get_name()), self.cell)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, cell) = text.split_once('@').ok_or("it is like panic@igb or panic@igb/first")?;
        let kind = FaultKind::from_str(kind, false)?;
        let (cell, first_only) = match cell.strip_suffix("/first") {
            Some(cell) => (cell, true),
            None => (cell, false),
        };
        Ok(Self { kind, cell: cell.to_owned(), first_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_to_the_guest_as_it_was_asked_for() {
        let fault: Fault = "panic@igb".parse().unwrap();
        assert_eq!(fault.parameter(), "xdproof.fault=panic@igb");
        assert!(fault.holds(1) && fault.holds(2) && fault.is(FaultKind::Panic, "igb"));
        let fault: Fault = "no-module@e1000/first".parse().unwrap();
        assert_eq!(fault.parameter(), "xdproof.fault=no-module@e1000");
        assert!(fault.holds(1) && !fault.holds(2));
        assert!("panic".parse::<Fault>().is_err() && "burn@igb".parse::<Fault>().is_err());
    }
}

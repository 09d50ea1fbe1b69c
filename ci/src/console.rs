//! What a guest's kernel printed: faults of its own, and the end of it where a guest broke down.

use std::{collections::BTreeMap, path::Path};

/// Begins a fault of the kernel: a report of WARN, BUG, an Oops or a sanitizer (`lib/bug.c`, `kernel/panic.c`,
/// `mm/kasan/report.c`, `lib/ubsan.c`).
const FAULTS: &[&str] = &[
    "WARNING: ",
    "BUG: ",
    "kernel BUG at ",
    "Oops: ",
    "Oops ",
    "general protection fault",
    "stack segment: ",
    "invalid opcode: ",
    "UBSAN: ",
    "kmemleak: ",
    "unregister_netdevice: waiting for ",
];

/// Is part of a fault of the kernel, behind a name: a queue that a driver let hang (`net/sched/sch_generic.c`).
const FAULTS_WITHIN: &[&str] = &["NETDEV WATCHDOG: "];

/// Begins what a kernel prints when its processor got no time for long. In a guest that is the host's doing, or a hang.
const STALLS: &[&str] = &["watchdog: BUG: soft lockup", "rcu: INFO: ", "INFO: task ", "NMI watchdog: "];

const PANIC: &str = "Kernel panic - not syncing";

/// Prints `xdproof: cell NAME` in the kernel's log when a cell begins, so that what follows can be told apart.
const MARKER: &str = "xdproof: cell ";

/// Lines of a console that are told of a breakdown: a panic with its trace, and what came before.
const TAIL: usize = 100;

/// Something that a kernel said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// The cell during which it was said; none while the guest started.
    pub(crate) cell: Option<String>,
    /// The line, without its time.
    pub(crate) text: String,
}

/// All that a console tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Console {
    /// Faults of the kernel that it survived.
    pub(crate) faults: Vec<Remark>,
    /// Where its processor got no time.
    pub(crate) stalls: Vec<Remark>,
    /// Why it panicked, if it did.
    pub(crate) panic: Option<String>,
    /// The end of the console.
    pub(crate) tail: String,
    /// The end of it when each cell ended.
    tails: BTreeMap<String, String>,
}

impl Console {
    /// Reads a console's log; one that is not there said nothing.
    pub(crate) fn read(file: &Path) -> Self {
        Self::parse(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        let mut console = Self::default();
        let mut cell = None;
        let lines: Vec<String> = text.lines().map(printable).collect();
        let end = |at: usize| lines[at.saturating_sub(TAIL)..at].join("\n");
        for (at, line) in lines.iter().enumerate() {
            let Some(line) = kernel_text(line) else { continue };
            if let Some(name) = line.strip_prefix(MARKER) {
                if let Some(cell) = cell.replace(name.trim().to_owned()) {
                    console.tails.insert(cell, end(at));
                }
                continue;
            }
            let remark = || Remark { cell: cell.clone(), text: line.to_owned() };
            let begins = |with: &&str| line.starts_with(with);
            if line.starts_with(PANIC) {
                console.panic.get_or_insert_with(|| line.to_owned());
            } else if STALLS.iter().any(begins) {
                console.stalls.push(remark());
            } else if FAULTS.iter().any(begins) || FAULTS_WITHIN.iter().any(|part| line.contains(part)) {
                console.faults.push(remark());
            }
        }
        console.tail = end(lines.len());
        console
    }

    /// The end of the console when a cell ended.
    pub(crate) fn tail_of(&self, cell: &str) -> String {
        self.tails.get(cell).unwrap_or(&self.tail).clone()
    }

    /// The faults of the time when a cell ran.
    pub(crate) fn faults_of<'a>(&'a self, cell: Option<&'a str>) -> impl Iterator<Item = &'a str> {
        let of = move |remark: &&Remark| remark.cell.as_deref() == cell;
        self.faults.iter().filter(of).map(|remark| remark.text.as_str())
    }
}

/// A line without what a terminal would take for commands.
fn printable(line: &str) -> String {
    line.chars().filter(|character| !character.is_control() || *character == '\t').collect()
}

/// What the kernel printed in a line, without its time (`[   12.345678] `), which may follow something else without an end of
/// line; none if the line is not the kernel's.
fn kernel_text(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (time, text) = line[at + 1..].split_once("] ")?;
        let (seconds, fraction) = time.trim_start().split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(seconds) && digits(fraction)).then(|| caller_stripped(text))
    })
}

/// Without the thread or processor that printed it (`[    T1] `, `CONFIG_PRINTK_CALLER`).
fn caller_stripped(text: &str) -> &str {
    let caller = text.strip_prefix('[').and_then(|text| text.split_once("] "));
    match caller {
        Some((caller, rest)) if caller.trim_start().starts_with(['T', 'C']) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> Option<String> {
        Console::parse(&format!("[   12.345678] {line}\n")).faults.pop().map(|remark| remark.text)
    }

    #[test]
    fn faults_of_the_kernel_are_found() {
        for line in [
            "WARNING: CPU: 0 PID: 123 at net/core/dev.c:10434 netdev_run_todo+0x62/0x60",
            "WARNING: net/core/dev.c:11 at netdev_run_todo+0x62/0x60, CPU#0: xdproof/123",
            "WARNING: possible circular locking dependency detected",
            "WARNING: suspicious RCU usage",
            "BUG: KASAN: slab-use-after-free in veth_xdp_rcv+0x12/0x34",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
            "BUG: Bad page state in process xdproof  pfn:1234",
            "kernel BUG at net/core/skbuff.c:105!",
            "Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP",
            "UBSAN: array-index-out-of-bounds in drivers/net/ethernet/intel/igb/igb_main.c:1:2",
            "NETDEV WATCHDOG: eth0 (e1000): transmit queue 0 timed out",
            "e1000 0000:00:03.0 eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out 5120 ms",
            "unregister_netdevice: waiting for veth0 to become free. Usage count = 2",
        ] {
            assert_eq!(fault(line).as_deref(), Some(line));
        }
    }

    #[test]
    fn ordinary_lines_are_no_faults() {
        for line in [
            "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!",
            "igb 0000:01:00.0 eth2: igb: eth2 NIC Link is Up 1000 Mbps Full Duplex, Flow Control: RX/TX",
            "process 'xdproof' launched '/bin/busybox' with NULL argv: empty string added",
            "clocksource: tsc: mask: 0xffffffffffffffff max_cycles: 0x1, max_idle_ns: 1 ns",
            "e1000e: debug build: no BUG: found",
            "bond0: (slave veth0): Warning: No 802.3ad response from the link partner for any adapters in the bond",
            "Call Trace:",
            "---[ end trace 0000000000000000 ]---",
        ] {
            assert_eq!(fault(line), None);
        }
        let said_by_a_program = Console::parse("WARNING: CPU: 0 PID: 1 at nowhere\nBUG: none\n");
        assert_eq!(said_by_a_program.faults, []);
    }

    #[test]
    fn a_fault_is_found_behind_what_a_program_left_without_an_end_of_line_and_behind_the_printer_of_a_line() {
        let console = Console::parse(
            "pass vlan/qinq [0x1] ok[  1.5] BUG: a\n[    2.000001][   T12] x\n[    2.1] [    T1] BUG: b\n",
        );
        let texts: Vec<&str> = console.faults_of(None).collect();
        assert_eq!(texts, ["BUG: a", "BUG: b"]);
    }

    #[test]
    fn what_is_said_belongs_to_the_cell_that_ran() {
        let console = Console::parse(
            "[ 1.0] BUG: early\r\n[ 2.0] xdproof: cell igb\r\n[ 3.0] WARNING: CPU: 0\r\n[ 4.0] xdproof: cell tap\r\n\
             [ 5.0] BUG: late\r\n[ 6.0] watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [xdproof:71]\r\n",
        );
        assert_eq!(console.faults_of(None).collect::<Vec<_>>(), ["BUG: early"]);
        assert_eq!(console.faults_of(Some("igb")).collect::<Vec<_>>(), ["WARNING: CPU: 0"]);
        assert_eq!(console.faults_of(Some("tap")).collect::<Vec<_>>(), ["BUG: late"]);
        assert_eq!(console.stalls.len(), 1);
        assert!(console.tail_of("igb").ends_with("] WARNING: CPU: 0"), "{}", console.tail_of("igb"));
        assert_eq!(console.tail_of("tap"), console.tail);
        assert_eq!(console.panic, None);
    }

    #[test]
    fn a_panic_is_found_and_the_end_is_kept() {
        let text: String = (0..200).map(|number| format!("line {number}\u{1b}[0m\r\n")).collect();
        let console =
            Console::parse(&format!("{text}[   9.1] Kernel panic - not syncing: sysrq triggered crash\n"));
        assert_eq!(console.panic.as_deref(), Some("Kernel panic - not syncing: sysrq triggered crash"));
        assert_eq!(console.tail.lines().count(), TAIL);
        assert!(console.tail.starts_with("line 101[0m\n"), "{}", console.tail);
        assert_eq!(Console::read(Path::new("/nonexistent")), Console::default());
    }
}

//! The console of a guest: warnings and oopses of its kernel, and the last lines before a guest failed.

use std::{collections::BTreeMap, fs, path::Path};

/// Beginnings of WARN, BUG, Oops and sanitizer reports (`lib/bug.c`, `kernel/panic.c`, `mm/kasan/report.c`, `lib/ubsan.c`).
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

/// Transmit timeout of a driver's queue, which is printed behind the device's name (`net/sched/sch_generic.c`).
const TX_TIMEOUT: &str = "NETDEV WATCHDOG: ";

/// Beginnings of stall reports: in a guest, the host withheld the CPU or the guest hung.
const STALLS: &[&str] = &["watchdog: BUG: soft lockup", "rcu: INFO: ", "INFO: task ", "NMI watchdog: "];

const PANIC: &str = "Kernel panic - not syncing";

/// Begins the line that `guest/init` logs when a cell starts.
const CELL_MARKER: &str = "xdproof: cell ";

/// Console lines kept with an infrastructure failure: a panic with its trace, and the lines before it.
const TAIL_LINES: usize = 100;

/// Messages by the cell that ran at the time; none before the first one.
type Messages = BTreeMap<Option<String>, Vec<String>>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestLog {
    /// Faults that the kernel survived.
    faults: Messages,
    stalls: Messages,
    pub(crate) panic: Option<String>,
    /// The last lines of the console.
    pub(crate) tail: String,
    /// The last lines at the end of each cell.
    tails: BTreeMap<String, String>,
}

impl GuestLog {
    /// Reads a console log; a missing one is empty.
    pub(crate) fn read(file: &Path) -> Self {
        Self::parse(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        let mut log = Self::default();
        let mut cell: Option<String> = None;
        let lines: Vec<String> = text.lines().map(printable).collect();
        let tail = |end: usize| lines[end.saturating_sub(TAIL_LINES)..end].join("\n");
        for (number, line) in lines.iter().enumerate() {
            let Some(line) = message(line) else { continue };
            let begins = |with: &&str| line.starts_with(with);
            if let Some(name) = line.strip_prefix(CELL_MARKER) {
                if let Some(ended) = cell.replace(name.trim().to_owned()) {
                    log.tails.insert(ended, tail(number));
                }
            } else if line.starts_with(PANIC) {
                log.panic.get_or_insert_with(|| line.to_owned());
            } else if STALLS.iter().any(begins) {
                log.stalls.entry(cell.clone()).or_default().push(line.to_owned());
            } else if FAULTS.iter().any(begins) || line.contains(TX_TIMEOUT) {
                log.faults.entry(cell.clone()).or_default().push(line.to_owned());
            }
        }
        log.tail = tail(lines.len());
        log
    }

    /// Returns the last lines of the console at the end of a cell.
    pub(crate) fn tail_of(&self, cell: &str) -> String {
        self.tails.get(cell).unwrap_or(&self.tail).clone()
    }

    /// Returns the faults while a cell ran; with `None`, those before the first cell.
    pub(crate) fn faults_of(&self, cell: Option<&str>) -> &[String] {
        self.faults.get(&cell.map(str::to_owned)).map_or(&[], Vec::as_slice)
    }

    /// Returns the first stall while a cell ran.
    pub(crate) fn stall_of(&self, cell: &str) -> Option<&String> {
        self.stalls.get(&Some(cell.to_owned())).and_then(|stalls| stalls.first())
    }
}

/// Strips control characters, which a terminal would interpret.
fn printable(line: &str) -> String {
    line.chars().filter(|character| !character.is_control() || *character == '\t').collect()
}

/// Returns the kernel's message in a line, without its timestamp (`[   12.345678] `); none if the line has no message. A
/// program's output without a newline may precede it.
fn message(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (time, text) = line[at + 1..].split_once("] ")?;
        let (seconds, fraction) = time.trim_start().split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(seconds) && digits(fraction)).then(|| without_caller(text))
    })
}

/// Strips the thread or CPU that printed a message (`[    T1] `, `CONFIG_PRINTK_CALLER`).
fn without_caller(text: &str) -> &str {
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
        GuestLog::parse(&format!("[   12.345678] {line}\n")).faults_of(None).last().cloned()
    }

    #[test]
    fn warnings_and_oopses_are_faults() {
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
    fn ordinary_messages_are_not_faults() {
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
        let printed_by_a_program = GuestLog::parse("WARNING: CPU: 0 PID: 1 at nowhere\nBUG: none\n");
        assert!(printed_by_a_program.faults.is_empty());
    }

    #[test]
    fn a_fault_is_found_after_an_unfinished_line_of_a_program_and_after_the_printk_caller() {
        let log = GuestLog::parse(
            "pass vlan/qinq [0x1] ok[  1.5] BUG: a\n[    2.000001][   T12] x\n[    2.1] [    T1] BUG: b\n",
        );
        assert_eq!(log.faults_of(None), ["BUG: a", "BUG: b"]);
    }

    #[test]
    fn a_message_belongs_to_the_cell_that_ran() {
        let log = GuestLog::parse(
            "[ 1.0] BUG: early\r\n[ 2.0] xdproof: cell igb\r\n[ 3.0] WARNING: CPU: 0\r\n[ 4.0] xdproof: cell tap\r\n\
             [ 5.0] BUG: late\r\n[ 6.0] watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [xdproof:71]\r\n",
        );
        assert_eq!(log.faults_of(None), ["BUG: early"]);
        assert_eq!(log.faults_of(Some("igb")), ["WARNING: CPU: 0"]);
        assert_eq!(log.faults_of(Some("tap")), ["BUG: late"]);
        assert!(log.stall_of("tap").is_some() && log.stall_of("igb").is_none());
        assert!(log.tail_of("igb").ends_with("] WARNING: CPU: 0"), "{}", log.tail_of("igb"));
        assert_eq!(log.tail_of("tap"), log.tail);
        assert_eq!(log.panic, None);
    }

    #[test]
    fn a_panic_is_found_and_the_last_lines_are_kept() {
        let text: String = (0..200).map(|number| format!("line {number}\u{1b}[0m\r\n")).collect();
        let log =
            GuestLog::parse(&format!("{text}[   9.1] Kernel panic - not syncing: sysrq triggered crash\n"));
        assert_eq!(log.panic.as_deref(), Some("Kernel panic - not syncing: sysrq triggered crash"));
        assert_eq!(log.tail.lines().count(), TAIL_LINES);
        assert!(log.tail.starts_with("line 101[0m\n"), "{}", log.tail);
        assert_eq!(GuestLog::read(Path::new("/nonexistent")), GuestLog::default());
    }
}

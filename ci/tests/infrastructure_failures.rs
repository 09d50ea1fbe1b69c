//! Infrastructure failures: machines, guests and NICs that fail are never a test result, are retried once, and leave the results
//! that were complete before. The tests start machines, which takes minutes, and are ignored unless `XDPROOF_FAILURE_TESTS=1` is
//! set and QEMU and a kernel are available.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const KERNEL: &str = "6.12";

/// Limit for an event that must happen, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let ignored = if arguments.list { None } else { reason_to_ignore() };
    if let Some(reason) = &ignored {
        eprintln!("all tests are ignored: {reason}");
    }
    let trial =
        |name: &str, runner: fn() -> Outcome| Trial::test(name, runner).with_ignored_flag(ignored.is_some());
    let trials = vec![
        trial("a_guest_that_panics_has_no_result_and_is_retried_once", panic_in_each),
        trial("a_guest_that_panics_once_has_a_result", panic_in_the_first),
        trial("a_guest_that_hangs_is_stopped", hang),
        trial("a_machine_that_is_killed_is_retried", killed),
        trial("a_machine_that_resets_is_retried", reset),
        trial("a_missing_nic_fails_its_cell_and_the_others_have_results", no_nic),
        trial("a_missing_module_fails_its_cell", no_module),
        trial("a_nic_that_disappears_is_retried", lost),
        trial("a_kernel_warning_fails_its_cell", warning),
        trial("an_interruption_stops_the_machines", interrupted),
        trial("machines_end_when_the_matrix_is_killed", orphaned),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

const VARIABLE: &str = "XDPROOF_FAILURE_TESTS";

fn reason_to_ignore() -> Option<String> {
    if std::env::var(VARIABLE).as_deref() != Ok("1") {
        return Some(format!("set {VARIABLE}=1 to run them"));
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_xdproof-ci")).args(["--fetch", "--kernel", KERNEL]).output();
    match output {
        Err(error) => Some(error.to_string()),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A running matrix with one kernel and one scenario.
struct Matrix {
    child: Child,
    out: tempfile::TempDir,
}

impl Matrix {
    fn start(nics: &str, fault: Option<&str>) -> Result<Self, Failed> {
        let out = tempfile::Builder::new().prefix("xdproof-matrix-").tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof-ci"));
        command.args(["--kernel", KERNEL, "--nic", nics, "--mode", "generic,native"]);
        command.args(["--scenario", "ipv4/udp", "--silence", "60", "--out"]).arg(out.path());
        if let Some(fault) = fault {
            command.args(["--inject-fault", fault]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Self { child, out })
    }

    fn kernel(&self) -> PathBuf {
        self.out.path().join(KERNEL)
    }

    fn wait(self) -> Result<Ended, Failed> {
        let Self { child, out } = self;
        let output = child.wait_with_output()?;
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = fs::read_to_string(out.path().join("result.json"));
        let collection = match text {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => Value::Null,
        };
        let printed = format!("{}\n{}", text_of(&output.stderr), text_of(&output.stdout));
        Ok(Ended { status: output.status, printed, collection, out })
    }

    /// Waits until the console of the first machine contains a text.
    fn wait_for(&self, text: &str) -> Outcome {
        let console = self.kernel().join("console-1.log");
        until(&format!("`{text}` on the console"), || {
            fs::read(&console).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        })
    }

    /// Returns the process ids of the machines.
    fn machines(&self) -> Result<BTreeSet<i32>, Failed> {
        machines(self.out.path())
    }
}

/// A run that has ended.
struct Ended {
    status: ExitStatus,
    printed: String,
    collection: Value,
    out: tempfile::TempDir,
}

impl Ended {
    /// Returns the only infrastructure failure, which must be that of a cell.
    fn failure(&self, cell: &str) -> Result<&Value, Failed> {
        let all =
            self.collection["infrastructure_failures"].as_array().map(Vec::as_slice).unwrap_or_default();
        match all {
            [one] if one["cell"] == format!("{KERNEL}/{cell}") => Ok(one),
            _ => Err(format!("expected one failure, got {all:#?}\n{}", self.printed).into()),
        }
    }

    /// A cell has no result after two attempts, for a reason, and the console of its machine is kept.
    fn is_lost(&self, cell: &str, expected: &str) -> Outcome {
        let failure = self.failure(cell)?;
        let reason = failure["message"].as_str().unwrap_or_default();
        check(reason.contains(expected), &format!("`{reason}` does not contain `{expected}`"))?;
        check(failure["attempts"] == 2, &format!("attempts: {}", failure["attempts"]))?;
        check(failure["recovered"] == false, "it recovered")?;
        let console = failure["console"].as_str().unwrap_or_default();
        check(console.contains("xdproof: cell"), &format!("the console ends with `{console}`"))?;
        check(self.result(cell).is_none(), "a failed cell has a result")?;
        self.exits_with(4)
    }

    /// A cell failed for a reason, and has a result after a retry.
    fn has_recovered(&self, cell: &str, expected: &str) -> Outcome {
        let failure = self.failure(cell)?;
        let reason = failure["message"].as_str().unwrap_or_default();
        check(reason.contains(expected), &format!("`{reason}` does not contain `{expected}`"))?;
        check(failure["attempts"] == 2, &format!("attempts: {}", failure["attempts"]))?;
        check(failure["recovered"] == true, "it did not recover")?;
        self.passes(cell)?;
        self.exits_with(0)
    }

    /// Returns the result of a cell.
    fn result(&self, cell: &str) -> Option<Value> {
        let file = self.out.path().join(KERNEL).join(cell).join("result.json");
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    fn passes(&self, cell: &str) -> Outcome {
        let result = self.result(cell).ok_or_else(|| Failed::from(format!("no result\n{}", self.printed)))?;
        check(result["summary"]["pass"].as_u64() > Some(0), &format!("{:#}", result["summary"]))
    }

    fn exits_with(&self, code: i32) -> Outcome {
        check(
            self.status.code() == Some(code),
            &format!("expected exit code {code}, got {}\n{}", self.status, self.printed),
        )
    }
}

fn check(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn until(event: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        check(Instant::now() < deadline, &format!("timed out waiting for {event}"))?;
        std::thread::yield_now();
    }
    Ok(())
}

/// Returns the process ids of the QEMUs of a run.
fn machines(out: &Path) -> Result<BTreeSet<i32>, Failed> {
    let out = out.display().to_string();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // The process may have ended.
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains("qemu-system") && line.contains("-serial") && line.contains(&out) {
            found.insert(id);
        }
    }
    Ok(found)
}

fn kill(id: i32, signal: Signal) -> Outcome {
    let id = Pid::from_raw(id).ok_or("no process has the number 0")?;
    Ok(kill_process(id, signal)?)
}

fn panic_in_each() -> Outcome {
    let ended = Matrix::start("veth-pair", Some("panic@guest"))?.wait()?;
    ended.is_lost("guest", "the guest panicked: Kernel panic - not syncing")?;
    ended.passes("veth-pair")
}

fn panic_in_the_first() -> Outcome {
    Matrix::start("veth-pair", Some("panic@veth-pair/first"))?
        .wait()?
        .has_recovered("veth-pair", "the guest panicked")
}

fn reset() -> Outcome {
    let ended = Matrix::start("veth-pair", Some("reset@veth-pair/first"))?.wait()?;
    ended.has_recovered("veth-pair", "before the guest was done")
}

fn hang() -> Outcome {
    Matrix::start("veth-pair", Some("hang@veth-pair"))?.wait()?.is_lost("veth-pair", "no output for 60 s")
}

fn killed() -> Outcome {
    let matrix = Matrix::start("veth-pair", None)?;
    matrix.wait_for("xdproof: cell veth-pair")?;
    for id in matrix.machines()? {
        kill(id, Signal::KILL)?;
    }
    let ended = matrix.wait()?;
    ended.has_recovered("veth-pair", "before the guest was done")?;
    ended.passes("guest")
}

fn no_nic() -> Outcome {
    let ended = Matrix::start("virtio-net,igb", Some("no-nic@igb"))?.wait()?;
    ended.is_lost("igb", "no port has the address 52:54:00:00:01:0a: the guest has 0 of 2 ports")?;
    ended.passes("virtio-net")
}

fn no_module() -> Outcome {
    let ended = Matrix::start("virtio-net,igb", Some("no-module@igb"))?.wait()?;
    ended.is_lost("igb", "no port has the address 52:54:00:00:01:0b: the guest has 1 of 2 ports")?;
    ended.passes("virtio-net")
}

fn lost() -> Outcome {
    let ended = Matrix::start("virtio-net,vmxnet3", Some("lost@vmxnet3/first"))?.wait()?;
    ended.has_recovered("vmxnet3", "no port has the address")?;
    ended.passes("virtio-net")
}

fn warning() -> Outcome {
    let ended = Matrix::start("veth-pair", Some("warn@veth-pair"))?.wait()?;
    ended.exits_with(1)?;
    let result = ended.result("veth-pair").ok_or("no result")?;
    let finding = &result["findings"][0];
    check(finding["kind"] == "kernel_fault" && finding["severity"] == "fault", &format!("{finding:#}"))?;
    check(
        finding["message"].as_str().is_some_and(|what| what.contains("ci/guest/init")),
        &format!("{finding:#}"),
    )?;
    check(ended.printed.contains("kernel fault"), &ended.printed)?;
    let other = ended.result("guest").ok_or("no result")?;
    check(other["findings"].is_null(), "the fault is attributed to another cell")
}

fn interrupted() -> Outcome {
    let matrix = Matrix::start("veth-pair", None)?;
    matrix.wait_for("xdproof: cell veth-pair")?;
    let own = i32::try_from(matrix.child.id())?;
    kill(own, Signal::INT)?;
    let out = matrix.out.path().to_owned();
    let ended = matrix.wait()?;
    ended.exits_with(4)?;
    check(machines(&out)?.is_empty(), "a machine is still running")?;
    check(ended.printed.contains("1 not run"), &ended.printed)?;
    ended.passes("guest")
}

fn orphaned() -> Outcome {
    // This guest does not end by itself.
    let mut matrix = Matrix::start("veth-pair", Some("hang@guest"))?;
    matrix.wait_for("xdproof: cell guest")?;
    check(!matrix.machines()?.is_empty(), "no machine is running")?;
    matrix.child.kill()?;
    matrix.child.wait()?;
    let out = matrix.out.path().to_owned();
    until("the end of the machines", || machines(&out).is_ok_and(|machines| machines.is_empty()))
}

//! What happens when a machine, a guest or a NIC breaks down: never a test result, tried once more, and what came out before
//! stays. Where QEMU or a kernel is not to be had, the tests are ignored, with the reason; so they are unless
//! `XDPROOF_BREAKDOWNS=1` asks for them, for each starts machines that have to be waited for: some minutes for all, more than `ci/test`
//! has.

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

/// How long it may take until something happens that must happen, on a machine that does much else.
const SOON: Duration = Duration::from_secs(300);

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = if arguments.list { None } else { obstacle() };
    if let Some(reason) = &obstacle {
        eprintln!("the machines are not tried: {reason}");
    }
    let trial =
        |name: &str, runner: fn() -> Outcome| Trial::test(name, runner).with_ignored_flag(obstacle.is_some());
    let trials = vec![
        trial("a_panic_is_no_result_and_is_tried_once_more", panic_in_each),
        trial("a_panic_that_does_not_come_again_leaves_a_result", panic_in_the_first),
        trial("a_guest_that_falls_silent_is_ended", hang),
        trial("a_machine_that_is_killed_half_way_is_tried_once_more", killed),
        trial("a_machine_that_resets_half_way_is_tried_once_more", reset),
        trial("a_nic_that_is_left_out_is_missed_and_the_others_have_results", no_nic),
        trial("a_module_that_is_left_out_is_missed", no_module),
        trial("a_nic_that_is_lost_is_missed", lost),
        trial("a_warning_of_the_kernel_fails_its_cell", warning),
        trial("an_interruption_ends_the_machines", interrupted),
        trial("machines_die_with_the_matrix_when_it_is_killed", orphaned),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Set to 1 by whoever has the time.
const WANTED: &str = "XDPROOF_BREAKDOWNS";

/// Why no machine is started, if that is so.
fn obstacle() -> Option<String> {
    if std::env::var(WANTED).as_deref() != Ok("1") {
        return Some(format!("{WANTED}=1 asks for it"));
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_xdproof-ci")).args(["--fetch", "--kernel", KERNEL]).output();
    match output {
        Err(error) => Some(error.to_string()),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A run of the matrix on one kernel and one scenario.
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

    /// Waits for its end.
    fn end(self) -> Result<Ended, Failed> {
        let Self { child, out } = self;
        let output = child.wait_with_output()?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = fs::read_to_string(out.path().join("result.json"));
        let collection = match text {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => Value::Null,
        };
        let words = format!("{}\n{}", said(&output.stderr), said(&output.stdout));
        Ok(Ended { status: output.status, words, collection, out })
    }

    /// Waits until the first machine's console has a text.
    fn wait_for(&self, text: &str) -> Outcome {
        let console = self.kernel().join("console-1.log");
        until(&format!("`{text}` on the console"), || {
            fs::read(&console).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        })
    }

    /// The machines that are there now.
    fn machines(&self) -> Result<BTreeSet<i32>, Failed> {
        machines(self.out.path())
    }
}

/// What a run came to.
struct Ended {
    status: ExitStatus,
    words: String,
    collection: Value,
    out: tempfile::TempDir,
}

impl Ended {
    /// The only breakdown that there must be, of a cell.
    fn breakdown(&self, cell: &str) -> Result<&Value, Failed> {
        let all = self.collection["breakdowns"].as_array().map(Vec::as_slice).unwrap_or_default();
        match all {
            [one] if one["cell"] == format!("{KERNEL}/{cell}") => Ok(one),
            _ => Err(format!("breakdowns: {all:#?}\n{}", self.words).into()),
        }
    }

    /// A cell came to nothing, for a reason, after two tries, and its console tells of it.
    fn is_lost(&self, cell: &str, why: &str) -> Outcome {
        let breakdown = self.breakdown(cell)?;
        let what = breakdown["what"].as_str().unwrap_or_default();
        check(what.contains(why), &format!("`{what}` does not say `{why}`"))?;
        check(breakdown["attempts"] == 2, &format!("attempts: {}", breakdown["attempts"]))?;
        check(breakdown["recovered"] == false, "it came out after all")?;
        let console = breakdown["console"].as_str().unwrap_or_default();
        check(console.contains("xdproof: cell"), &format!("the console's end is `{console}`"))?;
        check(self.result(cell).is_none(), "a cell that broke down has a result")?;
        self.exits_with(4)
    }

    /// A cell broke down and came out the second time.
    fn has_recovered(&self, cell: &str, why: &str) -> Outcome {
        let breakdown = self.breakdown(cell)?;
        let what = breakdown["what"].as_str().unwrap_or_default();
        check(what.contains(why), &format!("`{what}` does not say `{why}`"))?;
        check(breakdown["attempts"] == 2, &format!("attempts: {}", breakdown["attempts"]))?;
        check(breakdown["recovered"] == true, "it did not come out")?;
        self.passes(cell)?;
        self.exits_with(0)
    }

    /// The file of a cell.
    fn result(&self, cell: &str) -> Option<Value> {
        let file = self.out.path().join(KERNEL).join(cell).join("result.json");
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    fn passes(&self, cell: &str) -> Outcome {
        let result = self.result(cell).ok_or_else(|| Failed::from(format!("no result\n{}", self.words)))?;
        check(result["summary"]["pass"].as_u64() > Some(0), &format!("{:#}", result["summary"]))
    }

    fn exits_with(&self, code: i32) -> Outcome {
        check(self.status.code() == Some(code), &format!("{}, and not {code}\n{}", self.status, self.words))
    }
}

fn check(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + SOON;
    while !holds() {
        check(Instant::now() < deadline, &format!("this did not come: {what}"))?;
        std::thread::yield_now();
    }
    Ok(())
}

/// The processes that are a QEMU whose machine belongs to a run.
fn machines(out: &Path) -> Result<BTreeSet<i32>, Failed> {
    let out = out.display().to_string();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may be gone by now.
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
    let ended = Matrix::start("veth-pair", Some("panic@guest"))?.end()?;
    ended.is_lost("guest", "the guest panicked: Kernel panic - not syncing")?;
    ended.passes("veth-pair")
}

fn panic_in_the_first() -> Outcome {
    Matrix::start("veth-pair", Some("panic@veth-pair/first"))?
        .end()?
        .has_recovered("veth-pair", "the guest panicked")
}

fn reset() -> Outcome {
    let ended = Matrix::start("veth-pair", Some("reset@veth-pair/first"))?.end()?;
    ended.has_recovered("veth-pair", "before the guest was done")
}

fn hang() -> Outcome {
    Matrix::start("veth-pair", Some("hang@veth-pair"))?.end()?.is_lost("veth-pair", "said nothing for 60 s")
}

fn killed() -> Outcome {
    let matrix = Matrix::start("veth-pair", None)?;
    matrix.wait_for("xdproof: cell veth-pair")?;
    for id in matrix.machines()? {
        kill(id, Signal::KILL)?;
    }
    let ended = matrix.end()?;
    ended.has_recovered("veth-pair", "before the guest was done")?;
    ended.passes("guest")
}

fn no_nic() -> Outcome {
    let ended = Matrix::start("virtio-net,igb", Some("no-nic@igb"))?.end()?;
    ended.is_lost("igb", "no port has the address 52:54:00:00:01:0a: the guest has 0 of 2 ports")?;
    ended.passes("virtio-net")
}

fn no_module() -> Outcome {
    let ended = Matrix::start("virtio-net,igb", Some("no-module@igb"))?.end()?;
    ended.is_lost("igb", "no port has the address 52:54:00:00:01:0b: the guest has 1 of 2 ports")?;
    ended.passes("virtio-net")
}

fn lost() -> Outcome {
    let ended = Matrix::start("virtio-net,vmxnet3", Some("lost@vmxnet3/first"))?.end()?;
    ended.has_recovered("vmxnet3", "no port has the address")?;
    ended.passes("virtio-net")
}

fn warning() -> Outcome {
    let ended = Matrix::start("veth-pair", Some("warn@veth-pair"))?.end()?;
    ended.exits_with(1)?;
    let result = ended.result("veth-pair").ok_or("no result")?;
    let finding = &result["findings"][0];
    check(finding["kind"] == "kernel_fault" && finding["weight"] == "fault", &format!("{finding:#}"))?;
    check(
        finding["what"].as_str().is_some_and(|what| what.contains("ci/guest/init")),
        &format!("{finding:#}"),
    )?;
    check(ended.words.contains("kernel fault"), &ended.words)?;
    let other = ended.result("guest").ok_or("no result")?;
    check(other["findings"].is_null(), "a fault is told of a cell that it is not of")
}

fn interrupted() -> Outcome {
    let matrix = Matrix::start("veth-pair", None)?;
    matrix.wait_for("xdproof: cell veth-pair")?;
    let own = i32::try_from(matrix.child.id())?;
    kill(own, Signal::INT)?;
    let out = matrix.out.path().to_owned();
    let ended = matrix.end()?;
    ended.exits_with(4)?;
    check(machines(&out)?.is_empty(), "a machine is left")?;
    check(ended.words.contains("1 not run"), &ended.words)?;
    ended.passes("guest")
}

fn orphaned() -> Outcome {
    // Such a guest does not end by itself.
    let mut matrix = Matrix::start("veth-pair", Some("hang@guest"))?;
    matrix.wait_for("xdproof: cell guest")?;
    check(!matrix.machines()?.is_empty(), "no machine is there")?;
    matrix.child.kill()?;
    matrix.child.wait()?;
    let out = matrix.out.path().to_owned();
    until("the machines' end", || machines(&out).is_ok_and(|machines| machines.is_empty()))
}

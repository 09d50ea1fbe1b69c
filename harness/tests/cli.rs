//! The verbs of `xdproof` as a user runs them: output, streams and exit codes.

#[path = "support/cli.rs"]
mod cli;
#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/privilege.rs"]
mod privilege;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use cli::{
    Result, expect, expect_code, expect_one_error, read_result, run, signal, stderr, stdout, unprivileged,
    xdproof,
};
use libtest_mimic::{Arguments, Trial as Test};
use rustix::process::Signal;
use serde_json::Value;
use xdproof_netns::{LinkName, MacAddr, NetNs, PacketSocket, VethEnd, VethSpec, Worker, XdpMode};

/// Deadline of a child process, whose work takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = privilege::obstacle();
    let tests = UNPRIVILEGED.iter().map(|&(name, test)| Test::test(name, test)).chain(
        PRIVILEGED.iter().map(|&(name, test)| Test::test(name, test).with_ignored_flag(obstacle.is_some())),
    );
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

type Case = (&'static str, fn() -> Result);

const UNPRIVILEGED: &[Case] = &[
    ("help_names_every_verb_and_the_exit_codes", help),
    ("a_word_that_is_no_verb_exits_2", no_verb),
    ("list_shows_each_scenario_once", list),
    ("list_in_json_is_json", list_json),
    ("a_misspelt_key_is_named_with_its_place_and_a_hint", misspelt_key),
    ("a_pattern_that_matches_nothing_exits_2", no_match),
    ("a_partition_that_is_none_exits_2", bad_partition),
    ("without_privilege_validate_exits_3_and_says_what_to_do", unprivileged_validate),
    ("without_privilege_watch_exits_3_and_says_what_to_do", unprivileged_watch),
    ("a_mode_for_what_attaches_to_nothing_exits_2", nothing_to_attach),
    ("an_interval_that_is_none_exits_2", bad_interval),
    ("a_result_that_has_nowhere_to_go_exits_2_before_the_run", no_place_for_result),
    ("an_error_that_cannot_be_written_is_no_panic", full_stderr),
    ("without_privilege_doctor_exits_3_and_says_what_to_do", unprivileged_doctor),
];

const PRIVILEGED: &[Case] = &[
    ("doctor_finds_that_the_main_job_runs", doctor),
    ("validate_writes_what_it_found", validate_writes_result),
    ("validate_in_json_prints_the_result_and_nothing_else", validate_json),
    ("partitions_add_up_to_the_whole", partitions),
    ("scenarios_of_more_frames_than_are_wanted_are_skips", most_frames),
    ("namespaces_that_are_kept_can_be_entered", keep),
    ("a_machine_that_cannot_run_trials_says_why_once_and_exits_3", preconditions),
    ("doctor_names_the_precondition_and_no_kernel_version", doctor_preconditions),
    ("offload_is_skipped_with_the_reason_and_proves_nothing", offload),
    ("a_counter_that_opens_one_tag_is_found", one_tag),
    ("a_counter_that_opens_one_tag_is_found_by_the_faster_injectors", one_tag_faster),
    ("a_counter_that_misreads_ipv6_is_found", ipv6_off_by_one),
    ("a_counter_that_drops_is_found", drops),
    ("a_counter_that_drops_passes_where_it_is_expected_to", expected_drops),
    ("counters_that_damage_frames_are_found", damages),
    ("an_answer_that_is_no_drop_does_not_pass_for_one", no_drop),
    ("a_file_that_is_no_object_exits_2", no_object),
    ("without_sys_the_machine_is_at_fault_and_the_path_is_named", without_sys),
    ("an_object_with_several_programs_asks_which", which_program),
    ("an_interface_that_is_not_there_exits_3", no_interface),
    ("interrupted_it_says_what_was_not_run", interrupted),
    ("a_report_for_which_the_disk_has_no_room_leaves_the_old_one", full_disk),
    ("journals_of_another_user_are_not_used", foreign_journals),
    ("a_repeated_command_stays_on_its_line", newline_in_name),
    ("watch_counts_in_generic_mode_what_arrives", watch_generic),
    ("watch_counts_in_native_mode_what_arrives", watch_native),
    ("watch_ends_when_its_interface_is_gone", watch_gone),
    ("watch_says_that_an_interface_is_down_and_takes_a_long_name", watch_down),
    ("watch_leaves_a_program_alone_that_was_there", watch_occupied),
    ("watch_refuses_a_device_whose_packets_have_no_ethernet_header", watch_tun),
];

/// The object with the faulty counters.
fn mutants() -> &'static str {
    concat!(env!("OUT_DIR"), "/xdproof-mutants")
}

fn help() -> Result {
    let output = run(&["--help"])?;
    expect_code(&output, 0)?;
    for word in ["doctor", "watch", "list", "validate", "export", "Exit codes", "--json", "--color"] {
        expect(stdout(&output).contains(word), word, &output)?;
    }
    Ok(())
}

fn no_verb() -> Result {
    expect_one_error(&run(&["valdate"])?, 2, &["valdate", "validate"])
}

fn list() -> Result {
    let output = run(&["list"])?;
    expect_code(&output, 0)?;
    let scenarios = corpus::builtin()?;
    let text = stdout(&output);
    let ids: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for scenario in scenarios {
        let times = ids.iter().filter(|id| **id == scenario.id.as_ref() as &str).count();
        expect(times == 1, &format!("{} is there {times} times", scenario.id), &output)?;
    }
    expect(text.ends_with(&format!("\n{} scenarios\n", scenarios.len())), "not their number", &output)
}

fn list_json() -> Result {
    let output = run(&["list", "--json", "--scenario", "vlan/*"])?;
    expect_code(&output, 0)?;
    let entries: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let all_vlan = entries.iter().all(|entry| entry["id"].as_str().is_some_and(|id| id.starts_with("vlan/")));
    expect(!entries.is_empty() && all_vlan, "not the scenarios asked for", &output)
}

/// Writes a corpus of one scenario.
fn corpus_of(text: &str) -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("mine.toml"), text)?;
    Ok(directory)
}

fn misspelt_key() -> Result {
    let corpus = corpus_of(
        "summary = \"one frame\"\ntags = [\"mine\"]\n\n[[frame]]\nrpeat = 2\nlayers = [{ ethernet = {} }, \
         { ipv4 = {} }, { udp = {} }]\n\n[expect]\ncounts = { udp = 2 }\npassed = 2\ndropped = 0\n",
    )?;
    let output = run(&["list", "--corpus", &corpus.path().display().to_string()])?;
    expect_one_error(&output, 2, &["mine.toml:5:", "rpeat", "`repeat`"])
}

fn no_match() -> Result {
    expect_one_error(&run(&["list", "--scenario", "no/such/*"])?, 2, &["no/such/*", "xdproof list"])
}

fn bad_partition() -> Result {
    expect_one_error(&run(&["validate", "--partition", "3/2"])?, 2, &["3/2", "I/N"])
}

fn unprivileged_validate() -> Result {
    expect_one_error(&unprivileged(&["validate"])?, 3, &["root"])
}

fn unprivileged_watch() -> Result {
    expect_one_error(&unprivileged(&["watch", "lo", "--count", "1"])?, 3, &["root"])
}

fn nothing_to_attach() -> Result {
    let output = run(&["validate", "--mode", "native", "--injector", "test_run"])?;
    expect_one_error(&output, 2, &["--injector test_run cannot be combined with --mode"])
}

fn bad_interval() -> Result {
    for interval in ["0", "1e19", "nan", "soon"] {
        expect_one_error(&run(&["watch", "lo", "--interval", interval])?, 2, &["from 0.01 to 86400"])?;
    }
    Ok(())
}

fn no_place_for_result() -> Result {
    expect_one_error(&run(&["validate", "--out", "/proc/self"])?, 2, &["result.json in /proc/self"])
}

fn unprivileged_doctor() -> Result {
    let output = unprivileged(&["doctor"])?;
    expect_code(&output, 3)?;
    expect(stdout(&output).contains("no   CAP_NET_ADMIN"), "no word of CAP_NET_ADMIN", &output)?;
    expect(stdout(&output).contains("sudo"), "no fix", &output)
}

fn doctor() -> Result {
    let output = run(&["doctor", "--json"])?;
    expect_code(&output, 0)?;
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let test = checks.iter().find(|check| check["name"] == "end-to-end smoke test");
    expect(test.is_some_and(|test| test["answer"] == "yes"), "the smoke test does not pass", &output)
}

fn validate_writes_result() -> Result {
    let out = tempfile::tempdir()?;
    let directory = out.path().join("deep/er");
    let output =
        run(&["validate", "--scenario", "vlan/qinq_ipv4_udp", "--out", &directory.display().to_string()])?;
    expect_code(&output, 0)?;
    expect(stdout(&output).contains("3 trials: 3 pass"), "not the summary", &output)?;
    let result = read_result(&directory)?;
    expect(result["schema"] == "xdproof.result/2", "not the schema", &output)?;
    expect(result["summary"]["pass"] == 3, "not the summary in the file", &output)?;
    let trials = result["trials"].as_array().ok_or("no trials")?;
    let ids: Vec<&str> = trials.iter().filter_map(|trial| trial["id"].as_str()).collect();
    let expected = ["generic::pnet", "native::pnet", "unattached::test_run"]
        .map(|path| format!("vlan/qinq_ipv4_udp::{path}"));
    expect(ids == expected, "not the trials", &output)?;
    for trial in trials {
        expect(trial["observed"]["counts"] == trial["expected"]["counts"], "counts differ", &output)?;
        let per_cpu = trial["observed"]["per_cpu"].as_array().ok_or("no per_cpu")?;
        let sum: u64 = per_cpu.iter().filter_map(|counts| counts["17"].as_u64()).sum();
        expect(Some(sum) == trial["expected"]["counts"]["17"].as_u64(), "CPUs do not add up", &output)?;
    }
    Ok(())
}

fn validate_json() -> Result {
    let output = run(&["validate", "--json", "--scenario", "non_ip/arp"])?;
    expect_code(&output, 0)?;
    let result: Value = serde_json::from_slice(&output.stdout)?;
    expect(result["trials"].as_array().is_some_and(|trials| trials.len() == 3), "not three trials", &output)?;
    expect(stderr(&output).contains("3 trials: 3 pass"), "people are told nothing", &output)
}

fn most_frames() -> Result {
    let out = tempfile::tempdir()?;
    let to = out.path().display().to_string();
    let scenarios = ["--scenario", "ipv4/every_protocol", "--scenario", "ipv4/udp", "--mode", "generic"];
    let output = run(&[&["validate", "--most-frames", "1000", "--out", &to][..], &scenarios].concat())?;
    expect_code(&output, 0)?;
    let result = read_result(out.path())?;
    let verdict = |scenario: &str| {
        let trial = result["trials"].as_array()?.iter().find(|trial| trial["scenario"] == scenario)?;
        Some((trial["verdict"].as_str()?, trial["reason"].as_str().unwrap_or_default()))
    };
    let (left_out, tried) = (verdict("ipv4/every_protocol"), verdict("ipv4/udp"));
    let told = left_out.is_some_and(|(verdict, why)| verdict == "skip" && why.contains("32640 frames"));
    expect(told && tried == Some(("pass", "")), "not the one and only that", &output)
}

fn partitions() -> Result {
    let trials = |result: &Value| -> Result<Vec<String>> {
        let trials = result["trials"].as_array().ok_or("no trials")?;
        Ok(trials.iter().filter_map(|trial| trial["id"].as_str()).map(str::to_owned).collect())
    };
    let out = tempfile::tempdir()?;
    let of = |partition: &str, into: &str| -> Result<Vec<String>> {
        let directory = out.path().join(into);
        let to = directory.display().to_string();
        let output =
            run(&["validate", "--scenario", "vlan/*", "--partition", partition, "--out", &to, "--quiet"])?;
        expect_code(&output, 0)?;
        trials(&read_result(&directory)?)
    };
    let mut whole = of("1/1", "whole")?;
    let mut parts = [of("1/2", "parts/1")?, of("2/2", "parts/2")?].concat();
    parts.sort_unstable();
    whole.sort_unstable();
    if parts != whole {
        return Err(format!("{parts:?} are not {whole:?}").into());
    }
    let [from, to] = ["parts", "joined"].map(|directory| out.path().join(directory).display().to_string());
    let output = run(&["merge", &from, "--out", &to])?;
    expect_code(&output, 0)?;
    let joined = read_result(&out.path().join("joined"))?;
    let mut joined_trials = trials(&joined)?;
    joined_trials.sort_unstable();
    expect(joined_trials == whole && joined.get("partition").is_none(), "the parts are not joined", &output)?;
    let output = run(&["merge", &format!("{from}/2"), "--out", &to])?;
    expect_code(&output, 4)?;
    expect(stdout(&output).contains("part 1 of 2 is missing"), "no word of the missing part", &output)
}

/// The name is an alternative one of more than 15 bytes.
fn watch_down() -> Result {
    let script = "ip link add v0 type veth peer name v1; ip link property add dev v0 altname a-name-of-many-bytes; \
                  exec \"$0\" watch a-name-of-many-bytes --count 1 --interval 0.1";
    let mut command = Command::new("unshare");
    let output = command.args(["--net", "sh", "-ec", script]).arg(xdproof().get_program()).output()?;
    expect_code(&output, 0)?;
    expect(stderr(&output).contains("the interface is down"), "not that it is down", &output)?;
    expect(stderr(&output).matches("is down").count() == 1, "more than once", &output)
}

/// In a mount namespace of its own, too, which ends with the run.
fn keep() -> Result {
    for wrapper in [&["env"][..], &["unshare", "--mount"]] {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(xdproof().get_program());
        command.args(["validate", "--keep", "--mode", "generic", "--scenario", "ipv4/udp"]);
        let output = command.env("NO_COLOR", "1").output()?;
        expect_code(&output, 0)?;
        let errors = stderr(&output);
        let names: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        let ip = |words: &[&str]| Command::new("ip").arg("netns").args(words).output();
        let links = |name: &&str| ip(&["exec", name, "ip", "-br", "link", "show", "type", "veth"]);
        let seen: Vec<_> = names.iter().map(links).collect();
        // Either takes the link along.
        let deleted: Vec<_> = names.iter().map(|name| ip(&["delete", name])).collect();
        for output in deleted {
            expect_code(&output?, 0)?;
        }
        let seen: Vec<String> =
            seen.into_iter().map(|seen| seen.map(|seen| stdout(&seen))).collect::<Result<_, _>>()?;
        let is_up = seen.iter().all(|links| links.contains("UP"));
        expect(names.len() == 2 && is_up, &format!("{wrapper:?}: {names:?}, {seen:?}"), &output)?;
    }
    Ok(())
}

/// Mounts `/proc/sys` read-only, as containers have it.
const READ_ONLY: &str =
    "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys; exec \"$0\" \"$@\"";

/// Runs the command as a container or a limit would have it.
fn confined(script: &str, arguments: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-ec", script]).arg(xdproof().get_program()).args(arguments);
    Ok(command.env("NO_COLOR", "1").output()?)
}

fn preconditions() -> Result {
    let without = |capability: &str| {
        format!("exec setpriv --bounding-set=-{capability} --inh-caps=-{capability} \"$0\" \"$@\"")
    };
    for (script, parts) in [
        (without("sys_admin"), &["CAP_SYS_ADMIN is missing", "--privileged"][..]),
        (without("net_raw"), &["CAP_NET_RAW is missing", "sudo"]),
        (without("net_admin"), &["CAP_NET_ADMIN is missing"]),
        ("exec unshare --user --map-root-user --net \"$0\" \"$@\"".to_owned(), &["user namespace"]),
        (READ_ONLY.to_owned(), &["/proc/sys is read-only", "Read-only file system", "remount"]),
        ("umount --lazy /sys; exec \"$0\" \"$@\"".to_owned(), &["/sys/devices/system/cpu/possible", "mount"]),
        ("ulimit -n 128; exec \"$0\" \"$@\"".to_owned(), &["ulimit -n (open files) is 128", "--jobs"]),
        ("ulimit -v 800000; exec \"$0\" \"$@\"".to_owned(), &["ulimit -v (address space) is 800000 KiB"]),
    ] {
        let output = confined(&script, &["validate", "--jobs", "2"])?;
        expect_one_error(&output, 3, parts)?;
        expect(stdout(&output).is_empty(), "trials have begun", &output)?;
    }
    Ok(())
}

fn doctor_preconditions() -> Result {
    let output = confined(READ_ONLY, &["doctor"])?;
    expect_code(&output, 3)?;
    let printed = stdout(&output);
    expect(
        printed.contains("/proc/sys is read-only") && printed.contains("remount"),
        "not the cause",
        &output,
    )?;
    expect(!printed.contains("boot a kernel"), "the kernel is blamed", &output)
}

fn offload() -> Result {
    let output = run(&["validate", "--mode", "offload", "--scenario", "ipv4/udp"])?;
    expect_code(&output, 4)?;
    expect(stdout(&output).contains("1 skip"), "not skipped", &output)?;
    expect(stdout(&output).contains("veth is software"), "not the reason", &output)?;
    expect(stdout(&output).contains("Invalid argument"), "not the kernel's answer", &output)
}

/// Runs scenarios with a faulty counter: each but `blind` must fail on every path.
fn expect_found(program: &str, scenarios: &[&str], blind: Option<&str>) -> Result {
    let mut arguments = vec!["validate", "-q", "--object", mutants(), "--program", program];
    arguments.extend(scenarios.iter().copied().chain(blind).flat_map(|scenario| ["--scenario", scenario]));
    let output = run(&arguments)?;
    expect_code(&output, 1)?;
    if let Some(blind) = blind {
        let nothing = !stdout(&output).contains(&format!("FAIL {blind}"));
        expect(nothing, "found where there is nothing to find", &output)?;
    }
    for scenario in scenarios {
        for path in ["generic::pnet", "native::pnet", "unattached::test_run"] {
            let line = format!("FAIL {scenario}::{path}\n");
            expect(stdout(&output).contains(&line), &line, &output)?;
        }
    }
    expect(stdout(&output).contains("expected     observed"), "not side by side", &output)?;
    let repeat = format!("reproduce: xdproof validate --scenario {}", scenarios[0]);
    expect(stdout(&output).contains(&repeat), "no command to repeat it", &output)
}

fn one_tag() -> Result {
    expect_found("one_tag", &["vlan/qinq_ipv4_udp", "vlan/qinq_ipv6"], Some("ipv4/udp"))
}

fn one_tag_faster() -> Result {
    let injectors = ["--injector", "ring,live_frames"];
    let scenarios = ["--scenario", "vlan/qinq_ipv4_udp", "--scenario", "mixed/tags_by_protocols"];
    let output = run(&[&["validate", "-q"][..], &injectors, &scenarios].concat())?;
    expect_code(&output, 0)?;
    let object = ["--object", mutants(), "--program", "one_tag"];
    let output = run(&[&["validate", "-q"][..], &injectors, &scenarios, &object].concat())?;
    expect_code(&output, 1)?;
    for mode in ["generic", "native"] {
        for injector in ["ring", "live_frames"] {
            for scenario in ["vlan/qinq_ipv4_udp", "mixed/tags_by_protocols"] {
                let failure = format!("FAIL {scenario}::{mode}::{injector}");
                expect(stdout(&output).contains(&failure), &format!("no `{failure}`"), &output)?;
            }
        }
    }
    Ok(())
}

fn ipv6_off_by_one() -> Result {
    expect_found("ipv6_byte_7", &["ipv6/udp", "ipv6/tcp"], Some("ipv4/udp"))
}

fn drops() -> Result {
    expect_found("drops", &["ipv4/udp", "non_ip/arp"], None)
}

fn damages() -> Result {
    expect_found("damages_first", &["ipv4/udp"], None)?;
    expect_found("damages_59th", &["ipv4/udp"], None)?;
    expect_found("cuts_last", &["ipv4/udp"], None)?;
    expect_found("passes_cut", &["boundary/qinq_21"], Some("ipv4/udp"))
}

fn no_drop() -> Result {
    for (program, verdict) in [("sends_back", "3 (XDP_TX)"), ("aborts", "0 (XDP_ABORTED)")] {
        let object =
            ["validate", "-q", "--object", mutants(), "--program", program, "--expect-action", "drop"];
        let output = run(&[&object[..], &["--scenario", "ipv4/udp"]].concat())?;
        expect_code(&output, 1)?;
        let reason = format!("returns of verdict {verdict}: expected 0, got 4");
        expect(stdout(&output).contains(&reason), "not the reason", &output)?;
    }
    let output = run(&[
        "validate",
        "-q",
        "--object",
        mutants(),
        "--program",
        "sends_back",
        "--expect-action",
        "drop",
        "--mode",
        "native,generic",
        "--scenario",
        "ipv4/udp",
    ])?;
    expect_code(&output, 1)?;
    expect(stdout(&output).contains("frames at the tester: expected 0, got 4"), "not the reason", &output)
}

fn expected_drops() -> Result {
    let drops = ["validate", "-q", "--object", mutants(), "--program", "drops", "--expect-action", "drop"];
    let output = run(&[&drops[..], &["--scenario", "vlan/*", "--scenario", "non_ip/*"]].concat())?;
    expect_code(&output, 0)?;
    let builtin = run(&["validate", "-q", "--scenario", "ipv4/udp", "--expect-action", "drop"])?;
    expect_code(&builtin, 1)
}

fn no_object() -> Result {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), "this is not an object\n")?;
    let path = file.path().display().to_string();
    expect_one_error(&run(&["validate", "--object", &path])?, 2, &[&path, "not a BPF object"])?;
    expect_one_error(&run(&["validate", "--object", "/no/such.o"])?, 2, &["/no/such.o", "No such file"])
}

fn full_stderr() -> Result {
    for arguments in [&["list", "--corpus", "/no/such"][..], &["report", "/no/such", "--out", "/no/such"]] {
        let full = fs::File::options().write(true).open("/dev/full")?;
        let status = xdproof().args(arguments).stdout(Stdio::null()).stderr(full).status()?;
        if status.code() != Some(2) {
            return Err(format!("{arguments:?}: {status}, expected exit code 2").into());
        }
    }
    Ok(())
}

/// A missing /sys is no fault of the object.
fn without_sys() -> Result {
    for arguments in ["validate --scenario ipv4/udp", "watch lo"] {
        let script = format!("umount --lazy /sys && exec {} {arguments}", env!("CARGO_BIN_EXE_xdproof"));
        let mut command = Command::new("unshare");
        let output = command.args(["--mount", "sh", "-c", &script]).env("NO_COLOR", "1").output()?;
        expect_one_error(&output, 3, &["/sys/devices/system/cpu/possible", "No such file"])?;
    }
    Ok(())
}

/// Writes a report where there is room for a part of it, and prints the report that is there afterwards.
const WITHOUT_ROOM: &str = "
mount -t tmpfs -o size=48k tmpfs \"$1\"
mkdir \"$1/out\"
echo 'the old report' >\"$1/out/report.html\"
code=0
\"$2\" report \"$3\" --format html --out \"$1/out\" || code=$?
cat \"$1/out/report.html\"
ls -A \"$1/out\"
exit $code";

fn full_disk() -> Result {
    let result = tempfile::tempdir()?;
    let stored = result.path().display().to_string();
    let made =
        run(&["validate", "-q", "--scenario", "ipv4/udp", "--injector", "test_run", "--out", &stored])?;
    expect_code(&made, 0)?;
    let mount = tempfile::tempdir()?;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", WITHOUT_ROOM, "sh"])
        .args([mount.path(), xdproof().get_program().as_ref(), result.path()])
        .output()?;
    let file = mount.path().join("out/report.html").display().to_string();
    expect_one_error(&output, 2, &[&format!("failed to write {file}"), "No space left"])?;
    expect(stdout(&output) == "the old report\nreport.html\n", "the old report is gone", &output)
}

fn foreign_journals() -> Result {
    let restore = |directory: &Path| -> Result<_> {
        Ok(xdproof().arg("restore").env("XDPROOF_RUN_DIR", directory).output()?)
    };
    let ours = tempfile::tempdir()?;
    expect_code(&restore(ours.path())?, 0)?;
    fs::set_permissions(ours.path(), fs::Permissions::from_mode(0o777))?;
    expect_one_error(&restore(ours.path())?, 3, &["others can write (mode 0777)", "XDPROOF_RUN_DIR"])?;
    let theirs = tempfile::tempdir()?;
    std::os::unix::fs::chown(theirs.path(), Some(65_534), None)?;
    expect_one_error(&restore(theirs.path())?, 3, &["belongs to user 65534, not to user 0"])?;
    // A link in the place of the lock.
    let linked = tempfile::tempdir()?;
    let precious = linked.path().join("precious");
    fs::write(&precious, "precious")?;
    std::os::unix::fs::symlink(&precious, linked.path().join("lock"))?;
    expect_one_error(&restore(linked.path())?, 3, &["failed to open", "lock"])?;
    if fs::read_to_string(&precious)? != "precious" {
        return Err("a file behind a link was emptied".into());
    }
    Ok(())
}

fn newline_in_name() -> Result {
    let directory = tempfile::tempdir()?;
    let object = directory.path().join("a\nb.o");
    fs::copy(mutants(), &object)?;
    let output = xdproof()
        .args(["validate", "-q", "--scenario", "ipv4/udp", "--injector", "test_run", "--program", "drops"])
        .arg("--object")
        .arg(&object)
        .output()?;
    expect_code(&output, 1)?;
    let text = stdout(&output);
    let line = text.lines().find(|line| line.trim_start().starts_with("reproduce:"));
    let command = line.and_then(|line| line.split_once("reproduce: ")).map(|(_, command)| command);
    let whole = command.is_some_and(|command| command.contains(r"a\x0ab.o'") && command.ends_with("drops"));
    expect(whole, "the command is not on one line", &output)
}

fn which_program() -> Result {
    let output = run(&["validate", "--object", mutants()])?;
    expect_one_error(&output, 2, &["--program", "`aborts`", " more"])?;
    let output = run(&["validate", "--object", mutants(), "--program", "none_such"])?;
    expect_one_error(&output, 2, &["none_such", "`aborts`", " more"])
}

fn no_interface() -> Result {
    expect_one_error(&run(&["watch", "nosuchlink0"])?, 3, &["nosuchlink0"])
}

/// Writes a corpus of many frames, which takes a while.
fn slow_corpus() -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    for index in 0..40 {
        fs::write(
            directory.path().join(format!("slow_{index}.toml")),
            "summary = \"many frames\"\ntags = [\"slow\"]\n\n[[frame]]\nrepeat = 50000\nlayers = [{ ethernet = {} }, \
             { ipv4 = { protocol = \"udp\" } }, { udp = {} }]\n\n[expect]\ncounts = { udp = 50000 }\npassed = 50000\n\
             dropped = 0\n",
        )?;
    }
    Ok(directory)
}

fn interrupted() -> Result {
    let corpus = slow_corpus()?;
    let mut child = xdproof()
        .args(["validate", "-v", "--jobs", "1", "--corpus"])
        .arg(corpus.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    // The first line is the header, the second one the first trial that ended.
    let (_heading, _trial) = (lines.next(), lines.next().ok_or("it ended at once")??);
    signal(&child, Signal::INT)?;
    let rest: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    let status = child.wait()?;
    let summary = rest.last().ok_or("no summary")?;
    if status.code() == Some(4) && summary.contains("not run") {
        return Ok(());
    }
    Err(format!("{status}: {summary}").into())
}

/// A veth pair between two namespaces that have no name.
struct Pair {
    _near: Worker,
    far: Worker,
    sender: PacketSocket,
}

impl Pair {
    fn up() -> Result<Self> {
        let near = Worker::spawn(&NetNs::create()?, "near")?;
        let far = Worker::spawn(&NetNs::create()?, "far")?;
        let end = |name: &str, last| -> Result<VethEnd> {
            Ok(VethEnd::new(name.parse::<LinkName>()?, MacAddr([2, 0, 0, 0, 0, last])))
        };
        let spec = VethSpec { near: end("near0", 1)?, far: end("far0", 2)? };
        let there = far.namespace().clone();
        near.call(move |host| host.create_veth(&spec, &there))?;
        for (worker, name) in [(&near, "near0"), (&far, "far0")] {
            let name: LinkName = name.parse()?;
            worker.call(move |host| {
                let link = host.link(&name)?;
                host.set_up(link.index, true)
            })?;
        }
        let name: LinkName = "near0".parse()?;
        let sender = near.call(move |host| {
            let link = host.link(&name)?;
            host.wait_running(link.index, PATIENCE)?;
            host.packet_socket(link.index, xdproof_netns::PacketOptions::default())
        })?;
        Ok(Self { _near: near, far, sender })
    }

    /// Starts `xdproof watch far0` in the far namespace, and waits until it prints that it is attached.
    fn watch(&self, arguments: &[&str]) -> Result<(Child, BufReader<std::process::ChildStdout>)> {
        let mut command = xdproof();
        // It ends by itself at the deadline, so that no reader of its lines waits for ever.
        command.args(["watch", "far0", "--interval", "0.05", "--count", "600", "--json"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A child inherits the namespace of the thread that starts it.
        let mut child = self.far.run(move |_| command.spawn())??;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut first = String::new();
        lines.read_line(&mut first)?;
        if first.is_empty() {
            let output = child.wait_with_output()?;
            return Err(format!("watch ended: {}", stderr(&output)).into());
        }
        Ok((child, lines))
    }

    fn attached(&self) -> Result<xdproof_netns::XdpState> {
        let name: LinkName = "far0".parse()?;
        Ok(self.far.call(move |host| host.link(&name))?.xdp)
    }
}

/// Returns an Ethernet frame of 60 bytes with an IPv4 header of this protocol.
fn ipv4(protocol: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45];
    frame.resize(60, 0);
    frame[23] = protocol;
    frame
}

fn watch_in(mode: XdpMode, option: &str) -> Result {
    let pair = Pair::up()?;
    let (child, lines) = pair.watch(&[option])?;
    if pair.attached()?.attached(mode).is_none() {
        return Err(format!("not attached in {mode} mode").into());
    }
    for _ in 0..300 {
        pair.sender.send(&ipv4(17))?;
    }
    for _ in 0..200 {
        pair.sender.send(&ipv4(1))?;
    }
    let (mut udp, mut icmp, mut totals) = (0, 0, Vec::new());
    let mut asked = false;
    for line in lines.lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let packets = line["packets"].as_u64().ok_or("no packets")?;
        match (line["kind"].as_str(), line["protocol"].as_u64()) {
            (Some("rate"), Some(protocol)) => {
                *(if protocol == 17 { &mut udp } else { &mut icmp }) += packets;
                let rate = line["packets_per_second"].as_f64().ok_or("no rate")?;
                let seconds = line["seconds"].as_f64().ok_or("no seconds")?;
                let close = (rate * seconds - packets as f64).abs() < 0.5;
                if !close || seconds < 0.05 {
                    return Err(format!("not a true rate: {line}").into());
                }
            }
            (Some("total"), Some(protocol)) => totals.push((protocol, packets)),
            _ => return Err(format!("not expected: {line}").into()),
        }
        if udp + icmp >= 500 && !asked {
            signal(&child, if mode == XdpMode::Generic { Signal::INT } else { Signal::TERM })?;
            asked = true;
        }
    }
    let output = child.wait_with_output()?;
    expect_code(&output, 0)?;
    if (udp, icmp) != (300, 200) || totals != [(1, 200), (17, 300)] {
        return Err(format!("counted {udp} UDP and {icmp} ICMP, in all {totals:?}").into());
    }
    let left = pair.attached()?;
    if left.is_empty() { Ok(()) } else { Err(format!("left attached: {left}").into()) }
}

fn watch_generic() -> Result {
    watch_in(XdpMode::Generic, "-S")
}

fn watch_native() -> Result {
    watch_in(XdpMode::Native, "-N")
}

fn watch_gone() -> Result {
    let pair = Pair::up()?;
    let (child, _lines) = pair.watch(&["-S"])?;
    let name: LinkName = "far0".parse()?;
    pair.far.call(move |host| {
        let link = host.link(&name)?;
        host.delete_link(link.index)
    })?;
    expect_one_error(&child.wait_with_output()?, 3, &["far0", "deleted"])
}

fn watch_occupied() -> Result {
    let pair = Pair::up()?;
    let (child, _lines) = pair.watch(&["-N"])?;
    let before = pair.attached()?;
    let mut command = xdproof();
    command.args(["watch", "far0", "-N"]);
    let second = pair.far.run(move |_| command.output())??;
    expect_one_error(&second, 3, &["already has an XDP program"])?;
    let kept = pair.attached()? == before;
    signal(&child, Signal::KILL)?;
    expect(kept, "the first program was disturbed", &child.wait_with_output()?)?;
    // A killed process cannot detach its program; the kernel does.
    let deadline = Instant::now() + PATIENCE;
    while !pair.attached()?.is_empty() {
        if Instant::now() > deadline {
            return Err("the killed program is still attached".into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

fn watch_tun() -> Result {
    let worker = Worker::spawn(&NetNs::create()?, "tun")?;
    let output = worker.run(|_| {
        let made = Command::new("ip").args(["tuntap", "add", "dev", "l3", "mode", "tun"]).status()?;
        if !made.success() {
            return Err(std::io::Error::other("ip makes no tun"));
        }
        xdproof().args(["watch", "l3", "--count", "1", "--interval", "0.05"]).output()
    })??;
    expect_one_error(&output, 3, &["l3 has no Ethernet header (ARPHRD_NONE)"])
}

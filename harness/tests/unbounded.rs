//! Inputs that ask for more than there is: each is refused with exit code 2 and the limit, in seconds and within 512 MiB of memory.
//! Needs no privilege: nothing is loaded before the inputs are read.

#[path = "support/cli.rs"]
#[expect(dead_code, reason = "these commands have no result and get no signal")]
mod cli;
#[path = "support/privilege.rs"]
#[expect(dead_code, reason = "nothing here needs privilege")]
mod privilege;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
};

use cli::{Result, expect, expect_one_error, stderr, xdproof};
use libtest_mimic::{Arguments, Trial as Test};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Address space of a command in bytes, which is more than its memory, and its processor time in seconds: other processes do not count.
const LIMITS: [&str; 2] = ["--as=536870912", "--cpu=5"];

/// Seconds after which a command is killed that waits for an input.
const KILLED_AFTER: &str = "60";

/// Makes an input in a directory and returns the arguments that read it.
type Make = fn(&Path) -> io::Result<Vec<String>>;

/// Name, input, a part of the error.
const CASES: &[(&str, Make, &str)] = &[
    ("a_capture_that_is_a_fifo", |at| as_pcap(fifo(at, "x.pcap")), "is a FIFO"),
    ("a_capture_that_is_a_device_behind_a_link", |at| as_pcap(zeros(at, "x.pcap")), "is a character device"),
    ("a_capture_that_is_a_terabyte_of_nothing", sparse_capture, "more than 2097152 packets"),
    ("a_capture_that_decompresses_without_end", gzipped_capture, "more than 2097152 packets"),
    ("a_record_of_four_gigabytes", long_record, "is malformed"),
    ("a_block_of_four_gigabytes", long_block, "is malformed"),
    ("a_scenario_that_is_a_fifo", |at| as_corpus(at, fifo(at, "x.toml")), "is a FIFO"),
    ("a_scenario_that_is_a_device_behind_a_link", |at| as_corpus(at, zeros(at, "x.toml")), "is a character"),
    (
        "a_scenario_of_a_gigabyte_of_nothing",
        |at| as_corpus(at, sparse(at, "x.toml")),
        "at most 1048576 are read",
    ),
    ("a_matrix_of_long_payloads", long_payloads, "more than 67108864 bytes"),
    ("a_matrix_that_repeats_a_capture", repeated_capture, "at most 262144"),
    ("frames_that_are_too_many_together", many_matrices, "at most 262144 are made"),
    ("a_hundred_thousand_unknown_tables", unknown_tables, "and 99980 more errors"),
    ("as_many_problems_as_combinations", wrong_combinations, "more errors in this file"),
    ("a_line_without_end", long_line, "at most 262144 are read"),
    ("a_frame_of_ten_thousand_layers", many_layers, "at most 256 are made"),
    ("a_matrix_of_ten_thousand_variables", many_variables, "at most 64 are read"),
    ("arrays_in_arrays", nested, "not valid TOML"),
    ("a_frame_that_is_repeated_four_billion_times", |at| repeat(at, u32::MAX, "list"), "at most 16777216"),
    (
        "an_export_of_more_than_a_gigabyte",
        |at| repeat(at, 16_777_216, "export"),
        "at most 1073741824 are written",
    ),
    ("a_capture_beside_a_scenario_that_is_a_fifo", fifo_beside, "is a FIFO"),
    ("scenarios_that_are_too_long_together", many_scenarios, "more than 33554432 bytes together"),
    ("a_result_that_is_a_fifo", |at| as_result(at, fifo(at, "result.json")), "is a FIFO"),
    (
        "a_result_that_is_a_device_behind_a_link",
        |at| as_result(at, zeros(at, "result.json")),
        "is a character",
    ),
    ("a_result_of_a_gigabyte_of_nothing", |at| as_result(at, sparse(at, "result.json")), "at most 268435456"),
    ("a_result_of_ten_million_values", many_values, "at most 8000000 are read"),
    ("a_baseline_that_is_a_fifo", |at| bench(at, "--baseline"), "is a FIFO"),
    ("an_object_that_is_a_fifo", |at| bench(at, "--against"), "did not end within"),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let refused = |&(name, make, part): &'static (&str, Make, &str)| {
        Test::test(format!("{name}_is_refused"), move || {
            let directory = tempfile::tempdir()?;
            let input = make(directory.path())?;
            expect_one_refusal(&limited(&input, Stdio::null())?, part)
        })
    };
    let mut tests: Vec<Test> = CASES.iter().map(refused).collect();
    tests.push(Test::test("standard_input_without_end_is_refused", endless_stdin));
    tests.push(Test::test("a_compressed_capture_is_read_from_standard_input", compressed_stdin));
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Runs a command within limits of memory and time.
fn limited(arguments: &[String], stdin: Stdio) -> Result<Output> {
    let program = xdproof().get_program().to_owned();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", KILLED_AFTER, "prlimit"]).args(LIMITS).arg(program).args(arguments);
    Ok(command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").stdin(stdin).output()?)
}

/// Expects exit code 2, an error with this part, and no more lines than fit a screen.
fn expect_one_refusal(output: &Output, part: &str) -> Result {
    let lines = stderr(output).lines().count();
    if lines == 1 {
        return expect_one_error(output, 2, &[part]);
    }
    cli::expect_code(output, 2)?;
    expect(stderr(output).contains(part), &format!("the message does not say `{part}`"), output)?;
    expect(lines <= 41 && output.stderr.len() < 20_000, "the message is too long", output)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn as_pcap(file: io::Result<PathBuf>) -> io::Result<Vec<String>> {
    Ok(words(["list", "--pcap", &text(&file?)]))
}

fn as_corpus(at: &Path, file: io::Result<PathBuf>) -> io::Result<Vec<String>> {
    file?;
    Ok(words(["list", "--corpus", &text(at)]))
}

fn as_result(at: &Path, file: io::Result<PathBuf>) -> io::Result<Vec<String>> {
    file?;
    Ok(words(["report", &text(at), "--out", &text(&at.join("out"))]))
}

fn bench(at: &Path, option: &str) -> io::Result<Vec<String>> {
    Ok(words(["bench", option, &text(&fifo(at, "input")?)]))
}

fn fifo(at: &Path, name: &str) -> io::Result<PathBuf> {
    let path = at.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0)?;
    Ok(path)
}

fn zeros(at: &Path, name: &str) -> io::Result<PathBuf> {
    let path = at.join(name);
    symlink("/dev/zero", &path)?;
    Ok(path)
}

fn sparse(at: &Path, name: &str) -> io::Result<PathBuf> {
    let path = at.join(name);
    File::create(&path)?.set_len(1 << 30)?;
    Ok(path)
}

fn written(at: &Path, name: &str, content: impl AsRef<[u8]>) -> io::Result<PathBuf> {
    let path = at.join(name);
    fs::write(&path, content)?;
    Ok(path)
}

/// The header of a capture, behind which zeros are empty packets.
const CAPTURE: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];

fn sparse_capture(at: &Path) -> io::Result<Vec<String>> {
    let path = written(at, "x.pcap", CAPTURE)?;
    File::options().write(true).open(&path)?.set_len(1 << 40)?;
    as_pcap(Ok(path))
}

fn gzipped(at: &Path) -> io::Result<PathBuf> {
    let path = at.join("x.pcap.gz");
    let mut to = flate2::write::GzEncoder::new(File::create(&path)?, flate2::Compression::fast());
    to.write_all(&CAPTURE)?;
    (0..40).try_for_each(|_| to.write_all(&vec![0; 1 << 20]))?;
    to.finish()?;
    Ok(path)
}

fn gzipped_capture(at: &Path) -> io::Result<Vec<String>> {
    as_pcap(gzipped(at))
}

fn long_record(at: &Path) -> io::Result<Vec<String>> {
    as_pcap(written(at, "x.pcap", [&CAPTURE[..], &[0; 8], &[0xff; 8], &[0; 100]].concat()))
}

fn long_block(at: &Path) -> io::Result<Vec<String>> {
    let section = [0x0a, 0x0d, 0x0d, 0x0a, 0xfc, 0xff, 0xff, 0xff, 0x4d, 0x3c, 0x2b, 0x1a];
    as_pcap(written(at, "x.pcapng", [&section[..], &[0; 100]].concat()))
}

const EXPECT: &str = "[expect]\ncounts = {}\npassed = 0\ndropped = 0\n";

fn scenario(at: &Path, text: &str) -> io::Result<Vec<String>> {
    as_corpus(at, written(at, "x.toml", format!("summary = 'x'\n{text}{EXPECT}")))
}

fn long_payloads(at: &Path) -> io::Result<Vec<String>> {
    let layers =
        "[[frame]]\nlayers = [{ ethernet = { ethertype = '$a' } }, { payload = { length = 60000 } }]\n";
    scenario(at, &format!("[matrix]\na = '0..=65535'\n{layers}"))
}

fn repeated_capture(at: &Path) -> io::Result<Vec<String>> {
    let packets = [&[0; 8][..], &[14, 0, 0, 0, 14, 0, 0, 0], &[7; 14]].concat().repeat(100);
    written(at, "some.pcap", [&CAPTURE[..], &packets].concat())?;
    let ones = "1, ".repeat(3_000);
    scenario(at, &format!("[matrix]\na = [{ones}]\n[[frame]]\npcap = 'some.pcap'\nrepeat = '$a'\n"))
}

fn many_matrices(at: &Path) -> io::Result<Vec<String>> {
    let frame = "[[frame]]\nlayers = [{ ethernet = { ethertype = '$a' } }]\n";
    scenario(at, &format!("[matrix]\na = '1..=65535'\n{}", frame.repeat(5)))
}

fn unknown_tables(at: &Path) -> io::Result<Vec<String>> {
    let tables: String = (0..100_000).map(|number| format!("[t{number}]\n")).collect();
    as_corpus(at, written(at, "x.toml", tables))
}

fn wrong_combinations(at: &Path) -> io::Result<Vec<String>> {
    let frame = "[[frame]]\nlayers = [{ ethernet = { ethertype = '$a', wrong = '$a', source = '$a' } }]\n";
    scenario(at, &format!("[matrix]\na = '70000..=135000'\n{}", frame.repeat(4)))
}

fn long_line(at: &Path) -> io::Result<Vec<String>> {
    scenario(at, &format!("[[frame]]\nhex = '{}'\n", "00".repeat(300_000)))
}

fn many_layers(at: &Path) -> io::Result<Vec<String>> {
    let layers = "{ payload = { length = 60000 } }, ".repeat(7_000);
    scenario(at, &format!("[[frame]]\nlayers = [{layers}]\n"))
}

fn many_variables(at: &Path) -> io::Result<Vec<String>> {
    let variables: String = (0..10_000).map(|number| format!("v{number} = '0..=1'\n")).collect();
    scenario(at, &format!("[matrix]\n{variables}[[frame]]\nhex = '00'\n"))
}

fn nested(at: &Path) -> io::Result<Vec<String>> {
    scenario(at, &format!("tags = {}{}\n", "[".repeat(50_000), "]".repeat(50_000)))
}

/// A frame of 60 bytes that is sent so often.
fn repeat(at: &Path, times: u32, verb: &str) -> io::Result<Vec<String>> {
    let layers = "layers = [{ ethernet = {} }, { ipv4 = {} }, { udp = {} }, { payload = { length = 18 } }]";
    let expect = format!("[expect]\ncounts = {{ udp = {times} }}\npassed = {times}\ndropped = 0\n");
    written(at, "x.toml", format!("summary = 'x'\n[[frame]]\nrepeat = {times}\n{layers}\n{expect}"))?;
    let mut arguments = words([verb, "--corpus", &text(at)]);
    if verb == "export" {
        arguments.extend(words(["--out", &text(&at.join("out"))]));
    }
    Ok(arguments)
}

fn fifo_beside(at: &Path) -> io::Result<Vec<String>> {
    fifo(at, "some.pcap")?;
    scenario(at, "[[frame]]\npcap = 'some.pcap'\n")
}

fn many_scenarios(at: &Path) -> io::Result<Vec<String>> {
    for number in 0..34 {
        File::create(at.join(format!("{number}.toml")))?.set_len(1 << 20)?;
    }
    Ok(words(["list", "--corpus", &text(at)]))
}

fn many_values(at: &Path) -> io::Result<Vec<String>> {
    let values = "0,".repeat(10_000_000);
    as_result(
        at,
        written(at, "result.json", format!("{{\"schema\":\"xdproof.result/1\",\"trials\":[{values}0]}}")),
    )
}

fn endless_stdin() -> Result {
    let directory = tempfile::tempdir()?;
    let header = written(directory.path(), "header", CAPTURE)?;
    let mut source = Command::new("cat").arg(header).arg("/dev/zero").stdout(Stdio::piped()).spawn()?;
    let pipe = source.stdout.take().ok_or("no pipe")?;
    let output = limited(&words(["list", "--pcap", "-"]), pipe.into())?;
    // Its reader is gone.
    source.wait()?;
    expect_one_refusal(&output, "more than 2097152 packets")
}

fn compressed_stdin() -> Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("x.pcap.gz");
    let mut to = flate2::write::GzEncoder::new(File::create(&path)?, flate2::Compression::fast());
    xdproof_scenarios::capture_file::write(&mut to, [&[7; 60][..], &[8; 60]])?;
    to.finish()?;
    let output = limited(&words(["list", "--pcap", "-"]), File::open(&path)?.into())?;
    cli::expect_code(&output, 0)?;
    expect(cli::stdout(&output).starts_with("pcap/stdin       2  2 frames"), "not its frames", &output)
}

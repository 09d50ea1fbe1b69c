//! `xdproof test`

use std::path::{Path, PathBuf};

use clap::Args;
use xdproof_scenarios::{
    Scenario,
    fixture::{self, Fixture},
    load,
};

use crate::{
    cli::{
        Exit, Failure, Output,
        devices::DeviceArgs,
        fan_out::FanOut,
        record,
        report::ResultArgs,
        signals::flag_on_end,
        survey,
        validate::{default_jobs, exit},
    },
    model::mode::{InjectorKind, Mode},
    plan::selection::Selection,
    program::{self, Object},
    report::console::Console,
    suites::fixtures::{self, FixtureLab, FixtureOrder, Override},
    trial::preconditions,
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Fixtures")]
pub(super) struct Test {
    /// Run the fixtures in these files and directories.
    ///
    /// A fixture is a TOML file; directories are searched for them at any depth.
    ///
    /// Without one, the program runs on the frames of the built-in scenarios, and a test run, generic and native mode have to agree.
    #[arg(value_name = "PATH", required_unless_present_any = ["object", "pinned", "program_id"])]
    paths: Vec<PathBuf>,
    /// Write a fixture PATH of what the program does now.
    ///
    /// It is run on the frames of CAPTURE.
    ///
    /// Its actions, output bytes and maps are those of a test run. Review it before you keep it.
    #[arg(long, value_name = "CAPTURE", requires = "object", conflicts_with = "accept")]
    new: Option<PathBuf>,
    /// Update fixtures that --new wrote.
    ///
    /// Their expectations become what the program does now.
    #[arg(long, requires = "paths")]
    accept: bool,
    /// Select fixtures whose id matches (repeatable).
    ///
    /// `*` matches any characters, `/` included.
    #[arg(long, value_name = "GLOB")]
    fixture: Vec<String>,
    /// Attach in these modes: generic, native, offload.
    ///
    /// Separated by commas; the default is generic,native, and test runs.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODE")]
    mode: Vec<Mode>,
    /// Send by `pnet`, `ring`, `live_frames`, `test_run`.
    ///
    /// Separated by commas; the default is `pnet,test_run`, or `pnet` where modes are named.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    injector: Vec<InjectorKind>,
    /// Run N cases at once [default: CPUs, at most 16].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Load this BPF object file, not those of the fixtures.
    #[arg(long, value_name = "FILE", help_heading = "Program under test")]
    object: Option<PathBuf>,
    /// Test this program of the object.
    #[arg(long, value_name = "NAME", help_heading = "Program under test")]
    program: Option<String>,
    /// Test a loaded program that is pinned at PATH.
    ///
    /// It is left as it was found: entries of its maps that a fixture writes are restored.
    #[arg(long, value_name = "PATH", conflicts_with = "object", help_heading = "Program under test")]
    pinned: Option<PathBuf>,
    /// Test the loaded program with this id.
    ///
    /// `bpftool prog` prints it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["object", "pinned"], help_heading = "Program under test")]
    program_id: Option<u32>,
    /// Use maps that are pinned by name.
    ///
    /// The object's own loader does so. Without this option, such maps are loaded unpinned and private.
    #[arg(long, help_heading = "Program under test")]
    reuse_pins: bool,
    #[command(flatten)]
    devices: DeviceArgs,
    #[command(flatten)]
    result: ResultArgs,
}

impl Test {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {
            paths,
            new,
            accept,
            fixture: globs,
            mode,
            injector,
            jobs,
            object,
            program: name,
            pinned,
            program_id: id,
            reuse_pins,
            devices,
            result: result_args,
        } = self;
        devices.check_injectors(&injector)?;
        let selection = Selection { modes: mode, injectors: injector, scenarios: globs, partition: None };
        let jobs = jobs.unwrap_or_else(default_jobs);
        let over = Override { object, program: name, pinned, id, reuse_pins };
        if let Some(capture) = new {
            let [file] = paths.as_slice() else { return Err(one_file(&capture, paths.len())) };
            preconditions::check(jobs)?;
            record::new(&FixtureLab::open(over.clone())?, &over, &capture, file)?;
            return Ok(Exit::AsExpected);
        }
        let given = read(&paths, &selection)?;
        if accept {
            preconditions::check(jobs)?;
            record::accept(&FixtureLab::open(over.clone())?, &over, &given)?;
            return Ok(Exit::AsExpected);
        }
        let is_compared = paths.is_empty();
        let mut paths_to_run = selection.paths();
        let file = result_args.create()?;
        preconditions::check(jobs)?;
        let surveyed = over.object.clone();
        let mut lab = FixtureLab::open(over)?;
        if let Some(object) = surveyed.filter(|_| is_compared) {
            let survey = program::survey(&Object::file(object))?;
            survey::write(&mut output.people(), &survey).map_err(Failure::output)?;
        }
        let fixtures = if is_compared { lab.recorded(&corpus(&selection)?)? } else { given };
        if is_compared {
            // A test run is what the others are compared with; another one differs only where it splits frames.
            let splits = fixtures.first().map_or(Ok(false), |fixture| lab.split(fixture))?;
            paths_to_run.retain(|path| path.mode.is_attached() || splits);
        }
        let environment = lab.check(&fixtures)?;
        let cancelled = flag_on_end(devices.hint_at_end())?;
        let claimed = devices.claim(output)?;
        let modes: Vec<Mode> = paths_to_run.iter().map(|path| path.mode).collect();
        let lab = lab.on(devices.testbed(&claimed, &modes)?);
        let console = Console::new(output.people(), output.verbosity());
        let console = if is_compared { console } else { console.with_a_line_a_trial() };
        let mut reporters = FanOut {
            progress: output.progress(true),
            text: console.with_frames_in(result_args.out.clone()),
            file,
        };
        let give_back = || claimed.restore();
        let order = FixtureOrder {
            fixtures: &fixtures,
            paths: &paths_to_run,
            jobs,
            cancelled,
            give_back: &give_back,
        };
        let ran = fixtures::run(&lab, environment, order, &mut reporters);
        if ran.is_err() {
            // A run that ended early has not restored the devices.
            claimed.restore();
        }
        let result = ran?;
        result_args.write_reports()?;
        if output.json {
            Output::print_json(&result)?;
        }
        Ok(exit(&result))
    }
}

fn one_file(capture: &Path, paths: usize) -> Failure {
    let capture = capture.display();
    Failure::Input(anyhow::anyhow!(
        "--new {capture} writes one fixture, and {paths} paths are given; name one file"
    ))
}

/// Returns the selected fixtures below some paths.
fn read(paths: &[PathBuf], selection: &Selection) -> Result<Vec<Fixture>, Failure> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut fixtures = fixture::find(paths).map_err(|errors| Failure::files(&errors))?;
    selection.retain(&mut fixtures)?;
    Ok(fixtures)
}

/// Returns the selected scenarios of the built-in corpus.
fn corpus(selection: &Selection) -> Result<Vec<Scenario>, Failure> {
    let scenarios = load::builtin().map_err(|errors| Failure::files(&errors))?;
    Ok(selection.choose(&scenarios)?.into_iter().cloned().collect())
}

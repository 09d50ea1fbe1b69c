//! `xdproof test --new` and `--accept`: fixtures of what a program does now.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::Context as _;
use xdproof_scenarios::{
    Frame, ScenarioId, capture_file,
    fixture::{
        BytesExpectation, Fixture, FixtureAction, FixtureFrame, FixtureRequires, FrameContext,
        FrameExpectation, MapClaim, MapExpectation, MapSubject, NewFixture, NewFrame, NewInput, NewMapValue,
        NewOutput, NewProgram, ProgramChoice, ProgramOrigin, Spot, write,
    },
    input,
};

use crate::{
    cli::{Failure, stderr::say_on_stderr},
    report::output,
    suites::fixtures::{FixtureLab, Override},
};

/// The most frames of a capture that are written into a fixture.
const MOST_FRAMES: usize = 4096;

/// Writes a fixture of a capture into a file that does not exist.
pub(super) fn new(lab: &FixtureLab, over: &Override, capture: &Path, file: &Path) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::Input(anyhow::anyhow!(
            "{} exists; write another file, or update it with --accept",
            file.display()
        )));
    }
    let fixture = lab.record(&skeleton(capture, file)?)?;
    store(file, &text_of(&fixture, over, file)?)?;
    say_on_stderr(format_args!("wrote {}: review it, it says what the program does now", file.display()));
    Ok(())
}

/// Writes fixtures again, with what their programs do now. Only those are that set nothing up, as [`new`] writes them: the others have
/// parts that only a person can write.
pub(super) fn accept(lab: &FixtureLab, over: &Override, fixtures: &[Fixture]) -> Result<(), Failure> {
    for fixture in fixtures {
        let file = fixture.source.display();
        let is_plain = fixture.maps.is_empty()
            && fixture.globals.is_empty()
            && fixture.deviations.is_empty()
            && fixture.context == FrameContext::default()
            && fixture.requires == FixtureRequires::default();
        if !is_plain {
            return Err(Failure::Input(anyhow::anyhow!(
                "{file} sets up more than frames; --accept writes only fixtures that --new wrote, edit this one by hand"
            )));
        }
    }
    for fixture in fixtures {
        let recorded = lab.record(fixture)?;
        store(&fixture.source, &text_of(&recorded, over, &fixture.source)?)?;
        say_on_stderr(format_args!("wrote {}", fixture.source.display()));
    }
    Ok(())
}

/// Returns a fixture that sends the frames of a capture, without an expectation yet.
fn skeleton(capture: &Path, file: &Path) -> Result<Fixture, Failure> {
    let name = capture.display();
    let opened =
        input::open(capture).with_context(|| format!("failed to read {name}")).map_err(Failure::Input)?;
    let frames = capture_file::read(opened).with_context(|| name.to_string()).map_err(Failure::Input)?.frames;
    if frames.is_empty() || frames.len() > MOST_FRAMES {
        return Err(Failure::Input(anyhow::anyhow!(
            "{name} has {} frames; a fixture is written of 1 to {MOST_FRAMES}",
            frames.len()
        )));
    }
    let undeclared = FrameExpectation { action: FixtureAction::Pass, to: None, bytes: BytesExpectation::Any };
    let frames = frames.into_iter().enumerate().map(|(group, bytes)| FixtureFrame {
        group,
        frame: Frame { bytes, repeat: 1, layers: Vec::new() },
        context: None,
        expect: undeclared.clone(),
        maps: Vec::new(),
        spot: Spot::default(),
    });
    let id: ScenarioId = "recorded".parse().map_err(Failure::input)?;
    Ok(Fixture {
        id,
        source: file.to_owned(),
        summary: format!("recorded from {}", capture.file_name().unwrap_or_default().to_string_lossy()),
        tags: Vec::new(),
        program: None,
        globals: Vec::new(),
        context: FrameContext::default(),
        maps: Vec::new(),
        frames: frames.collect(),
        maps_after: Vec::new(),
        requires: FixtureRequires::default(),
        deviations: Vec::new(),
    })
}

/// Returns the text of a recorded fixture. Its object is named relative to it.
fn text_of(fixture: &Fixture, over: &Override, file: &Path) -> Result<String, Failure> {
    let chosen = match (&over.object, &fixture.program) {
        (Some(object), _) => Some((object.clone(), over.program.clone())),
        (None, Some(ProgramChoice { from: ProgramOrigin::Object(object), name, .. })) => {
            Some((object.clone(), over.program.clone().or_else(|| name.clone())))
        }
        _ => None,
    };
    let program = chosen
        .map(|(object, name)| Ok::<_, Failure>(NewProgram { object: relative(&object, file)?, name }))
        .transpose()?;
    let frames = fixture.frames.iter().map(|its| NewFrame {
        input: NewInput::Hex(its.frame.bytes.clone()),
        repeat: its.frame.repeat,
        action: its.expect.action,
        to: its.expect.to,
        output: match &its.expect.bytes {
            BytesExpectation::Unchanged => NewOutput::Unchanged,
            BytesExpectation::Exactly(bytes) => NewOutput::Hex(bytes.clone()),
            BytesExpectation::Partly { .. } | BytesExpectation::Any => NewOutput::Dropped,
        },
    });
    let maps =
        fixture.maps_after.iter().filter_map(|MapExpectation { subject, claim, per_cpu, .. }| {
            match (subject, claim) {
                (MapSubject::Map(name), MapClaim::Value { key, value }) => Some(NewMapValue {
                    name: name.clone(),
                    key: key.clone(),
                    value: value.clone(),
                    per_cpu: *per_cpu,
                }),
                _ => None,
            }
        });
    Ok(write(&NewFixture {
        summary: fixture.summary.clone(),
        program,
        frames: frames.collect(),
        maps: maps.collect(),
    }))
}

fn store(file: &Path, text: &str) -> Result<(), Failure> {
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file
        .file_name()
        .map(Path::new)
        .ok_or_else(|| Failure::Input(anyhow::anyhow!("{} is no name of a file", file.display())))?;
    let written = output::write_file(directory, name, |to| to.write_all(text.as_bytes()));
    written.map(drop).map_err(Failure::input)
}

/// Returns the path of an object as seen from the directory of a file.
fn relative(object: &Path, file: &Path) -> Result<PathBuf, Failure> {
    let absolute = |path: &Path| {
        fs::canonicalize(path)
            .with_context(|| format!("failed to find {}", path.display()))
            .map_err(Failure::Input)
    };
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(Failure::output)?;
    }
    let (object, directory) = (absolute(object)?, absolute(directory)?);
    let common =
        object.components().zip(directory.components()).take_while(|(one, other)| one == other).count();
    let up = directory.components().skip(common).map(|_| Component::ParentDir);
    Ok(up.chain(object.components().skip(common)).collect())
}

//! A copy of the test program that claims devices, and dies after a step.

use std::{
    io::{self, Read as _},
    process::ExitCode,
};

use rustix::process::{Signal, getpid, kill_process};
use xdproof::{
    error::chain,
    testbed::{ClaimOptions, DevicePair, devices::step::ClaimStep},
};

use crate::cli::Result;

/// Environment variable that tells a copy of this program to claim devices, and after which step to die: `DUT TESTER [STEP]`.
pub(crate) const ORDER: &str = "XDPROOF_CLAIM";

/// The step after which to die, for a function without captures.
static DIE_AFTER: std::sync::OnceLock<ClaimStep> = std::sync::OnceLock::new();

fn die_after(step: ClaimStep) {
    if DIE_AFTER.get() == Some(&step) {
        kill_process(getpid(), Signal::KILL).ok();
    }
}

/// In a copy of this program: claims devices, says so, and restores them at the end of its input.
pub(crate) fn claim_as_ordered(order: &str) -> ExitCode {
    let words: Vec<&str> = order.split_whitespace().collect();
    if let Some(step) =
        words.get(2).and_then(|word| ClaimStep::ALL.into_iter().find(|step| format!("{step:?}") == *word))
    {
        DIE_AFTER.get_or_init(|| step);
    }
    let claim = || -> Result {
        let options = ClaimOptions { after_step: Some(die_after), ..ClaimOptions::default() };
        let pair = DevicePair::claim(&words[0].parse()?, &words[1].parse()?, options)
            .map_err(|error| chain(&error))?;
        println!("claimed");
        io::stdin().read_to_end(&mut Vec::new())?;
        pair.restore()?;
        Ok(())
    };
    match claim() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.message().unwrap_or("unknown"));
            ExitCode::FAILURE
        }
    }
}

//! The subject of a trial: a program, and the counters that it keeps if it is a counter.

use crate::{
    model::observation::Counts,
    program::{CounterMap, Object, Program, ProgramError, Width},
};

/// A program under test with its counter map. One without a map is observed by its runs and by what it does to frames.
#[derive(Debug)]
pub struct Subject {
    pub program: Program,
    pub counters: Option<CounterMap>,
}

impl From<Program> for Subject {
    fn from(program: Program) -> Self {
        Self { program, counters: None }
    }
}

impl Subject {
    /// Loads a program that counts. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root.
    pub fn load(object: &Object) -> Result<Self, ProgramError> {
        let (program, counters) = Program::load_counter(object)?;
        Ok(Self { program, counters: Some(counters) })
    }

    /// Returns how often the program [ran](Program::runs).
    pub fn runs(&self) -> Result<u64, ProgramError> {
        self.program.runs()
    }

    /// Returns the [counts](CounterMap::counts) of every CPU; none without a counter map.
    pub fn counts(&self) -> Result<Vec<Counts>, ProgramError> {
        self.counters.as_ref().map_or(Ok(Vec::new()), CounterMap::counts)
    }

    /// Returns the width of its counters, modulo which [counts](Self::counts) are subtracted.
    #[must_use]
    pub fn width(&self) -> Width {
        self.counters.as_ref().map_or(Width::Bits64, CounterMap::width)
    }

    /// Returns whether each CPU has counters of its own.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        self.counters.as_ref().is_some_and(CounterMap::is_per_cpu)
    }

    /// [Leaves out](CounterMap::ignore_stray) counts at keys that are no protocol numbers.
    pub fn ignore_stray(&mut self) {
        if let Some(counters) = &mut self.counters {
            counters.ignore_stray();
        }
    }

    /// [Presets](CounterMap::preset) a counter.
    ///
    /// # Errors
    ///
    /// Those of [`CounterMap::preset`], and a program without a counter map.
    pub fn preset(&mut self, protocol: u8, value: u64) -> Result<(), ProgramError> {
        self.counters.as_mut().ok_or(ProgramError::NoCounters)?.preset(protocol, value)
    }
}

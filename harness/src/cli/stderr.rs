//! Lines on standard error. Where it cannot be written (a full disk, a closed terminal), a run goes on: there is no other place to
//! say so, and the exit code tells the outcome.

use std::{fmt, io};

/// Prints a line, if there is somebody to read it.
pub(super) fn say_on_stderr(line: fmt::Arguments<'_>) {
    let _unwritable = io::Write::write_fmt(&mut anstream::stderr(), format_args!("{line}\n"));
}

/// A stream whose errors are no errors of the run.
pub(super) struct Forgiving<W>(pub(super) W);

impl<W: io::Write> io::Write for Forgiving<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let _unwritable = self.0.flush();
        Ok(())
    }
}

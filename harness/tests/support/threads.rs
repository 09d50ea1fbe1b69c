//! The command line of test binaries whose trials mostly wait for the kernel: for grace periods, for links to come up.

use libtest_mimic::Arguments;

/// Trials for each processor, of which one uses it.
const WAITING: usize = 3;

/// Returns the arguments, with more trials at once than there are processors unless they give a number.
pub(crate) fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(WAITING * processors);
    arguments
}

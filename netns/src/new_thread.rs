//! Threads that run one closure.

use std::{
    any::Any,
    thread::{Builder, JoinHandle},
};

use crate::Error;

/// Runs a closure on a new thread and waits for it.
pub(crate) fn on_new_thread<T, F>(label: &str, job: F) -> Result<T, Error>
where
    F: FnOnce() -> Result<T, Error> + Send + 'static,
    T: Send + 'static,
{
    start(label, job)?.join().map_err(|panic| Error::WorkerPanicked {
        worker: label.to_owned(),
        message: panic_message(&*panic),
    })?
}

pub(crate) fn start<T, F>(label: &str, job: F) -> Result<JoinHandle<T>, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new()
        // A thread's name is a C string; the standard library panics on a NUL byte in it.
        .name(label.replace('\0', ""))
        .spawn(job)
        .map_err(Error::refused("start a thread", None))
}

/// Extracts the message of a panic: `panic!` produces one of two string types.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

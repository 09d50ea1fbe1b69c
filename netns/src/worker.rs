//! One thread for each namespace. It enters the namespace once, runs the closures sent to it, and never
//! leaves.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use nix::sched::{CloneFlags, setns};

use crate::{
    Error, Host, NetNs,
    new_thread::{panic_message, start},
};

type Job = Box<dyn FnOnce(&mut Host) + Send>;

/// A thread in a namespace that runs jobs one after another. Dropping it drops the values that its [`Host`]
/// keeps and waits for the thread to end.
#[derive(Debug)]
pub struct Worker {
    namespace: NetNs,
    label: String,
    /// `None` only during the drop: closing the channel ends the thread.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Moves the calling thread to a namespace, unless it is there already, which requires no privilege.
fn enter(namespace: &NetNs) -> Result<(), Error> {
    if NetNs::current()?.inode()? == namespace.inode()? {
        return Ok(());
    }
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(Error::refused("enter a network namespace", None))
}

impl Worker {
    /// Starts a thread in a namespace. The label becomes the thread's name (the kernel shows 15 bytes of it).
    ///
    /// # Errors
    /// [`Error::Refused`] if the namespace cannot be entered (`EPERM` without `CAP_SYS_ADMIN`, unless the
    /// caller is in it) or a netlink socket cannot be opened in it.
    pub fn spawn(namespace: &NetNs, label: &str) -> Result<Self, Error> {
        let (jobs, queue) = channel::<Job>();
        let (ready, entered) = channel();
        let home = namespace.clone();
        let thread = start(label, move || {
            let opened = enter(&home).and_then(|()| Host::open());
            // From here on the thread itself keeps the namespace alive.
            drop(home);
            match opened {
                Ok(mut host) => {
                    if ready.send(Ok(())).is_ok() {
                        queue.into_iter().for_each(|job| job(&mut host));
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        let worker = Self {
            namespace: namespace.clone(),
            label: label.to_owned(),
            jobs: Some(jobs),
            thread: Some(thread),
        };
        entered.recv().map_err(|_| worker.gone())??;
        Ok(worker)
    }

    /// Runs a job in the namespace and waits for its result.
    ///
    /// # Errors
    /// [`Error::WorkerPanicked`] if the job panicked, after which the worker accepts further jobs;
    /// [`Error::WorkerReentered`] if a job of the same worker calls it.
    pub fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Host) -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.is_own_thread() {
            return Err(Error::WorkerReentered { worker: self.label.clone() });
        }
        let (reply, result) = channel();
        let job: Job = Box::new(move |host| {
            // A panic leaves the host consistent: a request was sent whole or not at all.
            let done = catch_unwind(AssertUnwindSafe(|| job(host)));
            // The caller waits below, unless its thread is gone, and then nothing misses the reply.
            drop(reply.send(done));
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(|| self.gone())?;
        result.recv().map_err(|_| self.gone())?.map_err(|panic| Error::WorkerPanicked {
            worker: self.label.clone(),
            message: panic_message(&*panic),
        })
    }

    /// Runs a job that can itself fail, as [`run`](Self::run) does, with one level of errors instead of two.
    ///
    /// # Errors
    /// Those of [`run`](Self::run) and of the job.
    pub fn call<T, F>(&self, job: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Host) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        self.run(job).flatten()
    }

    #[must_use]
    pub fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    fn is_own_thread(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id())
    }

    fn gone(&self) -> Error {
        Error::WorkerGone { worker: self.label.clone() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A worker that is dropped by one of its own jobs cannot wait for itself; it ends with that job.
        if !self.is_own_thread()
            && let Some(thread) = self.thread.take()
        {
            // The thread panics only if the destructor of a kept value does, which is reported on stderr.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Arc};

    use super::*;
    use crate::testing::namespace;

    fn worker() -> Option<Worker> {
        Some(Worker::spawn(&namespace()?, "tested").unwrap())
    }

    #[test]
    fn jobs_run_in_the_namespace_on_a_thread_named_by_the_label() {
        let Some(worker) = worker() else { return };
        let (inode, name) = worker
            .run(|_| {
                (NetNs::current().unwrap().inode().unwrap(), thread::current().name().map(str::to_owned))
            })
            .unwrap();
        assert_eq!(inode, worker.namespace().inode().unwrap());
        assert_eq!(name.as_deref(), Some("tested"));
    }

    #[test]
    fn a_worker_survives_a_panic() {
        let Some(worker) = worker() else { return };
        let error = worker.run(|_| panic!("boom {}", 7)).unwrap_err();
        assert!(matches!(&error, Error::WorkerPanicked { message, .. } if message == "boom 7"), "{error:?}");
        assert!(worker.call(Host::links).is_ok());
    }

    #[test]
    fn a_job_that_waits_for_its_own_worker_is_refused() {
        let Some(worker) = worker().map(Arc::new) else { return };
        let same = Arc::clone(&worker);
        let inner = worker.run(move |_| same.run(|_| ())).unwrap();
        assert!(matches!(inner, Err(Error::WorkerReentered { .. })), "{inner:?}");
    }

    #[test]
    fn a_worker_may_be_dropped_by_its_own_job() {
        let Some(worker) = worker().map(Arc::new) else { return };
        let (mine, last) = (Arc::clone(&worker), channel());
        let (done, ended) = last;
        let (go, gone) = channel::<()>();
        let runner = thread::spawn(move || {
            mine.run(|_| ()).unwrap();
            let job = Arc::clone(&mine);
            let jobs = mine.jobs.clone().unwrap();
            drop(mine);
            jobs.send(Box::new(move |_| {
                gone.recv().unwrap();
                drop(job);
                done.send(()).unwrap();
            }))
            .unwrap();
        });
        runner.join().unwrap();
        drop(worker);
        go.send(()).unwrap();
        ended.recv().unwrap();
    }

    #[test]
    fn a_kept_value_is_dropped_in_its_thread() {
        struct Witness(Sender<thread::ThreadId>, Rc<Cell<u32>>);
        impl Drop for Witness {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).unwrap();
            }
        }
        let Some(worker) = worker() else { return };
        let (dropped, end) = channel();
        let (kept, home) = worker
            .run(move |host| (host.keep(Witness(dropped, Rc::new(Cell::new(1)))), thread::current().id()))
            .unwrap();
        let counted = worker
            .run(move |host| {
                let Witness(_, count) = host.kept(&kept).unwrap();
                count.set(count.get() + 1);
                count.get()
            })
            .unwrap();
        assert_eq!(counted, 2);
        drop(worker);
        assert_eq!(end.try_recv(), Ok(home));
    }

    #[test]
    fn a_kept_value_is_released_by_its_own_host_only() {
        let (Some(worker), Some(other)) = (worker(), worker()) else { return };
        let kept = worker.run(|host| host.keep(5_u8)).unwrap();
        let (kept, elsewhere) =
            other.run(move |host| (host.kept(&kept).copied(), kept)).map(|(a, b)| (b, a)).unwrap();
        assert_eq!(elsewhere, None);
        assert_eq!(worker.run(move |host| host.release(kept)).unwrap(), Some(5));
    }

    #[test]
    fn values_that_outlive_a_job_are_send_and_sync() {
        fn shared<T: Send + Sync>() {}
        shared::<(Worker, NetNs, crate::PacketSocket, crate::Published, crate::Kept<Rc<()>>, Error)>();
    }

    #[test]
    fn a_label_with_a_nul_byte_starts_a_thread() {
        let Some(namespace) = namespace() else { return };
        assert!(Worker::spawn(&namespace, "a\0b").is_ok());
    }
}

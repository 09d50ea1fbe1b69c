//! The fixture of the tests: two namespaces joined by a veth pair.
//!
//! A test begins with `let Some(pair) = Pair::create() else { return };`. Without privilege it ends there,
//! which is reported once on stderr, or it fails if `XDPROOF_REQUIRE_PRIVILEGED=1` is set.

use std::{
    io::{self, Write as _},
    sync::Once,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    Error, IfIndex, LinkName, MacAddr, NetNs, PacketOptions, PacketSocket, VethEnd, VethSpec, Worker,
    new_thread::on_new_thread,
};

/// Deadline for an expected event.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(10);
/// Time within which an unexpected event would occur.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A veth pair, each end with the worker of its namespace.
pub(crate) struct Pair {
    pub(crate) near: Worker,
    pub(crate) far: Worker,
    pub(crate) near_index: IfIndex,
    pub(crate) far_index: IfIndex,
}

/// Creates a namespace. Returns `None` without the privilege.
pub(crate) fn namespace() -> Option<NetNs> {
    match NetNs::create() {
        Err(error) if error.errno() == Some(libc::EPERM) => {
            assert_ne!(
                std::env::var("XDPROOF_REQUIRE_PRIVILEGED").as_deref(),
                Ok("1"),
                "CAP_SYS_ADMIN is missing"
            );
            report_skip();
            None
        }
        created => Some(created.unwrap()),
    }
}

/// Reports once that tests are skipped, bypassing the test runner, which hides the output of passing tests.
fn report_skip() {
    static REPORTED: Once = Once::new();
    REPORTED.call_once(|| {
        let written = writeln!(
            io::stderr(),
            "the privileged tests are skipped: a network namespace requires CAP_SYS_ADMIN"
        );
        written.unwrap();
    });
}

/// Runs a closure in a mount namespace of its own, with a new file system of a kind at `/run`.
pub(crate) fn with_private_run(kind: &'static str, job: impl FnOnce() + Send + 'static) {
    on_new_thread("private-run", move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        mount(Some(kind), "/run", Some(kind), MsFlags::empty(), none).unwrap();
        job();
        Ok(())
    })
    .unwrap();
}

pub(crate) fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

/// A pair with one queue and an MTU of 1500 at each end.
pub(crate) fn spec() -> VethSpec {
    VethSpec {
        near: VethEnd::new(name("near"), MacAddr([2, 0, 0, 0, 0, 1])),
        far: VethEnd::new(name("far"), MacAddr([2, 0, 0, 0, 0, 2])),
    }
}

impl Pair {
    /// Creates a pair that is down.
    pub(crate) fn create() -> Option<Self> {
        Self::of(spec())
    }

    pub(crate) fn of(spec: VethSpec) -> Option<Self> {
        let near = Worker::spawn(&namespace()?, "near").unwrap();
        let far = Worker::spawn(&namespace()?, "far").unwrap();
        let (near_name, far_name) = (spec.near.name.clone(), spec.far.name.clone());
        let other = far.namespace().clone();
        near.call(move |host| host.create_veth(&spec, &other)).unwrap();
        let index = |worker: &Worker, name| worker.call(move |host| host.link(&name)).unwrap().index;
        let (near_index, far_index) = (index(&near, near_name), index(&far, far_name));
        Some(Self { near, far, near_index, far_index })
    }

    /// Brings both ends up and waits until they run.
    pub(crate) fn up(self) -> Self {
        self.at_near(|host, index| host.set_up(index, true)).unwrap();
        self.at_far(|host, index| host.set_up(index, true)).unwrap();
        self.at_far(|host, index| host.wait_running(index, ARRIVAL)).unwrap();
        self.at_near(|host, index| host.wait_running(index, ARRIVAL)).unwrap();
        self
    }

    pub(crate) fn near_socket(&self, options: PacketOptions) -> PacketSocket {
        self.at_near(move |host, index| host.packet_socket(index, options)).unwrap()
    }

    pub(crate) fn far_socket(&self, options: PacketOptions) -> PacketSocket {
        self.at_far(move |host, index| host.packet_socket(index, options)).unwrap()
    }

    /// Runs a job for the far end's link.
    pub(crate) fn at_far<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut crate::Host, IfIndex) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let index = self.far_index;
        self.far.call(move |host| job(host, index))
    }

    /// Runs a job for the near end's link.
    pub(crate) fn at_near<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut crate::Host, IfIndex) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let index = self.near_index;
        self.near.call(move |host| job(host, index))
    }
}

//! The namespace from inside: what a job of a [`Worker`](crate::Worker) is given.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

use netlink_proto::ConnectionHandle;
use tokio::runtime::{Builder, Runtime};

use crate::{
    Error,
    generic::GenericMessage,
    namespace,
    netlink::{Ask, Channel, RawMessage},
};

/// A namespace seen by a thread that lives in it: its netlink sockets, and what must be dropped in it.
///
/// Files under `/proc/thread-self/net` and `/proc/sys/net`, and every socket opened in a job, are the
/// namespace's own.
pub struct Host {
    // Dropped first: what is kept may want the namespace as it was.
    kept: HashMap<u64, Box<dyn Any>>,
    pub(crate) families: HashMap<&'static str, u16>,
    pub(crate) route: Channel<rtnetlink::Handle>,
    pub(crate) generic: Channel<ConnectionHandle<GenericMessage>>,
    /// Opened when it is first wanted: few want it.
    raw: Option<Channel<ConnectionHandle<RawMessage>>>,
    pub(crate) runtime: Runtime,
}

/// A ticket for a value that a [`Host`] keeps; good for that host only.
pub struct Kept<T> {
    key: u64,
    kind: PhantomData<fn() -> T>,
}

impl Host {
    /// Opens the sockets in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(Error::refused("build a runtime", None))?;
        Ok(Self {
            kept: HashMap::new(),
            families: HashMap::new(),
            route: Channel::open_route(&runtime)?,
            generic: Channel::open_generic(&runtime)?,
            raw: None,
            runtime,
        })
    }

    /// Keeps a value in the namespace's thread until it is [released](Self::release) or the worker ends. It
    /// need not be `Send`, for it never leaves.
    pub fn keep<T: 'static>(&mut self, value: T) -> Kept<T> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        self.kept.insert(key, Box::new(value));
        Kept { key, kind: PhantomData }
    }

    /// The kept value, or `None` if another host keeps it.
    pub fn kept<T: 'static>(&mut self, ticket: &Kept<T>) -> Option<&mut T> {
        self.kept.get_mut(&ticket.key)?.downcast_mut()
    }

    /// Takes the kept value back, or `None` if another host keeps it (which goes on keeping it).
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is good for one release")]
    pub fn release<T: 'static>(&mut self, ticket: Kept<T>) -> Option<T> {
        let Kept { key, kind: _ } = ticket;
        self.kept.remove(&key)?.downcast().ok().map(|value| *value)
    }

    /// Sends one message of rtnetlink as bytes and gives what is answered.
    pub(crate) fn raw(&mut self, ask: &Ask, message: RawMessage) -> Result<Vec<RawMessage>, Error> {
        let channel = match self.raw.take() {
            Some(channel) => channel,
            None => Channel::open_raw(&self.runtime)?,
        };
        let answer = channel.ask(&self.runtime, ask, message);
        self.raw = Some(channel);
        answer
    }

    /// Turns IPv6 off on every link of the namespace, present and to come: no router solicitation, no
    /// multicast report and no address detection comes between the frames. A kernel without IPv6 needs
    /// nothing done.
    ///
    /// # Errors
    /// [`Error::Refused`] if `/proc/sys` cannot be written.
    pub fn disable_ipv6(&mut self) -> Result<(), Error> {
        namespace::disable_ipv6()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.key).finish()
    }
}

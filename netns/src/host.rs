//! A namespace from inside: the argument of every job of a [`Worker`](crate::Worker).

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

use rtnetlink::sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};

use crate::{Error, namespace, netlink::Channel};

/// A namespace as the thread that entered it sees it: its netlink sockets, and values that must be dropped in
/// it.
///
/// Files under `/proc/thread-self/net` and `/proc/sys/net`, and every socket opened in a job, belong to the
/// namespace.
pub struct Host {
    // Dropped first: a kept value may need the namespace as it was.
    kept: HashMap<u64, Box<dyn Any>>,
    /// Numbers of generic netlink families.
    pub(crate) families: HashMap<&'static str, u16>,
    pub(crate) route: Channel,
    pub(crate) generic: Channel,
}

/// A ticket for a value that a [`Host`] keeps, valid for that host only.
pub struct Kept<T> {
    key: u64,
    kind: PhantomData<fn() -> T>,
}

impl Host {
    /// Opens the sockets in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, Error> {
        Ok(Self {
            kept: HashMap::new(),
            families: HashMap::new(),
            route: Channel::open(NETLINK_ROUTE)?,
            generic: Channel::open(NETLINK_GENERIC)?,
        })
    }

    /// Keeps a value in the namespace's thread until it is [released](Self::release) or the worker ends. The
    /// value never leaves the thread, so it need not be `Send`.
    pub fn keep<T: 'static>(&mut self, value: T) -> Kept<T> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        self.kept.insert(key, Box::new(value));
        Kept { key, kind: PhantomData }
    }

    /// Returns the kept value, or `None` if another host keeps it.
    pub fn kept<T: 'static>(&mut self, ticket: &Kept<T>) -> Option<&mut T> {
        self.kept.get_mut(&ticket.key)?.downcast_mut()
    }

    /// Removes and returns the kept value, or `None` if another host keeps it (and continues to do so).
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is good for one release")]
    pub fn release<T: 'static>(&mut self, ticket: Kept<T>) -> Option<T> {
        let Kept { key, kind: _ } = ticket;
        self.kept.remove(&key)?.downcast().ok().map(|value| *value)
    }

    /// Disables IPv6 on every present and future link of the namespace, so that no router solicitation,
    /// multicast report or duplicate address detection mixes with the frames of a test. Does nothing on a
    /// kernel without IPv6.
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

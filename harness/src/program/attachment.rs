//! Attaching a program to a device, and reading back that it is attached as asked.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use rustix::io::Errno;
use xdproof_netns::{Error, Host, IfIndex, Worker, XdpFlags, XdpLink, XdpMode};
use xdproof_scenarios::KernelVersion;

use crate::{
    host::kernel::kernel_version,
    program::{Program, ProgramError},
};

/// The first kernel with `bpf_link` for XDP (`BPF_LINK_TYPE_XDP`).
pub const LINK_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 9, patch: 0 };

/// A program on a device. It is detached when this is dropped.
#[derive(Debug)]
pub struct Attachment {
    /// The mode in which it is attached, as the kernel reports it.
    pub mode: XdpMode,
    pub index: IfIndex,
    /// The program's id.
    pub id: u32,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    Link(XdpLink),
    /// The device's namespace, to detach in.
    Netlink(Worker),
}

impl Program {
    /// Attaches the program to a device of the worker's namespace; without a mode the kernel chooses one. Needs
    /// `CAP_NET_ADMIN` there.
    ///
    /// The attachment is a `bpf_link`, which the kernel releases when the process exits. A kernel before 5.9 has none: there it
    /// is made by netlink, and stays if the process is killed.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, with the driver's sentence, and anything else being attached than what was asked for.
    pub fn attach(
        &self,
        worker: &Worker,
        index: IfIndex,
        mode: Option<XdpMode>,
    ) -> Result<Attachment, ProgramError> {
        let program = self.descriptor()?;
        let linked = worker.run(move |host| {
            let answer = match host.link_xdp(index, program.as_fd(), mode.as_slice(), false) {
                Ok(link) => return Ok(Some(link)),
                Err(Error::Refused { source, .. }) => source,
                Err(error) => return Err(error.into()),
            };
            let no_links = answer.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                && kernel_version().is_ok_and(|version| version < LINK_KERNEL);
            if no_links { Ok(None) } else { Err(refusal(host, index, program.as_fd(), mode, answer)) }
        })??;
        match linked {
            Some(link) => self.read_back(worker, index, mode, Guard::Link(link)),
            None => self.attach_by_netlink(worker, index, mode),
        }
    }

    /// Attaches the program as on a kernel that has no `bpf_link` for XDP. It is detached on drop, but stays if the process is
    /// killed.
    pub fn attach_by_netlink(
        &self,
        worker: &Worker,
        index: IfIndex,
        mode: Option<XdpMode>,
    ) -> Result<Attachment, ProgramError> {
        let guard = Guard::Netlink(Worker::spawn(worker.namespace(), "detach")?);
        let program = self.descriptor()?;
        worker.run(move |host| match try_netlink(host, index, program.as_fd(), mode) {
            Err(Error::Refused { source: answer, extack: sentence, .. }) => {
                Err(ProgramError::Refused { mode, answer, sentence })
            }
            attached => Ok(attached?),
        })??;
        self.read_back(worker, index, mode, guard)
    }

    fn read_back(
        &self,
        worker: &Worker,
        index: IfIndex,
        asked: Option<XdpMode>,
        guard: Guard,
    ) -> Result<Attachment, ProgramError> {
        let id = self.identity().id;
        let found = worker.call(move |host| host.xdp(index))?;
        match found.iter().find(|(_, attached)| *attached == id) {
            Some((mode, _)) if asked.is_none_or(|asked| asked == mode) => {
                Ok(Attachment { mode, index, id, guard })
            }
            _ => Err(ProgramError::NotAttached { mode: asked, id, found }),
        }
    }
}

impl Attachment {
    /// Replaces the program by another one in the same mode; there is no moment without a program.
    ///
    /// # Errors
    ///
    /// The kernel's refusal: ENOLINK once the device is gone.
    pub fn replace(&mut self, program: &Program) -> Result<(), ProgramError> {
        let (index, mode, descriptor) = (self.index, self.mode, program.descriptor()?);
        match &self.guard {
            Guard::Link(link) => link.update(descriptor.as_fd(), None)?,
            Guard::Netlink(worker) => worker
                .call(move |host| host.attach_xdp(index, descriptor.as_fd(), &[mode], XdpFlags::default()))?,
        }
        self.id = program.identity().id;
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let Self { mode, index, id, ref guard } = *self;
        if let Guard::Netlink(worker) = guard {
            // The device may be gone, or somebody else's program be in the place of ours.
            let _gone = worker.call(move |host| {
                if host.xdp(index)?.attached(mode) == Some(id) {
                    host.detach_xdp(index, mode)
                } else {
                    Ok(())
                }
            });
        }
    }
}

fn try_netlink(
    host: &mut Host,
    index: IfIndex,
    program: BorrowedFd<'_>,
    mode: Option<XdpMode>,
) -> Result<(), Error> {
    host.attach_xdp(index, program, mode.as_slice(), XdpFlags { if_no_exist: true, ..XdpFlags::default() })
}

/// Asks once more by netlink for what `bpf_link_create` refused, to learn the driver's sentence.
fn refusal(
    host: &mut Host,
    index: IfIndex,
    program: BorrowedFd<'_>,
    mode: Option<XdpMode>,
    answer: io::Error,
) -> ProgramError {
    let sentence = match try_netlink(host, index, program, mode) {
        Ok(()) => match host.detach_xdp(index, mode) {
            Ok(()) => Some("netlink attaches it".to_owned()),
            Err(error) => return error.into(),
        },
        Err(error) => error.extack().map(str::to_owned),
    };
    ProgramError::Refused { mode, answer, sentence }
}

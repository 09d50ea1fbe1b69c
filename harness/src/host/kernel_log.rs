//! The kernel log of a run.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

use crate::model::finding::KernelMessage;

/// Messages of this level and worse are kept: `KERN_WARNING` (`include/linux/kern_levels.h`).
const WARNING: u8 = 4;

/// The most messages that are kept: a device that complains about each frame says nothing new with the next
/// thousand.
const MOST: usize = 500;

/// The longest record of `/dev/kmsg` (`PRINTK_MESSAGE_MAX`, 2,048), with room to spare.
const RECORD: usize = 8192;

/// The kernel log from one moment on.
#[derive(Debug)]
pub struct KernelLog(File);

impl KernelLog {
    /// Starts with the next message. Needs `CAP_SYSLOG` if `kernel.dmesg_restrict` is set.
    ///
    /// # Errors
    ///
    /// When `/dev/kmsg` cannot be read, as in a container that has none.
    pub fn from_now() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// Returns the messages since the last call, of the level of a warning or worse; at most 500.
    pub fn take(&mut self) -> io::Result<Vec<KernelMessage>> {
        let mut messages = Vec::new();
        let mut record = [0; RECORD];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    messages.extend(parse(&text).filter(|message| message.level <= WARNING));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Records were overwritten before they were read; reading continues with the oldest that is
                // left (`devkmsg_read()` of `kernel/printk/printk.c`).
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error),
            }
        }
        messages.truncate(MOST);
        Ok(messages)
    }
}

/// Parses a record of `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`):
/// `priority,sequence,microseconds,flags;text`, followed by lines that begin with a space and name the
/// device.
fn parse(record: &str) -> Option<KernelMessage> {
    let (prefix, text) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let since_boot_us = fields.nth(1)?.parse().ok()?;
    let text = text.lines().next()?.to_owned();
    // The bits above are the facility (`LOG_PRIMASK` of `include/linux/syslog.h`).
    Some(KernelMessage { level: u8::try_from(priority & 7).ok()?, since_boot_us, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_level_its_time_and_its_first_line() {
        let record =
            "12,345,6789012,-;e1000: eth0 NIC Link is Down\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:03.0\n";
        let read = parse(record).unwrap();
        assert_eq!((read.level, read.since_boot_us), (4, 6_789_012));
        assert_eq!(read.text, "e1000: eth0 NIC Link is Down");
        for nonsense in ["", ";", "a,b,c,d;e", "12;x"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_printed_from_now_on_is_read_and_nothing_before() {
        let Ok(mut log) = KernelLog::from_now() else { return };
        // Another test, or the machine, may print; what was there before is gone in any case.
        let mut printed = File::options().write(true).open("/dev/kmsg").unwrap();
        // A record that does not end its line stays open for more, and nobody can read it yet (`LOG_CONT` of kernel/printk/printk.c).
        let ours = format!("xdproof test {}", std::process::id());
        io::Write::write_all(&mut printed, format!("<4>{ours}\n").as_bytes()).unwrap();
        let read = log.take().unwrap();
        assert_eq!(read.iter().filter(|message| message.text.contains(&ours)).count(), 1, "{read:?}");
        assert!(!log.take().unwrap().iter().any(|message| message.text.contains(&ours)));
    }
}

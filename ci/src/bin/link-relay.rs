//! `link-relay TAP TAP`: creates two taps and relays every frame between them until it is killed. In a guest, it is the
//! back-to-back link of two NICs whose driver is the kernel's `tun`.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    thread,
};

use tappers::{Interface, Tap};

/// The longest frame of a tap: the maximum MTU and an Ethernet header with two tags.
const MAX_FRAME: usize = 65_535 + 14 + 8;

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).collect();
    let [first, second] = names.as_slice() else {
        let _unwritable = writeln!(io::stderr(), "usage: link-relay TAP TAP");
        return ExitCode::from(2);
    };
    match relay(first, second) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unwritable = writeln!(io::stderr(), "failed to relay between {first} and {second}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(first: &str, second: &str) -> io::Result<()> {
    let create = |name: &str| Ok::<_, io::Error>(Arc::new(Tap::new_named(Interface::new(name)?)?));
    let (first, second) = (create(first)?, create(second)?);
    let reverse = (Arc::clone(&second), Arc::clone(&first));
    thread::spawn(move || forward(&reverse.0, &reverse.1));
    forward(&first, &second)
}

/// Forwards frames in one direction. A frame for a tap that is down is lost, as on a cable (`tun_get_user` returns EIO).
fn forward(from: &Tap, to: &Tap) -> io::Result<()> {
    let mut frame = vec![0; MAX_FRAME];
    loop {
        let length = from.recv(&mut frame)?;
        match to.send(&frame[..length]) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
    }
}

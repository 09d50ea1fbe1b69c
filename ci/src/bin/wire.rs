//! `wire TAP TAP`: makes two taps and carries each frame that comes out of one into the other, until it is killed. In a
//! guest, it stands for the cable between two NICs whose driver is the kernel's `tun`.

use std::{env, io, process::ExitCode, sync::Arc};

use tappers::{Interface, Tap};

/// The longest frame that a tap carries: the greatest MTU and an Ethernet header with two tags.
const LONGEST: usize = 65_535 + 14 + 8;

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).collect();
    let [one, other] = names.as_slice() else {
        eprintln!("usage: wire TAP TAP");
        return ExitCode::from(2);
    };
    match join(one, other) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to join {one} and {other}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn join(one: &str, other: &str) -> io::Result<()> {
    let (one, other) = (Arc::new(make(one)?), Arc::new(make(other)?));
    let back = (Arc::clone(&other), Arc::clone(&one));
    std::thread::spawn(move || carry(&back.0, &back.1));
    carry(&one, &other)
}

fn make(name: &str) -> io::Result<Tap> {
    Tap::new_named(Interface::new(name)?)
}

/// Carries frames one way. A frame for a tap that is down is lost, as on a cable (`tun_get_user` answers EIO).
fn carry(from: &Tap, to: &Tap) -> io::Result<()> {
    let mut frame = vec![0; LONGEST];
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

//! What a guest sends out by its second serial port: JSON lines, and files as gzip in base64 between two of them.
//!
//! Promises: a file comes out of the decoder only if all of it arrived as it was sent (gzip's CRC-32, and the length that
//! the guest announced), and a stream that was cut or damaged anywhere is an error.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::read::GzDecoder;
use serde::Deserialize;

/// A line of the stream that is not part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Frame {
    /// The guest is up.
    Begin {
        /// Its kernel's release.
        kernel: String,
    },
    /// The emulated ports were counted.
    Ports {
        /// How many there should be.
        expected: u32,
        /// How many there are.
        found: u32,
    },
    /// A cell begins.
    Cell {
        /// Its name.
        cell: String,
    },
    /// Something about a cell is not as it must be for a test; it is not run.
    Trouble {
        /// The cell's name.
        cell: String,
        /// What is wrong.
        what: String,
    },
    /// A file follows.
    File {
        /// The cell that it belongs to.
        cell: String,
        /// Its name.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The file ends.
    FileEnd,
    /// A cell has come out whole.
    Done {
        /// Its name.
        cell: String,
        /// The exit code of xdproof.
        exit: i32,
        /// How long it took in centiseconds, by the guest's clock.
        took: u64,
    },
    /// The guest is done.
    End {
        /// How many frames came before this one.
        frames: u64,
    },
}

/// What the decoder makes of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A line by itself.
    Frame(Frame),
    /// A file in full.
    File {
        /// The cell that it belongs to.
        cell: String,
        /// Its name.
        name: String,
        /// What is in it.
        bytes: Vec<u8>,
    },
}

/// Why a stream cannot be trusted: a fragment of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) String);

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the stream as it comes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    frames: u64,
    open: Option<OpenFile>,
    ended: bool,
    damage: Option<Damage>,
}

#[derive(Debug)]
struct OpenFile {
    cell: String,
    name: String,
    length: usize,
    text: Vec<u8>,
}

impl Decoder {
    /// Takes in what has come, and gives what is complete. After damage, nothing more is given.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Received> {
        let mut received = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            // The guest's terminal ends lines with both, until it is told not to.
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if self.damage.is_some() {
                break;
            }
            match self.take(&line) {
                Ok(complete) => received.extend(complete),
                Err(damage) => self.damage = Some(Damage(damage)),
            }
        }
        received
    }

    /// Whether the whole stream has come.
    pub(crate) fn ended(&self) -> bool {
        self.ended && self.damage.is_none()
    }

    /// What is wrong with a stream of which nothing more will come.
    pub(crate) fn finish(&self) -> Result<(), Damage> {
        let say = |what: String| Err(Damage(what));
        match (&self.damage, &self.open) {
            (Some(damage), _) => Err(damage.clone()),
            (None, Some(OpenFile { cell, name, .. })) => {
                say(format!("the results stop within {name} of {cell}"))
            }
            (None, None) if !self.line.is_empty() => say("the results stop within a line".to_owned()),
            (None, None) if !self.ended => say("the results stop before their end".to_owned()),
            (None, None) => Ok(()),
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<Option<Received>, String> {
        if self.ended {
            return Err("something follows the end of the results".to_owned());
        }
        if let (Some(open), false) = (&mut self.open, line.starts_with(b"{")) {
            open.text.extend_from_slice(line);
            return Ok(None);
        }
        let frame: Frame = serde_json::from_slice(line)
            .map_err(|error| format!("`{}` among the results: {error}", String::from_utf8_lossy(line)))?;
        let before = self.frames;
        self.frames += 1;
        match (self.open.take(), frame) {
            (Some(open), Frame::FileEnd) => open.close().map(Some),
            (Some(OpenFile { cell, name, .. }), _) => Err(format!("{name} of {cell} does not end")),
            (None, Frame::FileEnd) => Err("a file ends that did not begin".to_owned()),
            (None, Frame::File { cell, name, length }) => {
                if !is_plain(&name) {
                    return Err(format!("a file has the name `{name}`"));
                }
                self.open = Some(OpenFile { cell, name, length, text: Vec::new() });
                Ok(None)
            }
            (None, Frame::End { frames }) if frames != before => {
                Err(format!("{before} frames came, and {frames} were sent"))
            }
            (None, frame) => {
                self.ended = matches!(frame, Frame::End { .. });
                Ok(Some(Received::Frame(frame)))
            }
        }
    }
}

impl OpenFile {
    fn close(self) -> Result<Received, String> {
        let Self { cell, name, length, text } = self;
        let damaged = |error: &dyn std::fmt::Display| format!("{name} of {cell} is damaged: {error}");
        let packed = BASE64.decode(text).map_err(|error| damaged(&error))?;
        // One byte more than there should be is enough to see that there is too much.
        let mut bytes = Vec::new();
        let most = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
        GzDecoder::new(packed.as_slice())
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(&error))?;
        if bytes.len() != length {
            return Err(damaged(&format_args!("{} bytes came, and {length} were sent", bytes.len())));
        }
        Ok(Received::File { cell, name, bytes })
    }
}

/// A name that stays in its directory.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(bytes: &[u8]) -> String {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        let text = BASE64.encode(gzip.finish().unwrap());
        // As busybox's base64 does: lines of 76.
        text.as_bytes().chunks(76).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
    }

    const CONTENT: &[u8] =
        b"{ \"schema\": \"xdproof.result/1\" } and some more that is not JSON at all 0123456789";

    fn stream() -> String {
        format!(
            "{{\"frame\":\"begin\",\"kernel\":\"6.1.0-52-amd64\"}}\n\
             {{\"frame\":\"ports\",\"expected\":2,\"found\":2}}\n\
             {{\"frame\":\"cell\",\"cell\":\"igb\"}}\n\
             {{\"frame\":\"file\",\"cell\":\"igb\",\"name\":\"result.json\",\"length\":{}}}\n\
             {}{{\"frame\":\"file_end\"}}\n\
             {{\"frame\":\"done\",\"cell\":\"igb\",\"exit\":1,\"took\":250}}\n\
             {{\"frame\":\"end\",\"frames\":6}}\n",
            CONTENT.len(),
            packed(CONTENT)
        )
    }

    /// Everything that comes out of a stream, and whether it was whole.
    fn decode(stream: &[u8], at_once: usize) -> (Vec<Received>, Result<(), Damage>) {
        let mut decoder = Decoder::default();
        let received = stream.chunks(at_once).flat_map(|part| decoder.feed(part)).collect();
        (received, decoder.finish())
    }

    #[test]
    fn a_whole_stream_gives_its_files_however_it_comes() {
        for (text, at_once) in [(stream(), 1), (stream(), 4096), (stream().replace('\n', "\r\n"), 7)] {
            let (received, finished) = decode(text.as_bytes(), at_once);
            assert_eq!(finished, Ok(()));
            let files: Vec<&Received> =
                received.iter().filter(|received| matches!(received, Received::File { .. })).collect();
            assert_eq!(
                files,
                [&Received::File {
                    cell: "igb".to_owned(),
                    name: "result.json".to_owned(),
                    bytes: CONTENT.to_vec()
                }]
            );
        }
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_not_whole() {
        let text = stream();
        for length in 0..text.len() {
            let (received, finished) = decode(&text.as_bytes()[..length], 4096);
            assert!(finished.is_err(), "cut after {length} bytes");
            assert!(!received.contains(&Received::Frame(Frame::End { frames: 6 })));
        }
    }

    #[test]
    fn a_byte_that_is_changed_within_a_file_never_gives_another_file() {
        let text = stream().into_bytes();
        let first = stream().find("H4sI").expect("base64 of gzip begins so");
        let end = stream().find("{\"frame\":\"file_end\"").unwrap();
        let mut refused = 0;
        for at in first..end {
            let mut damaged = text.clone();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let (received, finished) = decode(&damaged, 4096);
            let is_other =
                |received: &Received| matches!(received, Received::File { bytes, .. } if bytes != CONTENT);
            assert!(!received.iter().any(is_other), "byte {at}");
            refused += usize::from(finished.is_err());
        }
        // A few bits mean nothing to what is in the file: time and system in gzip's header, what fills deflate's last byte.
        assert!(refused + 10 >= end - first, "{refused} of {} are refused", end - first);
    }

    #[test]
    fn a_line_that_is_lost_is_seen() {
        let text = stream();
        let lines: Vec<&str> = text.lines().collect();
        for lost in 0..lines.len() {
            let left: String = lines
                .iter()
                .enumerate()
                .filter(|(number, _)| *number != lost)
                .map(|(_, line)| format!("{line}\n"))
                .collect();
            assert!(decode(left.as_bytes(), 4096).1.is_err(), "without line {lost}");
        }
    }

    #[test]
    fn what_does_not_belong_there_is_damage() {
        for (wrong, says) in [
            (stream().replace("\"igb\"}", "\"igb\",\"more\":1}"), "unknown field `more`"),
            (stream().replace("result.json", "../result.json"), "has the name"),
            (
                stream().replace("{\"frame\":\"cell\"", "[    1.0] igb: link is up\n{\"frame\":\"cell\""),
                "link is up",
            ),
            (stream().replace("length\":", "length\":1"), "were sent"),
            (format!("{}more\n", stream()), "something follows"),
        ] {
            let damage = decode(wrong.as_bytes(), 4096).1.unwrap_err();
            assert!(damage.0.contains(says), "`{damage}` does not say `{says}`");
        }
    }
}

//! The protocol of a guest's second serial port: one JSON message a line, with files as base64 of gzip.
//!
//! Promises: a file is decoded only if it arrived complete and unmodified (CRC-32 of gzip, and its length); a stream that is
//! truncated or damaged anywhere is an error.

use std::{fmt, io::Read as _, mem};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::read::GzDecoder;
use serde::Deserialize;

/// Names of the files that a guest sends.
const FILES: &[&str] = &["bench.json", "doctor.json", "fixtures.json", "result.json"];

/// A message of `guest/init`. `CellFailure` is the reason why a cell could not be run, `CellEnd` has the exit code of xdproof
/// and the duration by the guest's clock, and `End` the number of messages before it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Message {
    CellBegin { cell: String },
    CellFailure { cell: String, reason: String },
    File(File),
    CellEnd { cell: String, exit: i32, centiseconds: u64 },
    End { messages: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) cell: String,
    pub(crate) name: String,
    /// Bytes of the content.
    length: usize,
    gzip: String,
    #[serde(skip)]
    pub(crate) content: Vec<u8>,
}

/// Decodes a stream as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    messages: u64,
    ended: bool,
    error: Option<String>,
}

impl Decoder {
    /// Takes received bytes and returns the messages that they complete; none after the first error.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n')
            && self.error.is_none()
        {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            match self.decode(&line) {
                Ok(message) => messages.push(message),
                Err(error) => self.error = Some(error),
            }
        }
        messages
    }

    /// Checks that the stream is complete, once no more bytes can arrive.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if !self.line.is_empty() => Err("the results end inside a line".to_owned()),
            None if !self.ended => Err("the results have no end message".to_owned()),
            None => Ok(()),
        }
    }

    fn decode(&mut self, line: &[u8]) -> Result<Message, String> {
        if self.ended {
            return Err("unexpected data after the end message".to_owned());
        }
        let mut message = serde_json::from_slice(line).map_err(|error| {
            let line: String = String::from_utf8_lossy(line).trim_end().chars().take(200).collect();
            format!("`{line}` in the results: {error}")
        })?;
        match &mut message {
            Message::File(file) => file.decode()?,
            Message::End { messages } if *messages != self.messages => {
                return Err(format!("expected {messages} messages, got {}", self.messages));
            }
            Message::End { .. } => self.ended = true,
            _ => {}
        }
        self.messages += 1;
        Ok(message)
    }
}

impl File {
    fn decode(&mut self) -> Result<(), String> {
        let Self { cell, name, length, gzip, content } = self;
        if !FILES.contains(&name.as_str()) {
            return Err(format!("`{name}` is not the name of a result file"));
        }
        let damaged = |error: &dyn fmt::Display| format!("{name} of {cell} is damaged: {error}");
        let compressed = BASE64.decode(mem::take(gzip)).map_err(|error| damaged(&error))?;
        // One byte more than announced is enough to see that the file is too long.
        let limit = u64::try_from(*length).unwrap_or(u64::MAX).saturating_add(1);
        let mut decoder = GzDecoder::new(compressed.as_slice()).take(limit);
        decoder.read_to_end(content).map_err(|error| damaged(&error))?;
        if content.len() != *length {
            return Err(damaged(&format_args!("expected {length} bytes, got {}", content.len())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn compressed(bytes: &[u8]) -> String {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        BASE64.encode(gzip.finish().unwrap())
    }

    const CONTENT: &[u8] =
        b"{ \"schema\": \"xdproof.result/1\" } and some more that is not JSON at all 0123456789";

    fn stream() -> String {
        format!(
            "{{\"message\":\"cell_begin\",\"cell\":\"tap\"}}\n\
             {{\"message\":\"cell_failure\",\"cell\":\"tap\",\"reason\":\"no port\"}}\n\
             {{\"message\":\"cell_begin\",\"cell\":\"igb\"}}\n\
             {{\"message\":\"file\",\"cell\":\"igb\",\"name\":\"result.json\",\"length\":{},\"gzip\":\"{}\"}}\n\
             {{\"message\":\"cell_end\",\"cell\":\"igb\",\"exit\":1,\"centiseconds\":250}}\n\
             {{\"message\":\"end\",\"messages\":5}}\n",
            CONTENT.len(),
            compressed(CONTENT)
        )
    }

    /// Decodes a stream in chunks.
    fn decode(stream: &[u8], chunk: usize) -> (Vec<Message>, Result<(), String>) {
        let mut decoder = Decoder::default();
        let received = stream.chunks(chunk).flat_map(|part| decoder.feed(part)).collect();
        (received, decoder.finish())
    }

    /// Returns cell, name and content of a file.
    fn content(message: &Message) -> Option<(&str, &str, &[u8])> {
        let Message::File(File { cell, name, content, .. }) = message else { return None };
        Some((cell, name, content))
    }

    #[test]
    fn a_complete_stream_yields_its_files_in_any_chunks() {
        for (text, chunk) in [(stream(), 1), (stream(), 4096), (stream().replace('\n', "\r\n"), 7)] {
            let (received, finished) = decode(text.as_bytes(), chunk);
            assert_eq!(finished, Ok(()));
            let files: Vec<(&str, &str, &[u8])> = received.iter().filter_map(content).collect();
            assert_eq!(files, [("igb", "result.json", CONTENT)]);
        }
    }

    #[test]
    fn a_truncated_stream_is_incomplete() {
        let text = stream();
        for length in 0..text.len() {
            let (received, finished) = decode(&text.as_bytes()[..length], 4096);
            assert!(finished.is_err(), "truncated to {length} bytes");
            assert!(!received.contains(&Message::End { messages: 5 }));
        }
    }

    #[test]
    fn a_modified_byte_in_a_file_never_yields_another_file() {
        let text = stream().into_bytes();
        let first = stream().find("H4sI").expect("base64 of the magic number of gzip");
        let end = stream().find("\"}\n{\"message\":\"cell_end\"").unwrap();
        let mut rejected = 0;
        for at in first..end {
            let mut damaged = text.clone();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let (received, finished) = decode(&damaged, 4096);
            assert!(
                received.iter().filter_map(content).all(|(_, _, content)| content == CONTENT),
                "byte {at}"
            );
            rejected += usize::from(finished.is_err());
        }
        // A few bits do not affect the content: time and system in the header of gzip, padding of the last byte of deflate.
        assert!(rejected + 10 >= end - first, "{rejected} of {} are rejected", end - first);
    }

    #[test]
    fn a_missing_line_is_an_error() {
        let text = stream();
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() {
            let left = [&lines[..missing], &lines[missing + 1..], &[""]].concat().join("\n");
            assert!(decode(left.as_bytes(), 4096).1.is_err(), "without line {missing}");
        }
    }

    #[test]
    fn unexpected_data_is_an_error() {
        for (stream, expected) in [
            (stream().replace("\"tap\"}", "\"igb\",\"more\":1}"), "unknown field `more`"),
            (
                stream().replace("result.json", "../result.json"),
                "`../result.json` is not the name of a result file",
            ),
            (
                stream().replace(
                    "\n{\"message\":\"cell_end\"",
                    "\n[    1.0] igb: link is up\n{\"message\":\"cell_end\"",
                ),
                "link is up",
            ),
            (stream().replace("length\":", "length\":1"), "bytes, got"),
            (format!("{}more\n", stream()), "unexpected data after"),
        ] {
            let error = decode(stream.as_bytes(), 4096).1.unwrap_err();
            assert!(error.contains(expected), "`{error}` does not contain `{expected}`");
        }
    }
}

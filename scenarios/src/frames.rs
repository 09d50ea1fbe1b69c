//! Frames of a `[[frame]]`: from layers, hexadecimal digits or a capture, within the limits on their number and memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use crate::capture_file;
use crate::document::{Context, Node, Problem, Table, Value};
use crate::frame::Frame;
use crate::input::{self, LAYERS, SCENARIO_FRAME_BYTES, SCENARIO_FRAMES, SENT_FRAMES, quoted};
use crate::layer::{Layer, Layers};
use crate::value::Hex;

/// Opens a file by the name that a `[[frame]]` gives.
pub(crate) type OpenCapture<'a> = &'a dyn Fn(&str) -> io::Result<Box<dyn Read>>;

/// Opens a capture in the file system.
pub(crate) fn open_capture(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(input::open(path)?))
}

/// File that frames are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeFor {
    /// Its captures are in its directory, because corpora are handed on.
    Scenario,
    Fixture,
}

impl fmt::Display for MadeFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scenario => "scenario",
            Self::Fixture => "fixture",
        })
    }
}

/// The frames of a file while they are made.
pub(crate) struct FrameList<'a> {
    pub(crate) frames: Vec<Frame>,
    made_for: MadeFor,
    open: OpenCapture<'a>,
    /// Bytes of memory, captures included.
    bytes: usize,
    sent: u64,
    /// Captures by name: a matrix can name one many times.
    captures: BTreeMap<String, Rc<[Vec<u8>]>>,
}

impl<'a> FrameList<'a> {
    pub(crate) fn new(made_for: MadeFor, open: OpenCapture<'a>) -> Self {
        Self { frames: Vec::new(), made_for, open, bytes: 0, sent: 0, captures: BTreeMap::new() }
    }

    /// Checks that there may be so many more frames, before one of them is made.
    pub(crate) fn reserve(&self, node: &Node, more: usize) -> Result<(), Problem> {
        let number = self.frames.len().saturating_add(more);
        if number <= SCENARIO_FRAMES {
            return Ok(());
        }
        Err(node.problem(format!(
            "the {} has {number} distinct frames; at most {SCENARIO_FRAMES} are made",
            self.made_for
        )))
    }

    /// Checks that there may be so many more bytes of memory.
    pub(crate) fn charge(&mut self, node: &Node, bytes: usize) -> Result<(), Problem> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= SCENARIO_FRAME_BYTES {
            return Ok(());
        }
        Err(node.problem(format!("the frames take more than {SCENARIO_FRAME_BYTES} bytes of memory")))
    }

    fn extend(&mut self, node: &Node, frames: impl Iterator<Item = Frame>) -> Result<(), Problem> {
        for frame in frames {
            self.reserve(node, 1)?;
            self.charge(node, memory(&frame))?;
            self.sent += u64::from(frame.repeat);
            if self.sent > SENT_FRAMES {
                let message =
                    format!("the {} sends more than {SENT_FRAMES} frames, repeats included", self.made_for);
                return Err(node.problem(message));
            }
            self.frames.push(frame);
        }
        Ok(())
    }

    /// Returns the frames of a capture.
    pub(crate) fn capture(&mut self, name: &str) -> Result<Rc<[Vec<u8>]>, String> {
        if let Some(frames) = self.captures.get(name) {
            return Ok(Rc::clone(frames));
        }
        let is_sibling = Path::new(name).file_name().is_some_and(|file| file == name);
        if self.made_for == MadeFor::Scenario && !is_sibling {
            return Err(format!(
                "{} is not the name of a file in the directory of the scenario",
                quoted(name)
            ));
        }
        let file = (self.open)(name).map_err(|error| format!("{name} cannot be read: {error}"))?;
        let capture = capture_file::read(file).map_err(|error| format!("{name}: {error}"))?;
        if let Some(cut) = capture.cut {
            return Err(format!("{name}: {cut}"));
        }
        let frames: Rc<[Vec<u8>]> = capture.frames.into();
        if frames.is_empty() {
            return Err(format!("{name} holds no frame"));
        }
        self.bytes += frames.iter().map(|bytes| size_of::<Vec<u8>>() + bytes.len()).sum::<usize>();
        self.captures.insert(name.to_owned(), Rc::clone(&frames));
        Ok(frames)
    }
}

/// Returns the bytes of memory that a frame takes.
pub(crate) fn memory(frame: &Frame) -> usize {
    size_of::<Frame>() + frame.bytes.len() + frame.layers.len() * size_of::<Layer>()
}

/// Returns all `[[frame]]` of a file, which must have one.
pub(crate) fn nodes<'a>(table: &mut Table<'a>) -> &'a [Node] {
    match table.node("frame") {
        Some(node) if matches!(node.value, Value::Table(_)) => {
            table.context.report(node.problem("expected an array, found a table").hint("write `[[frame]]`"));
            &[]
        }
        Some(node) if !matches!(&node.value, Value::Array(nodes) if nodes.is_empty()) => {
            table.context.array(node)
        }
        _ => {
            table.missing("frame");
            &[]
        }
    }
}

/// A `[[frame]]`, of which frames are made for one combination of the values of its variables after another.
pub(crate) struct FrameMaker<'a> {
    node: &'a Node,
    /// The table, for the keys that are not about the bytes.
    pub(crate) table: Table<'a>,
    repeat: Option<&'a Node>,
    truncate: Option<&'a Node>,
    hex: Option<&'a Node>,
    pcap: Option<&'a Node>,
    crafting: Option<Crafting<'a>>,
}

impl<'a> FrameMaker<'a> {
    pub(crate) fn open(context: Context<'a>, node: &'a Node) -> Option<Self> {
        let mut table = context.table("[[frame]]", node)?;
        let (repeat, truncate) = (table.node("repeat"), table.node("truncate"));
        let (layers, hex, pcap) = (table.node("layers"), table.node("hex"), table.node("pcap"));
        let given = [layers, hex, pcap].iter().flatten().count();
        if given != 1 {
            let message = format!("a frame needs exactly one of `layers`, `hex` and `pcap`, found {given}");
            context.report(node.problem(message));
        }
        Some(Self { node, table, repeat, truncate, hex, pcap, crafting: layers.map(Crafting::new) })
    }

    /// Makes the frames of one combination, and returns their indices. None are made once a limit is exceeded, or so many
    /// problems are known that no further one is kept.
    pub(crate) fn make(&mut self, context: Context<'_>, frames: &mut FrameList<'_>) -> Option<Range<usize>> {
        let Self { node, table, repeat, truncate, hex, pcap, crafting } = self;
        let repeat = repeat.and_then(|node| context.take("repeat", node)).unwrap_or(1);
        if repeat == 0 {
            table.reject("repeat", "must be at least 1");
        }
        if u64::from(repeat) > SENT_FRAMES {
            table.reject("repeat", format!("must be at most {SENT_FRAMES}"));
        }
        let truncate: Option<u16> = truncate.and_then(|node| context.take("truncate", node));
        let first = frames.frames.len();
        let plain = |bytes| Frame { bytes, repeat, layers: Vec::new() };
        let hex = hex.and_then(|node| context.take("hex", node)).map(|Hex(bytes)| plain(bytes));
        let pcap = pcap.and_then(|node| context.take::<String>("pcap", node)).and_then(|name| {
            let capture = frames.capture(&name);
            capture.map_err(|message| table.reject("pcap", message)).ok()
        });
        let made = crafting.as_mut().and_then(|crafting| crafting.craft(context, repeat)).or(hex);
        let captured = pcap.iter().flat_map(|frames| frames.iter()).cloned().map(plain);
        context.keep(frames.extend(node, made.into_iter().chain(captured)))?;
        if context.problems.borrow().are_full() {
            return None;
        }
        for bytes in frames.frames.iter_mut().skip(first).map(|frame| &mut frame.bytes) {
            let whole = bytes.len();
            let length = truncate.map_or(whole, usize::from);
            if length > whole {
                table.reject("truncate", format!("must be at most {whole}, the length of the frame"));
            }
            if length < whole {
                bytes.truncate(length);
                bytes.shrink_to_fit();
            }
        }
        Some(first..frames.frames.len())
    }
}

/// Crafts frames from a list of layers, for one combination of values after another.
pub(crate) struct Crafting<'a> {
    node: &'a Node,
    layers: Layers,
    /// The frame is the same for every combination, because its layers have no variable.
    constant: bool,
    /// Such a frame, once it is crafted.
    made: Option<Frame>,
}

impl<'a> Crafting<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        let constant = !node.has_variable();
        Self { node, layers: Layers::default(), constant, made: None }
    }

    pub(crate) fn craft(&mut self, context: Context<'_>, repeat: u32) -> Option<Frame> {
        if let Some(frame) = &self.made {
            return Some(Frame { repeat, ..frame.clone() });
        }
        let nodes = context.splice(self.node);
        if nodes.len() > LAYERS {
            let message = format!("the frame has {} layers; at most {LAYERS} are made", nodes.len());
            context.report(self.node.problem(message));
            return None;
        }
        // All layers are read before one that failed ends it, so that all problems are reported.
        let mut layers = Vec::with_capacity(nodes.len());
        layers.extend(nodes.iter().filter_map(|(_, node)| self.layers.read(context, node)));
        if layers.len() < nodes.len() {
            return None;
        }
        let frame = context.keep(Frame::craft(layers, repeat).map_err(|error| {
            // An error in the value of a variable is reported at the use, not at the definition.
            let place = nodes.get(error.index()).map_or(self.node, |(place, _)| *place);
            place.problem(error.to_string())
        }))?;
        if self.constant {
            self.made = Some(frame.clone());
        }
        Some(frame)
    }
}

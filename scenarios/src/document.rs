//! TOML with positions: a tree of keys and values with their spans, and a reader of its tables that reports every wrong
//! value and every unknown key, not only the first.
//!
//! Serde is not used, because values can be variables (`"$protocol"`), because all problems of a file are reported at
//! once, and because each has a position and a hint.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::rc::Rc;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::input::quoted;
use crate::kernel::{KernelRange, KernelVersion};
use crate::position::{Positions, Spot};
use crate::value::{Bits, EtherType, Hex, MacAddr, Options, Protocol, Tpid};

/// Longest name in bytes that is compared with those that are known.
const MAX_NAME: usize = 64;

/// Byte range of the document.
pub(crate) type Span = Range<usize>;

/// A value and its position.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// TOML value; tables keep the order of the file.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Integer(i64),
    String(String),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Vec<(Key, Node)>),
    /// A value of a type that no scenario uses, such as a date, by the name of the type.
    Unused(&'static str),
}

/// Key of a table and its position.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

impl Node {
    /// Parses a document; its root is a table.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let table = DeTable::parse(text).map_err(|error| {
            let message = format!("not valid TOML: {}", error.message().replace('\n', ", "));
            Problem::new(error.span().unwrap_or(0..0), message)
        })?;
        Ok(Self { span: 0..0, value: Value::table(table.get_ref()) })
    }

    fn new(value: &Spanned<DeValue<'_>>) -> Self {
        let node = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(Value::Unused("an integer of more than 64 bits"), Value::Integer),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(items) => Value::Array(items.iter().map(Self::new).collect()),
            DeValue::Table(table) => Value::table(table),
            DeValue::Float(_) => Value::Unused("a float"),
            DeValue::Datetime(_) => Value::Unused("a date"),
        };
        Self { span: value.span(), value: node }
    }

    /// Returns the name behind the `$`, if the value is a variable.
    pub(crate) fn variable(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => text.strip_prefix('$'),
            _ => None,
        }
    }

    /// Calls `visit` with every variable in this value, in file order.
    pub(crate) fn visit_variables<'a>(&'a self, visit: &mut impl FnMut(&'a str)) {
        match &self.value {
            Value::Array(items) => items.iter().for_each(|item| item.visit_variables(visit)),
            Value::Table(entries) => entries.iter().for_each(|(_, item)| item.visit_variables(visit)),
            _ => self.variable().into_iter().for_each(visit),
        }
    }

    /// Returns true if this value has a variable in it.
    pub(crate) fn has_variable(&self) -> bool {
        let mut any = false;
        self.visit_variables(&mut |_| any = true);
        any
    }

    /// Makes a problem of this value.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.span.clone(), message)
    }

    pub(crate) fn wrong(&self, expected: &str) -> Problem {
        let found = match &self.value {
            Value::Integer(value) => value.to_string(),
            Value::String(text) => quoted(text),
            Value::Boolean(value) => value.to_string(),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Unused(kind) => (*kind).to_owned(),
        };
        self.problem(format!("expected {expected}, found {found}"))
    }
}

impl Value {
    fn table(table: &DeTable<'_>) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| (Key { name: key.get_ref().to_string(), span: key.span() }, Node::new(value)))
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        Self::Table(entries)
    }
}

/// An error at a position of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Reports a name that is not among the `known`, with the likeliest of them.
    pub(crate) fn unknown<'a>(
        span: Span,
        what: impl std::fmt::Display,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<_> = known.into_iter().collect();
        // No key is so long, and the distance of long words takes long.
        let nearest = known
            .iter()
            .filter(|_| name.len() <= MAX_NAME)
            .map(|candidate| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), candidate), candidate))
            .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()).div_ceil(3))
            .min();
        let hint = match nearest {
            Some((_, candidate)) => format!("did you mean `{candidate}`?"),
            None if known.is_empty() => "none is defined".to_owned(),
            None => format!("known are {}", known.join(", ")),
        };
        Self::new(span, format!("unknown {what} {}", quoted(name))).hint(hint)
    }
}

/// Problems of a document, the first [`KEPT`] of them.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) first: Vec<Problem>,
    /// Number of the others.
    pub(crate) others: usize,
}

impl Problems {
    /// Most problems that are kept.
    pub(crate) const KEPT: usize = 1000;

    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        if self.first.len() < Self::KEPT {
            self.first.push(problem());
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// Returns the number of all problems.
    pub(crate) fn number(&self) -> usize {
        self.first.len().saturating_add(self.others)
    }

    /// Returns true if no further problem is kept.
    pub(crate) fn are_full(&self) -> bool {
        self.first.len() >= Self::KEPT
    }
}

/// Values of the matrix variables while one frame is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings<'a> {
    /// All variables of the scenario, for a hint.
    pub(crate) names: Rc<[&'a str]>,
    /// Variables that have a value here.
    pub(crate) values: Vec<(&'a str, &'a Value)>,
}

/// Shared by all readers: the values of variables, and the list of problems.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) bindings: &'a Bindings<'a>,
    pub(crate) problems: &'a RefCell<Problems>,
    pub(crate) positions: &'a Positions<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().add(|| problem);
    }

    /// Returns the value, or reports the problem.
    pub(crate) fn keep<T>(&self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.report(problem)).ok()
    }

    /// Returns the value of a variable.
    fn bound(&self, name: &str) -> Option<&'a Value> {
        self.bindings.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Reads a value, or the value of the variable in its place; the position stays that of the reference.
    pub(crate) fn read<T: Field>(&self, node: &Node) -> Result<T, Problem> {
        let Some(name) = node.variable() else { return T::read(node) };
        let span = node.span.clone();
        match self.bound(name) {
            Some(value) => T::read(&Node { span, value: value.clone() }),
            None if self.bindings.names.contains(&name) => {
                let message = format!("variable {} has no value here", quoted(&format!("${name}")));
                Err(Problem::new(span, message).hint("only variables that make frames have one"))
            }
            None => Err(Problem::unknown(span, "variable", name, self.bindings.names.iter().copied())),
        }
    }

    /// Like [`read`](Self::read), for the value of a key: reports a wrong value and returns none.
    pub(crate) fn take<T: Field>(&self, key: &str, node: &Node) -> Option<T> {
        self.read(node).map_err(|problem| self.report_value(key, problem)).ok()
    }

    /// Returns the position of the beginning of a span.
    pub(crate) fn spot(&self, span: &Span) -> Spot {
        self.positions.spot(span.start)
    }

    /// Reports a problem with the value of a key.
    pub(crate) fn report_value(&self, key: &str, problem: Problem) {
        self.report(Problem { message: format!("`{key}`: {}", problem.message), ..problem });
    }

    /// Returns the entries of a table; `place` is its name in an error.
    pub(crate) fn entries(self, place: &str, node: &'a Node) -> Option<&'a [(Key, Node)]> {
        if let Value::Table(entries) = &node.value {
            return Some(entries);
        }
        self.report(node.wrong(&format!("a table for {place}")));
        None
    }

    /// Opens a table for reading.
    pub(crate) fn table(self, place: &'a str, node: &'a Node) -> Option<Table<'a>> {
        let entries = self.entries(place, node)?;
        Some(Table { context: self, place, span: &node.span, entries, asked: Vec::new(), absent: Vec::new() })
    }

    /// Returns the items of an array, each with the node that has its position. A variable is replaced by the items of its
    /// value, if that is an array.
    pub(crate) fn splice(self, node: &'a Node) -> Vec<(&'a Node, &'a Node)> {
        let items = self.array(node);
        let mut spliced = Vec::with_capacity(items.len());
        for item in items {
            match item.variable().and_then(|name| self.bound(name)) {
                Some(Value::Array(items)) => spliced.extend(items.iter().map(|each| (item, each))),
                _ => spliced.push((item, item)),
            }
        }
        spliced
    }

    /// Returns the items of an array.
    pub(crate) fn array(self, node: &'a Node) -> &'a [Node] {
        if let Value::Array(items) = &node.value {
            return items;
        }
        self.report(node.wrong("an array"));
        &[]
    }

    /// Returns the items of an array that is the value of a key; reports one without items.
    pub(crate) fn items(self, key: &str, node: &'a Node) -> &'a [Node] {
        if matches!(&node.value, Value::Array(items) if items.is_empty()) {
            self.report_value(key, node.problem("is empty"));
        }
        self.array(node)
    }

    /// Reads one of a set of names.
    pub(crate) fn choice(self, what: &str, known: &[&str], node: &Node) -> Option<String> {
        let name: String = self.keep(self.read(node))?;
        if known.contains(&name.as_str()) {
            return Some(name);
        }
        self.report(Problem::unknown(node.span.clone(), what, &name, known.iter().copied()));
        None
    }

    /// Reads some of a set of names.
    pub(crate) fn choices(self, what: &str, known: &[&str], node: &'a Node) -> Vec<String> {
        self.array(node).iter().filter_map(|node| self.choice(what, known, node)).collect()
    }
}

/// A table that is read key by key. A key that was never asked for when the reading ends is unknown.
pub(crate) struct Table<'a> {
    pub(crate) context: Context<'a>,
    place: &'a str,
    span: &'a Span,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
    absent: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// Returns the value of a key unread.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.iter().find(|(known, _)| known.name == key).map(|(_, node)| node)
    }

    /// Reads the value of a key; reports a wrong one.
    pub(crate) fn take<T: Field>(&mut self, key: &'static str) -> Option<T> {
        let node = self.node(key)?;
        self.context.take(key, node)
    }

    /// Rejects the value of a key that has the right type.
    pub(crate) fn reject(&self, key: &str, message: impl Into<String>) {
        let place = self
            .entries
            .iter()
            .find(|(known, _)| known.name == key)
            .map_or(self.span, |(_, node)| &node.span);
        self.context.report_value(key, Problem::new(place.clone(), message));
    }

    /// Returns the value of a mandatory key unread.
    pub(crate) fn require_node(&mut self, key: &'static str) -> Option<&'a Node> {
        let node = self.node(key);
        if node.is_none() {
            self.missing(key);
        }
        node
    }

    /// Notes that a mandatory key is absent.
    pub(crate) fn missing(&mut self, key: &'static str) {
        self.absent.push(key);
    }

    /// Reads the value of a mandatory key.
    pub(crate) fn require<T: Field>(&mut self, key: &'static str) -> Option<T> {
        let node = self.require_node(key)?;
        self.context.take(key, node)
    }

    /// Returns true if a key was not asked for so far.
    pub(crate) fn has_unknown(&self) -> bool {
        self.entries.iter().any(|(key, _)| !self.asked.contains(&key.name.as_str()))
    }

    /// Ends the reading: reports unknown keys, or else the mandatory ones that are absent. If there are both, one is likely
    /// the other misspelt.
    pub(crate) fn finish(self) {
        let Self { context, place, span, entries, asked, absent } = self;
        let unknown: Vec<_> = entries.iter().filter(|(key, _)| !asked.contains(&key.name.as_str())).collect();
        for (key, _) in &unknown {
            context.problems.borrow_mut().add(|| {
                let mut problem = Problem::unknown(key.span.clone(), "key", &key.name, asked.iter().copied());
                problem.message.push_str(&format!(" in {place}"));
                problem
            });
        }
        for key in absent.iter().filter(|_| unknown.is_empty()) {
            context.report(Problem::new(span.clone(), format!("{place} has no `{key}`")));
        }
    }
}

/// Type that a value of a scenario is read as.
pub(crate) trait Field: Sized {
    fn read(node: &Node) -> Result<Self, Problem>;
}

/// Reads an integer of an unsigned type; `max` is the largest, with alternatives for the error.
fn integer<T: TryFrom<i64>>(node: &Node, max: impl std::fmt::Display) -> Result<T, Problem> {
    match node.value {
        Value::Integer(value) => T::try_from(value).ok(),
        _ => None,
    }
    .ok_or_else(|| node.wrong(&format!("an integer from 0 to {max}")))
}

macro_rules! integers {
    ($($int:ty: $max:expr),*) => {
        $(impl Field for $int {
            fn read(node: &Node) -> Result<Self, Problem> {
                integer(node, $max)
            }
        })*
    };
}

integers!(u8: u8::MAX, u16: u16::MAX, u32: u32::MAX, u64: i64::MAX);

/// Number of 64 bits: an integer, or a string of decimal or `0x` digits, because TOML has no integer above 2^63 - 1.
pub(crate) struct Wide(pub(crate) u64);

impl Field for Wide {
    fn read(node: &Node) -> Result<Self, Problem> {
        let number = match &node.value {
            Value::Integer(value) => u64::try_from(*value).ok(),
            Value::String(text) => match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            },
            _ => None,
        };
        number.map(Self).ok_or_else(|| {
            node.wrong("an integer from 0, or a string like \"0xffffffffffffffff\" for a large one")
        })
    }
}

impl<T: Copy + TryFrom<u64> + Into<u64>, const N: u32> Field for Bits<T, N> {
    fn read(node: &Node) -> Result<Self, Problem> {
        integer(node, Self::MAX).and_then(|value| {
            Self::new(value).ok_or_else(|| node.wrong(&format!("an integer from 0 to {}", Self::MAX)))
        })
    }
}

/// Types that a value is read as without conversion, with their names in an error.
macro_rules! plain_fields {
    ($($field:ty: $variant:ident, $expected:literal);*) => {
        $(impl Field for $field {
            fn read(node: &Node) -> Result<Self, Problem> {
                match &node.value {
                    Value::$variant(value) => Ok(value.clone()),
                    _ => Err(node.wrong($expected)),
                }
            }
        })*
    };
}

plain_fields!(bool: Boolean, "true or false"; String: String, "a string");

impl<T: Field> Field for Option<T> {
    fn read(node: &Node) -> Result<Self, Problem> {
        T::read(node).map(Some)
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(node: &Node) -> Result<Self, Problem> {
        match &node.value {
            Value::Array(items) => items.iter().map(T::read).collect(),
            _ => Err(node.wrong("an array")),
        }
    }
}

impl Field for Node {
    fn read(node: &Node) -> Result<Self, Problem> {
        Ok(node.clone())
    }
}

/// Reads a string by the `FromStr` of a type.
pub(crate) fn parse_text<T: FromStr>(node: &Node, expected: &str) -> Result<T, Problem> {
    match &node.value {
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| node.wrong(expected))
}

/// Types that are read from a string by their `FromStr`, with their names in an error.
macro_rules! parsed_fields {
    ($($field:ty: $expected:expr),* $(,)?) => {
        $(impl Field for $field {
            fn read(node: &Node) -> Result<Self, Problem> {
                parse_text(node, $expected)
            }
        })*
    };
}

parsed_fields! {
    MacAddr: MacAddr::EXPECTED,
    Ipv4Addr: "an IPv4 address like 192.0.2.1",
    Ipv6Addr: "an IPv6 address like 2001:db8::1",
    Hex: Hex::EXPECTED,
    Options: Options::EXPECTED,
    KernelVersion: KernelVersion::EXPECTED,
    KernelRange: KernelRange::EXPECTED,
}

macro_rules! named_fields {
    ($($field:ident: $int:ty, $article:literal);*) => {
        $(impl Field for $field {
            fn read(node: &Node) -> Result<Self, Problem> {
                match &node.value {
                    Value::String(name) => Self::from_name(name).ok_or_else(|| {
                        Problem::unknown(node.span.clone(), Self::WHAT, name, Self::names())
                    }),
                    _ => {
                        let max = format!("{} or {} {} by name", <$int>::MAX, $article, Self::WHAT);
                        integer(node, max).map(Self)
                    }
                }
            }
        })*
    };
}

named_fields!(EtherType: u16, "an"; Protocol: u8, "a"; Tpid: u16, "a");

//! TOML with positions: a tree whose every key and value knows where it stands, and a reader of its tables
//! that notices every wrong value and every unknown key, not only the first.
//!
//! Serde is not used here, because a scenario's values can be variables (`"$protocol"`), because all problems
//! of a file are wanted at once, and because each must carry its place and a hint.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::kernel::{KernelRange, KernelVersion};
use crate::value::{Bits, EtherType, Hex, MacAddr, Options, Protocol, Tpid};

/// A byte range of the document.
pub(crate) type Span = Range<usize>;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// A TOML value; tables keep the order of the file.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Integer(i64),
    String(String),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Vec<(Key, Node)>),
    /// A value that no scenario has a use for, such as a date; its type's name.
    Useless(&'static str),
}

/// A key of a table and its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

impl Node {
    /// Parses a document; its root is a table.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let table = DeTable::parse(text).map_err(|error| {
            // The parser's sentences start with a capital or not, as they come: only the span is structured.
            Problem::new(
                error.span().unwrap_or(0..0),
                format!("not valid TOML: {}", error.message().replace('\n', ", ")),
            )
        })?;
        Ok(Self { span: 0..0, value: Value::table(table.get_ref()) })
    }

    fn new(value: &Spanned<DeValue<'_>>) -> Self {
        let node = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(Value::Useless("an integer of more than 64 bits"), Value::Integer),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(items) => Value::Array(items.iter().map(Self::new).collect()),
            DeValue::Table(table) => Value::table(table),
            DeValue::Float(_) => Value::Useless("a float"),
            DeValue::Datetime(_) => Value::Useless("a date"),
        };
        Self { span: value.span(), value: node }
    }

    /// The name after the `$`, where the value is a variable.
    pub(crate) fn variable(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => text.strip_prefix('$'),
            _ => None,
        }
    }

    /// Calls `visit` with every variable in this value, in the order of the file.
    pub(crate) fn visit_variables<'a>(&'a self, visit: &mut impl FnMut(&'a str)) {
        match &self.value {
            Value::Array(items) => items.iter().for_each(|item| item.visit_variables(visit)),
            Value::Table(entries) => entries.iter().for_each(|(_, item)| item.visit_variables(visit)),
            _ => self.variable().into_iter().for_each(visit),
        }
    }

    /// Whether there is a variable in this value.
    pub(crate) fn has_variable(&self) -> bool {
        let mut any = false;
        self.visit_variables(&mut |_| any = true);
        any
    }

    fn wrong(&self, expected: &str) -> Problem {
        let found = match &self.value {
            Value::Integer(value) => format!("{value}"),
            Value::String(text) => format!("`{}`", text.escape_debug()),
            Value::Boolean(value) => format!("{value}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Useless(what) => (*what).to_owned(),
        };
        Problem::new(self.span.clone(), format!("expected {expected}, found {found}"))
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

/// What is wrong at a place of the document.
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

    /// A name that is not among the `known`, with the likeliest of them.
    pub(crate) fn unknown<'a>(
        span: Span,
        what: impl std::fmt::Display,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<_> = known.into_iter().collect();
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), candidate), candidate))
            .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()).div_ceil(3))
            .min();
        let hint = match nearest {
            Some((_, candidate)) => format!("did you mean `{candidate}`?"),
            None if known.is_empty() => "there is none to choose from".to_owned(),
            None => format!("known are {}", known.join(", ")),
        };
        Self::new(span, format!("unknown {what} `{name}`")).hint(hint)
    }
}

/// The values of the matrix variables while one frame is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings<'a> {
    /// Every variable that there is, for a hint.
    pub(crate) names: Rc<[&'a str]>,
    /// Those that have a value here.
    pub(crate) values: Vec<(&'a str, &'a Value)>,
}

/// What every reader shares: the variables in force, and where problems are gathered.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) bindings: &'a Bindings<'a>,
    pub(crate) problems: &'a RefCell<Vec<Problem>>,
}

impl<'a> Context<'a> {
    pub(crate) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// The value, or the problem reported.
    pub(crate) fn keep<T>(&self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.report(problem)).ok()
    }

    /// Reads a value, or what the variable in its place stands for; the place stays that of the reference.
    pub(crate) fn read<T: Field>(&self, node: &Node) -> Result<T, Problem> {
        let Some(name) = node.variable() else { return T::read(node) };
        match self.bindings.values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => T::read(&Node { span: node.span.clone(), value: (*value).clone() }),
            None => Err(Problem::unknown(
                node.span.clone(),
                "variable",
                name,
                self.bindings.names.iter().copied(),
            )),
        }
    }

    /// As [`read`](Self::read), for the value of a key: none where it is wrong, which is reported.
    pub(crate) fn take<T: Field>(&self, key: &str, node: &Node) -> Option<T> {
        self.read(node).map_err(|problem| self.report_value(key, problem)).ok()
    }

    /// Reports what is wrong with the value of a key.
    fn report_value(&self, key: &str, problem: Problem) {
        self.report(Problem { message: format!("`{key}`: {}", problem.message), ..problem });
    }

    /// The entries of a table; `place` is what it is called in an error.
    pub(crate) fn entries(self, place: &str, node: &'a Node) -> Option<&'a [(Key, Node)]> {
        if let Value::Table(entries) = &node.value {
            return Some(entries);
        }
        self.report(node.wrong(&format!("a table for {place}")));
        None
    }

    /// Opens a table to be read.
    pub(crate) fn table(self, place: &'a str, node: &'a Node) -> Option<Table<'a>> {
        let entries = self.entries(place, node)?;
        Some(Table { context: self, place, span: &node.span, entries, asked: Vec::new(), absent: Vec::new() })
    }

    /// The items of an array, each with its place in it. An item that is a variable stands for the items of the array
    /// that is its value.
    pub(crate) fn splice(self, node: &'a Node) -> Vec<(&'a Node, &'a Node)> {
        let items = self.array(node);
        let mut spliced = Vec::with_capacity(items.len());
        for item in items {
            let value = item.variable().and_then(|name| {
                self.bindings.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
            });
            match value {
                Some(Value::Array(items)) => spliced.extend(items.iter().map(|each| (item, each))),
                _ => spliced.push((item, item)),
            }
        }
        spliced
    }

    /// The items of an array.
    pub(crate) fn array(self, node: &'a Node) -> &'a [Node] {
        if let Value::Array(items) = &node.value {
            return items;
        }
        self.report(node.wrong("an array"));
        &[]
    }
}

/// A table that is read key by key. What was never asked for when the reading ends is an unknown key.
pub(crate) struct Table<'a> {
    pub(crate) context: Context<'a>,
    place: &'a str,
    span: &'a Span,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
    absent: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The entry of a key as it stands.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.entries.iter().find(|(known, _)| known.name == key).map(|(_, node)| node)
    }

    /// The value of a key; none where it is absent or wrong, and a wrong one is reported.
    pub(crate) fn take<T: Field>(&mut self, key: &'static str) -> Option<T> {
        let node = self.node(key)?;
        self.context.take(key, node)
    }

    /// Reports that the value of a key has the right type and is wrong all the same.
    pub(crate) fn refuse(&self, key: &str, message: impl Into<String>) {
        let place = self
            .entries
            .iter()
            .find(|(known, _)| known.name == key)
            .map_or(self.span, |(_, node)| &node.span);
        self.context.report_value(key, Problem::new(place.clone(), message));
    }

    /// Notes that a key is absent that must be there.
    pub(crate) fn missing(&mut self, key: &'static str) {
        self.absent.push(key);
    }

    /// The value of a key that must be there.
    pub(crate) fn require<T: Field>(&mut self, key: &'static str) -> Option<T> {
        if self.node(key).is_none() {
            self.missing(key);
        }
        self.take(key)
    }

    /// Ends the reading: reports the keys that nobody asked for, or else those that are absent. Where there
    /// are both, one is likely the other misspelt.
    pub(crate) fn finish(self) {
        let Self { context, place, span, entries, asked, absent } = self;
        let unknown: Vec<_> = entries.iter().filter(|(key, _)| !asked.contains(&key.name.as_str())).collect();
        for (key, _) in &unknown {
            // A key may have been asked for more than once, and is named once.
            let known = asked.iter().enumerate().filter(|(index, key)| !asked[..*index].contains(key));
            let known = known.map(|(_, key)| *key);
            let mut problem = Problem::unknown(key.span.clone(), "key", &key.name, known);
            problem.message.push_str(&format!(" in {place}"));
            context.report(problem);
        }
        for key in absent.iter().filter(|_| unknown.is_empty()) {
            context.report(Problem::new(span.clone(), format!("{place} has no `{key}`")));
        }
    }
}

/// A type that one value of a scenario is read as.
pub(crate) trait Field: Sized {
    fn read(node: &Node) -> Result<Self, Problem>;
}

/// An integer of a type that holds none below 0; `max` is the largest, or more that is allowed in its place.
fn integer<T: TryFrom<i64>>(node: &Node, max: impl std::fmt::Display) -> Result<T, Problem> {
    match node.value {
        Value::Integer(value) => T::try_from(value).ok(),
        _ => None,
    }
    .ok_or_else(|| node.wrong(&format!("an integer from 0 to {max}")))
}

macro_rules! integers {
    ($($int:ty),*) => {
        $(impl Field for $int {
            fn read(node: &Node) -> Result<Self, Problem> {
                integer(node, <$int>::MAX)
            }
        })*
    };
}

integers!(u8, u16, u32);

impl Field for u64 {
    fn read(node: &Node) -> Result<Self, Problem> {
        integer(node, i64::MAX)
    }
}

/// A number of 64 bits: an integer, or, as TOML has none above 2^63 - 1, a string of decimal or `0x` digits.
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

impl Field for bool {
    fn read(node: &Node) -> Result<Self, Problem> {
        match node.value {
            Value::Boolean(value) => Ok(value),
            _ => Err(node.wrong("true or false")),
        }
    }
}

impl Field for String {
    fn read(node: &Node) -> Result<Self, Problem> {
        match &node.value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(node.wrong("a string")),
        }
    }
}

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

/// Types that are read from a string by their `FromStr`, and what each is called in an error.
macro_rules! parsed_fields {
    ($($field:ty: $expected:expr),* $(,)?) => {
        $(impl Field for $field {
            fn read(node: &Node) -> Result<Self, Problem> {
                match &node.value {
                    Value::String(text) => text.parse().ok(),
                    _ => None,
                }
                .ok_or_else(|| node.wrong($expected))
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
    ($($field:ident: $int:ty),*) => {
        $(impl Field for $field {
            fn read(node: &Node) -> Result<Self, Problem> {
                match &node.value {
                    Value::String(name) => Self::from_name(name).ok_or_else(|| {
                        Problem::unknown(node.span.clone(), Self::WHAT, name, Self::names())
                    }),
                    _ => integer(node, format!("{} or a {} by name", <$int>::MAX, Self::WHAT)).map(Self),
                }
            }
        })*
    };
}

named_fields!(EtherType: u16, Protocol: u8, Tpid: u16);

//! The layout of a key, a value or a variable: fields by the names of the object's types, or bytes without them.
//!
//! Numbers are in the byte order of the machine, as the program has them; BPF objects for another one are not read.

mod arithmetic;
mod compare;
mod encode;
mod error;
mod from_types;
mod of_map;
mod text;
mod value;

#[cfg(test)]
mod tests;

pub use compare::FieldDifference;
pub use encode::Names;
pub use error::LayoutError;

/// Members of a structure that a description lists.
const SHOWN_FIELDS: usize = 8;

/// Layout of a key, a value or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The type as its object names it, or what the bytes are (`the key`).
    name: String,
    /// In bytes.
    size: usize,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// Bytes without a type, and the reason for that.
    Bytes {
        reason: &'static str,
    },
    Number {
        signed: bool,
    },
    Boolean,
    Pointer,
    Enumeration {
        signed: bool,
        values: Vec<(String, i128)>,
    },
    /// An array of characters.
    Text,
    /// An array of bytes, such as a MAC address.
    Octets,
    Array {
        element: Box<Layout>,
        count: usize,
    },
    Record {
        is_union: bool,
        fields: Vec<Field>,
    },
}

/// Member of a structure or a union. One without a name is a structure or a union, the fields of which belong to the outer one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: String,
    /// In bytes.
    offset: usize,
    bits: Option<Bits>,
    layout: Layout,
}

/// Place of a bit field, from the least significant bit of the byte at its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits {
    shift: u32,
    width: u32,
}

impl Layout {
    /// Returns the layout of bytes without a type. `name` says what they are, as in `the key`.
    #[must_use]
    pub fn plain(name: &str, size: usize) -> Self {
        Self::untyped(name, size, "the object has no types (BTF) of it")
    }

    fn untyped(name: &str, size: usize, reason: &'static str) -> Self {
        Self { name: name.to_owned(), size, shape: Shape::Bytes { reason } }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns whether fields and types are known.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        !matches!(self.shape, Shape::Bytes { .. })
    }

    /// Returns the names of the fields, as far as it is a structure or a union.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect_fields(&mut names);
        names
    }

    fn collect_fields<'l>(&'l self, names: &mut Vec<&'l str>) {
        let Shape::Record { fields, .. } = &self.shape else { return };
        for field in fields {
            if field.name.is_empty() {
                field.layout.collect_fields(names);
            } else {
                names.push(&field.name);
            }
        }
    }

    /// Describes the type in a few words: `struct datarec { packets: u64, bytes: u64 }`, `__u32`, `6 bytes`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.shape {
            Shape::Bytes { .. } => format!("{} bytes", self.size),
            Shape::Record { is_union, .. } => {
                let mut shown = Vec::new();
                self.describe_fields(&mut shown);
                let is_cut = shown.len() > SHOWN_FIELDS;
                shown.truncate(SHOWN_FIELDS);
                shown.extend(is_cut.then(|| "..".to_owned()));
                let separator = if *is_union { " or " } else { ", " };
                format!("{} {{ {} }}", self.name, shown.join(separator))
            }
            _ => self.name.clone(),
        }
    }

    /// Adds the fields with their types; those of a union without a name are one, between which there is a choice.
    fn describe_fields(&self, shown: &mut Vec<String>) {
        let Shape::Record { fields, .. } = &self.shape else { return };
        for field in fields.iter().take(SHOWN_FIELDS + 1) {
            match (&field.layout.shape, field.bits) {
                (Shape::Record { is_union: false, .. }, _) if field.name.is_empty() => {
                    field.layout.describe_fields(shown);
                }
                (Shape::Record { .. }, _) if field.name.is_empty() => {
                    let mut choices = Vec::new();
                    field.layout.describe_fields(&mut choices);
                    shown.push(choices.join(" or "));
                }
                (_, None) => shown.push(format!("{}: {}", field.name, field.layout.name)),
                (_, Some(Bits { width, .. })) => shown.push(format!("{}: {width} bits", field.name)),
            }
            if shown.len() > SHOWN_FIELDS {
                return;
            }
        }
    }

    /// Finds a field by its name, also in members without a name, with its offset.
    fn field(&self, name: &str) -> Option<(usize, &Field)> {
        let Shape::Record { fields, .. } = &self.shape else { return None };
        fields.iter().find_map(|field| {
            if field.name.is_empty() {
                let (offset, inner) = field.layout.field(name)?;
                Some((field.offset.checked_add(offset)?, inner))
            } else {
                (field.name == name).then_some((field.offset, field))
            }
        })
    }
}

impl Field {
    /// Returns the bytes of the field in those of its structure; none outside of them.
    fn of<'b>(&self, offset: usize, bytes: &'b [u8]) -> Option<&'b [u8]> {
        bytes.get(offset..offset.checked_add(self.length())?)
    }

    fn of_mut<'b>(&self, offset: usize, bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
        bytes.get_mut(offset..offset.checked_add(self.length())?)
    }

    /// Returns the bytes that the field touches.
    fn length(&self) -> usize {
        match self.bits {
            Some(Bits { shift, width }) => (shift + width).div_ceil(8) as usize,
            None => self.layout.size,
        }
    }
}

impl Bits {
    /// Returns the value of the bits.
    fn read(self, bytes: &[u8]) -> u128 {
        number(bytes) >> self.shift & mask(self.width)
    }

    /// Replaces the bits.
    fn write(self, bytes: &mut [u8], value: u128) {
        let all = mask(self.width) << self.shift;
        let changed = number(bytes) & !all | value << self.shift & all;
        for (place, byte) in bytes.iter_mut().zip(changed.to_le_bytes()) {
            *place = byte;
        }
    }
}

/// Returns the number that up to 16 bytes are.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().take(16).rev().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
}

/// Returns the number that up to 16 bytes are, with a sign if it has one.
fn signed_number(bytes: &[u8], signed: bool) -> i128 {
    let unsigned = number(bytes);
    let unused = 128 - 8 * u32::try_from(bytes.len().clamp(1, 16)).unwrap_or(16);
    if signed { (unsigned << unused).cast_signed() >> unused } else { unsigned.cast_signed() }
}

/// Returns a number of which so many bits are set.
fn mask(width: u32) -> u128 {
    if width >= 128 { u128::MAX } else { (1 << width) - 1 }
}

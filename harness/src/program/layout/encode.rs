//! Bytes of a value as a layout has it.

use xdproof_scenarios::fixture::{FixtureValue, Spot};

use super::{
    Bits, Field, Layout, Shape,
    error::{At, LayoutError},
    mask,
    text::{self, Address},
};
use crate::program::nearest;

/// Bytes in hexadecimal digits.
pub(super) const HEX: &str = "hex:";
/// An integer in network byte order.
pub(super) const BIG_ENDIAN: &str = "be:";

/// Bytes of an integer at most.
const WIDEST: usize = 16;

/// Names of what only a run knows: `port:0`, `program:NAME`, `sent:frames`.
pub trait Names {
    /// Returns the bytes of a name in `size` bytes, or a sentence about why it has none; none for a text that is no such name.
    fn resolve(&self, text: &str, size: usize) -> Option<Result<Vec<u8>, String>>;
}

/// No names.
impl Names for () {
    fn resolve(&self, _: &str, _: usize) -> Option<Result<Vec<u8>, String>> {
        None
    }
}

impl Layout {
    /// Returns the bytes of a value; fields that it does not name are 0.
    ///
    /// # Errors
    ///
    /// A value that does not fit, with its position.
    pub fn encode(&self, value: &FixtureValue, names: &dyn Names) -> Result<Vec<u8>, LayoutError> {
        self.encoded(value, names, &At::whole(&self.subject()))
    }

    /// Returns what an error about the whole value begins with.
    pub(super) fn subject(&self) -> String {
        if self.is_typed() { format!("the value ({})", self.name) } else { self.name.clone() }
    }

    pub(super) fn encoded(
        &self,
        value: &FixtureValue,
        names: &dyn Names,
        at: &At<'_>,
    ) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = vec![0; self.size];
        self.write(value, names, at, &mut bytes)?;
        Ok(bytes)
    }

    fn write(
        &self,
        value: &FixtureValue,
        names: &dyn Names,
        at: &At<'_>,
        bytes: &mut [u8],
    ) -> Result<(), LayoutError> {
        let is_scalar = matches!(value, FixtureValue::Integer(_) | FixtureValue::Boolean(_));
        if let Some(only) = self.only().filter(|_| is_scalar) {
            return only.write(value, names, at, bytes);
        }
        match (&self.shape, value) {
            (_, FixtureValue::Text(text)) => {
                bytes.copy_from_slice(&self.of_text(text, names, at)?);
                Ok(())
            }
            (Shape::Record { is_union, .. }, FixtureValue::Fields(named)) => {
                if let (true, [_, (name, spot, _), ..]) = (*is_union, named.as_slice()) {
                    let problem = format!("is a union ({}); give one of its fields", self.name);
                    return Err(At { spot: Some(*spot), ..at.clone() }
                        .error(problem)
                        .hint(format!("leave out `{name}`")));
                }
                for (name, spot, value) in named {
                    let (offset, field) = self.expect_field(name, *spot, at)?;
                    let at = at.field(name, *spot);
                    field.write(offset, value, names, &at, bytes)?;
                }
                Ok(())
            }
            (Shape::Array { element, count }, FixtureValue::Array(values)) => {
                expect_count(values.len(), *count, at)?;
                let places = bytes.chunks_exact_mut(element.size.max(1));
                for (index, (value, place)) in values.iter().zip(places).enumerate() {
                    element.write(value, names, &at.element(index), place)?;
                }
                Ok(())
            }
            (Shape::Array { element, count }, FixtureValue::Fields(named)) if are_indices(named) => {
                for (name, spot, value) in named {
                    let (index, at) = expect_index(name, *spot, *count, at)?;
                    let place = bytes.chunks_exact_mut(element.size.max(1)).nth(index);
                    let place = place.ok_or_else(|| at.error("lies outside of its array"))?;
                    element.write(value, names, &at, place)?;
                }
                Ok(())
            }
            (Shape::Octets | Shape::Bytes { .. } | Shape::Text, FixtureValue::Array(values)) => {
                expect_count(values.len(), self.size, at)?;
                let octet = Self { name: "byte".to_owned(), size: 1, shape: Shape::Number { signed: false } };
                for (index, (value, place)) in values.iter().zip(bytes.chunks_exact_mut(1)).enumerate() {
                    octet.write(value, names, &at.element(index), place)?;
                }
                Ok(())
            }
            (_, FixtureValue::Integer(_) | FixtureValue::Boolean(_)) if self.is_number() => {
                let width = 8 * u32::try_from(self.size).unwrap_or(u32::MAX);
                let number = self.number_in(width, value, at)?;
                for (place, byte) in bytes.iter_mut().zip(number.to_le_bytes()) {
                    *place = byte;
                }
                Ok(())
            }
            _ => Err(self.misfit(value, at)),
        }
    }

    /// Returns the layout of the one part that a structure or an array consists of: a structure of one number is that number.
    fn only(&self) -> Option<&Self> {
        let only = match &self.shape {
            Shape::Array { element, count: 1 } => element,
            Shape::Record { fields, .. } => match fields.as_slice() {
                [Field { bits: None, layout, .. }] => layout,
                _ => return None,
            },
            _ => return None,
        };
        (only.size == self.size).then_some(only)
    }

    /// Returns whether an integer can be written: whether its type is one, or it has no type and so few bytes.
    fn is_number(&self) -> bool {
        match self.shape {
            Shape::Number { .. } | Shape::Boolean | Shape::Pointer | Shape::Enumeration { .. } => {
                self.size <= WIDEST
            }
            Shape::Bytes { .. } => (1..=WIDEST).contains(&self.size),
            Shape::Text | Shape::Octets | Shape::Array { .. } | Shape::Record { .. } => false,
        }
    }

    /// Returns an integer, checked to fit so many bits.
    pub(super) fn number_in(
        &self,
        width: u32,
        value: &FixtureValue,
        at: &At<'_>,
    ) -> Result<u128, LayoutError> {
        let number = match value {
            FixtureValue::Integer(number) => *number,
            FixtureValue::Boolean(truth) => i128::from(*truth),
            FixtureValue::Text(text) => match self.enumerator(text).or_else(|| text::integer(text)) {
                Some(number) => number,
                None => return Err(self.no_number(text, at)),
            },
            FixtureValue::Array(_) | FixtureValue::Fields(_) => return Err(self.misfit(value, at)),
        };
        let (least, most) = match self.shape {
            Shape::Boolean => (0, 1),
            _ if !(1..128).contains(&width) => (i128::MIN, i128::MAX),
            Shape::Number { signed: true } => (-1 << (width - 1), (1 << (width - 1)) - 1),
            // Bytes without a type, and enumerations, are numbers with and without a sign.
            Shape::Bytes { .. } | Shape::Enumeration { .. } => (-1 << (width - 1), mask(width).cast_signed()),
            _ => (0, mask(width).cast_signed()),
        };
        if !(least..=most).contains(&number) {
            return Err(at.error(format!("must be {least} to {most} ({}), got {number}", self.describe())));
        }
        Ok(number.cast_unsigned() & mask(width))
    }

    fn of_text(&self, text: &str, names: &dyn Names, at: &At<'_>) -> Result<Vec<u8>, LayoutError> {
        if let Some(digits) = text.strip_prefix(HEX) {
            let bytes = hex::decode(digits.split_whitespace().collect::<String>()).map_err(|_| {
                at.error(format!("must be pairs of hexadecimal digits after `hex:`, got `{digits}`"))
            })?;
            return self.exactly(bytes, at);
        }
        if let Some(only) = self.only() {
            return only.of_text(text, names, at);
        }
        if self.shape == Shape::Text {
            return self.padded(text, at);
        }
        if let Some(number) = text.strip_prefix(BIG_ENDIAN) {
            return self.big_endian(number, at);
        }
        if let Some(resolved) = names.resolve(text, self.size) {
            return self
                .exactly(resolved.map_err(|problem| at.error(format!("is `{text}`: {problem}")))?, at);
        }
        if let Some(address) = Address::parse(text) {
            let bytes = address.bytes();
            if bytes.len() != self.size {
                let problem = format!(
                    "has {} bytes ({}), {} has {}",
                    self.size,
                    self.describe(),
                    address.describe(),
                    bytes.len()
                );
                return Err(at.error(problem));
            }
            return Ok(bytes);
        }
        if !self.is_number() {
            return Err(self.misfit(&FixtureValue::Text(text.to_owned()), at));
        }
        let width = 8 * u32::try_from(self.size).unwrap_or(u32::MAX);
        let number = self.number_in(width, &FixtureValue::Text(text.to_owned()), at)?;
        Ok(number.to_le_bytes().into_iter().take(self.size).collect())
    }

    /// Checks bytes that stand for themselves.
    fn exactly(&self, bytes: Vec<u8>, at: &At<'_>) -> Result<Vec<u8>, LayoutError> {
        if bytes.len() == self.size {
            return Ok(bytes);
        }
        Err(at.error(format!("has {} bytes, got {}", self.size, bytes.len())))
    }

    fn padded(&self, text: &str, at: &At<'_>) -> Result<Vec<u8>, LayoutError> {
        if text.len() > self.size {
            return Err(at.error(format!("has {} bytes, got a text of {}", self.size, text.len())));
        }
        Ok(text.bytes().chain(std::iter::repeat(0)).take(self.size).collect())
    }

    fn big_endian(&self, text: &str, at: &At<'_>) -> Result<Vec<u8>, LayoutError> {
        let fits = matches!(
            self.shape,
            Shape::Number { .. }
                | Shape::Pointer
                | Shape::Enumeration { .. }
                | Shape::Bytes { .. }
                | Shape::Octets
        );
        if !fits || !(1..=WIDEST).contains(&self.size) {
            return Err(self.misfit(&FixtureValue::Text(format!("{BIG_ENDIAN}{text}")), at));
        }
        let most = mask(8 * u32::try_from(self.size).unwrap_or(16)).min(i128::MAX.cast_unsigned());
        let number = text::integer(text).and_then(|number| u128::try_from(number).ok());
        match number.filter(|number| *number <= most) {
            Some(number) => Ok(number.to_be_bytes()[WIDEST - self.size..].to_vec()),
            None => {
                Err(at.error(format!("must be `be:0` to `be:{most}` ({}), got `be:{text}`", self.describe())))
            }
        }
    }

    fn enumerator(&self, text: &str) -> Option<i128> {
        let Shape::Enumeration { values, .. } = &self.shape else { return None };
        values.iter().find(|(name, _)| name == text).map(|(_, value)| *value)
    }

    fn no_number(&self, text: &str, at: &At<'_>) -> LayoutError {
        match &self.shape {
            Shape::Enumeration { values, .. } => {
                let error = at.error(format!("has no enumerator `{text}` ({})", self.name));
                error.hint(nearest::hint(text, values.iter().map(|(name, _)| name.as_str())))
            }
            _ => self.misfit(&FixtureValue::Text(text.to_owned()), at),
        }
    }

    /// Returns the field of a name.
    pub(super) fn expect_field(
        &self,
        name: &str,
        spot: Spot,
        at: &At<'_>,
    ) -> Result<(usize, &Field), LayoutError> {
        self.field(name).ok_or_else(|| {
            let at = At { spot: Some(spot), ..at.clone() };
            at.sentence(format!("no field `{name}` in {}", self.name))
                .hint(nearest::hint(name, self.fields()))
        })
    }

    /// Returns the error about a value of a form that the layout does not take, with the forms that it takes.
    fn misfit(&self, value: &FixtureValue, at: &At<'_>) -> LayoutError {
        let found = match value {
            FixtureValue::Integer(number) => number.to_string(),
            FixtureValue::Boolean(truth) => truth.to_string(),
            FixtureValue::Text(text) => format!("`{text}`"),
            FixtureValue::Array(values) => format!("an array of {}", values.len()),
            FixtureValue::Fields(_) => "a table".to_owned(),
        };
        let size = self.size;
        let expected = match &self.shape {
            Shape::Bytes { reason } if self.is_number() => {
                return at
                    .error(format!("must be an integer or `hex:` with {size} bytes, got {found}"))
                    .hint(*reason);
            }
            Shape::Bytes { reason } => {
                return at.error(format!("must be `hex:` with {size} bytes, got {found}")).hint(*reason);
            }
            Shape::Number { .. } | Shape::Pointer => format!("an integer ({})", self.name),
            Shape::Boolean => "true or false".to_owned(),
            Shape::Enumeration { .. } => format!("an enumerator or an integer ({})", self.name),
            Shape::Text => format!("a text of at most {size} bytes"),
            Shape::Octets => format!("an address, `hex:` or an array of {size} bytes"),
            Shape::Array { element, count } => {
                format!("an array of {count} {}, or a table like {{ 0 = .. }} of some", element.name)
            }
            Shape::Record { .. } => format!("a table with fields of {}", self.describe()),
        };
        at.error(format!("must be {expected}, got {found}"))
    }
}

impl Field {
    fn write(
        &self,
        offset: usize,
        value: &FixtureValue,
        names: &dyn Names,
        at: &At<'_>,
        bytes: &mut [u8],
    ) -> Result<(), LayoutError> {
        let number = self.bits.map(|bits| Ok((bits, self.layout.number_in(bits.width, value, at)?)));
        let number: Option<(Bits, u128)> = number.transpose()?;
        let place = self.of_mut(offset, bytes).ok_or_else(|| at.error("lies outside of its structure"))?;
        match number {
            Some((bits, number)) => {
                bits.write(place, number);
                Ok(())
            }
            None => self.layout.write(value, names, at, place),
        }
    }
}

/// Returns whether a table names elements of an array by their indices.
pub(super) fn are_indices(named: &[(String, Spot, FixtureValue)]) -> bool {
    let is_index = |name: &str| !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_digit());
    !named.is_empty() && named.iter().all(|(name, ..)| is_index(name))
}

/// Returns the index that a table names, of an array of `count` elements, and its place.
pub(super) fn expect_index<'w>(
    name: &str,
    spot: Spot,
    count: usize,
    at: &At<'w>,
) -> Result<(usize, At<'w>), LayoutError> {
    let at = At { spot: Some(spot), ..at.clone() };
    match name.parse().ok().filter(|index| *index < count) {
        Some(index) => Ok((index, at.element(index))),
        None => Err(at.error(format!("has {count} elements, from 0 on, and no {name}"))),
    }
}

pub(super) fn expect_count(found: usize, expected: usize, at: &At<'_>) -> Result<(), LayoutError> {
    if found == expected {
        return Ok(());
    }
    Err(at.error(format!("has {expected} elements, got {found}")))
}

//! Values that were read against values that are expected: only the fields that the expectation names.

use xdproof_scenarios::fixture::FixtureValue;

use super::{
    Bits, Field, Layout, Shape,
    encode::{BIG_ENDIAN, HEX, Names, are_indices, expect_count, expect_index},
    error::{At, LayoutError},
    number,
    text::{self, Address},
};

/// A field that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    /// The path of the field, as in `stats.packets` or `[3].bytes`; empty for the whole.
    pub field: String,
    pub expected: String,
    pub observed: String,
}

impl Layout {
    /// Returns the fields of `observed` that differ from those that `expected` names.
    ///
    /// # Errors
    ///
    /// An expectation that does not fit, with its position, and bytes of another length.
    pub fn compare(
        &self,
        expected: &FixtureValue,
        observed: &[u8],
        names: &dyn Names,
    ) -> Result<Vec<FieldDifference>, LayoutError> {
        let subject = self.subject();
        let at = At::whole(&subject);
        if observed.len() != self.size {
            return Err(at.error(format!("has {} bytes, got {}", self.size, observed.len())));
        }
        let mut differences = Vec::new();
        self.differ(expected, observed, names, &at, &mut differences)?;
        Ok(differences)
    }

    fn differ(
        &self,
        expected: &FixtureValue,
        observed: &[u8],
        names: &dyn Names,
        at: &At<'_>,
        differences: &mut Vec<FieldDifference>,
    ) -> Result<(), LayoutError> {
        match (&self.shape, expected) {
            (Shape::Record { .. }, FixtureValue::Fields(named)) => {
                for (name, spot, value) in named {
                    let (offset, field) = self.expect_field(name, *spot, at)?;
                    let at = at.field(name, *spot);
                    let outside = || at.error("lies outside of its structure");
                    let bytes = field.of(offset, observed).ok_or_else(outside)?;
                    match field.bits {
                        None => field.layout.differ(value, bytes, names, &at, differences)?,
                        Some(bits) => field.differ_in_bits(bits, value, bytes, &at, differences)?,
                    }
                }
                Ok(())
            }
            (Shape::Array { element, count }, FixtureValue::Array(values)) => {
                expect_count(values.len(), *count, at)?;
                let places = observed.chunks_exact(element.size.max(1));
                for (index, (value, bytes)) in values.iter().zip(places).enumerate() {
                    element.differ(value, bytes, names, &at.element(index), differences)?;
                }
                Ok(())
            }
            (Shape::Array { element, count }, FixtureValue::Fields(named)) if are_indices(named) => {
                for (name, spot, value) in named {
                    let (index, at) = expect_index(name, *spot, *count, at)?;
                    let bytes = observed.chunks_exact(element.size.max(1)).nth(index);
                    let bytes = bytes.ok_or_else(|| at.error("lies outside of its array"))?;
                    element.differ(value, bytes, names, &at, differences)?;
                }
                Ok(())
            }
            _ => {
                let bytes = self.encoded(expected, names, at)?;
                if bytes != observed {
                    differences.push(FieldDifference {
                        field: at.path.clone(),
                        expected: self.render_expected(expected, &bytes),
                        observed: self.render_like(expected, observed),
                    });
                }
                Ok(())
            }
        }
    }

    /// Renders an expected value as it was written, with its number if that is not to be seen.
    fn render_expected(&self, expected: &FixtureValue, bytes: &[u8]) -> String {
        match expected {
            FixtureValue::Text(text) if text.contains(':') && Address::parse(text).is_none() => {
                let is_plain = [BIG_ENDIAN, HEX].iter().any(|form| text.starts_with(form));
                if is_plain { text.clone() } else { format!("{text} ({})", self.render(bytes)) }
            }
            _ => self.render_like(expected, bytes),
        }
    }

    /// Renders bytes in the form in which a value is written.
    fn render_like(&self, form: &FixtureValue, bytes: &[u8]) -> String {
        let FixtureValue::Text(text) = form else { return self.render(bytes) };
        if text.starts_with(BIG_ENDIAN) && bytes.len() <= 16 {
            let number = bytes.iter().fold(0_u128, |sum, &byte| sum << 8 | u128::from(byte));
            return format!("{BIG_ENDIAN}{number}");
        }
        if text.starts_with(HEX) {
            return format!("{}{}", HEX, hex::encode(bytes));
        }
        if text.starts_with("0x") && text::integer(text).is_some() && bytes.len() <= 16 {
            return format!("{:#x}", number(bytes));
        }
        let address = Address::parse(text).and_then(|address| address.like(bytes));
        address.unwrap_or_else(|| self.render(bytes))
    }
}

impl Field {
    fn differ_in_bits(
        &self,
        bits: Bits,
        expected: &FixtureValue,
        observed: &[u8],
        at: &At<'_>,
        differences: &mut Vec<FieldDifference>,
    ) -> Result<(), LayoutError> {
        let wanted = self.layout.number_in(bits.width, expected, at)?;
        let found = bits.read(observed);
        if wanted != found {
            differences.push(FieldDifference {
                field: at.path.clone(),
                expected: self.layout.render_bits(bits.width, wanted),
                observed: self.layout.render_bits(bits.width, found),
            });
        }
        Ok(())
    }
}

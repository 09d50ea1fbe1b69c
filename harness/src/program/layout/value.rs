//! Bytes as values that a fixture can have, and as a person reads them.

use std::fmt::Write as _;

use xdproof_scenarios::fixture::{FixtureValue, Spot};

use super::{Field, Layout, Shape, encode::HEX, number, signed_number};

/// Elements of an array that are shown.
const SHOWN_ELEMENTS: usize = 64;
/// Bytes without a type that are shown.
const SHOWN_BYTES: usize = 256;

impl Layout {
    /// Returns the value that bytes are: [`encode`](Self::encode) makes the same bytes of it, except for padding.
    #[must_use]
    pub fn value(&self, bytes: &[u8]) -> FixtureValue {
        let raw = || FixtureValue::Text(format!("{HEX}{}", hex::encode(bytes)));
        match &self.shape {
            _ if bytes.len() != self.size => raw(),
            Shape::Number { signed } => integer(signed_number(bytes, *signed), bytes),
            Shape::Pointer => integer(signed_number(bytes, false), bytes),
            Shape::Bytes { .. } if matches!(self.size, 1 | 2 | 4 | 8) => {
                integer(signed_number(bytes, false), bytes)
            }
            Shape::Boolean => match number(bytes) {
                0 => FixtureValue::Boolean(false),
                1 => FixtureValue::Boolean(true),
                _ => raw(),
            },
            Shape::Enumeration { signed, .. } => self.enumerated(signed_number(bytes, *signed)),
            Shape::Text => text(bytes).map_or_else(raw, FixtureValue::Text),
            Shape::Bytes { .. } | Shape::Octets => raw(),
            Shape::Array { element, .. } => {
                let elements = bytes.chunks_exact(element.size.max(1));
                FixtureValue::Array(elements.map(|bytes| element.value(bytes)).collect())
            }
            Shape::Record { .. } => {
                let mut fields = Vec::new();
                // A union is one of its fields; bytes that no field has are written as they are.
                if self.push_fields(bytes, &mut fields) { FixtureValue::Fields(fields) } else { raw() }
            }
        }
    }

    /// Adds the fields with their values. Returns whether they are all of it.
    fn push_fields(&self, bytes: &[u8], values: &mut Vec<(String, Spot, FixtureValue)>) -> bool {
        let Shape::Record { is_union, fields } = &self.shape else { return false };
        let shown: Vec<&Field> = if *is_union {
            let whole = fields.iter().find(|field| field.bits.is_none() && field.layout.size == self.size);
            whole.into_iter().collect()
        } else {
            fields.iter().collect()
        };
        let mut complete = !shown.is_empty() || fields.is_empty();
        for field in shown {
            let Some(place) = field.of(field.offset, bytes) else { return false };
            match field.bits {
                _ if field.name.is_empty() => complete &= field.layout.push_fields(place, values),
                None => values.push((field.name.clone(), Spot::default(), field.layout.value(place))),
                Some(bits) => {
                    let value = field.layout.value_of_bits(bits.width, bits.read(place));
                    values.push((field.name.clone(), Spot::default(), value));
                }
            }
        }
        complete
    }

    fn enumerated(&self, value: i128) -> FixtureValue {
        let Shape::Enumeration { values, .. } = &self.shape else { return FixtureValue::Integer(value) };
        let named = values.iter().find(|(_, its)| *its == value);
        named.map_or(FixtureValue::Integer(value), |(name, _)| FixtureValue::Text(name.clone()))
    }

    fn value_of_bits(&self, width: u32, bits: u128) -> FixtureValue {
        let unused = 128 - width.clamp(1, 128);
        let signed = (bits << unused).cast_signed() >> unused;
        match &self.shape {
            Shape::Boolean => FixtureValue::Boolean(bits != 0),
            Shape::Enumeration { signed: true, .. } => self.enumerated(signed),
            Shape::Enumeration { signed: false, .. } => self.enumerated(bits.cast_signed()),
            Shape::Number { signed: true } => FixtureValue::Integer(signed),
            _ => FixtureValue::Integer(bits.cast_signed()),
        }
    }

    pub(super) fn render_bits(&self, width: u32, bits: u128) -> String {
        rendered(&self.value_of_bits(width, bits))
    }

    /// Renders bytes as a fixture has them: `{ packets = 1, bytes = 60 }`. Long ones are cut.
    #[must_use]
    pub fn render(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        match &self.shape {
            // Values of megabytes are not made for their first elements.
            Shape::Array { element, count } if *count > SHOWN_ELEMENTS && bytes.len() == self.size => {
                let elements = bytes.chunks_exact(element.size.max(1)).take(SHOWN_ELEMENTS);
                let shown: Vec<String> = elements.map(|bytes| element.render(bytes)).collect();
                let _infallible = write!(text, "[{}, .. {count}]", shown.join(", "));
            }
            Shape::Bytes { .. } | Shape::Octets | Shape::Text if bytes.len() > SHOWN_BYTES => {
                let shown = bytes.get(..SHOWN_BYTES).unwrap_or_default();
                let _infallible = write!(text, "\"{HEX}{}..\" ({} bytes)", hex::encode(shown), bytes.len());
            }
            _ => text = rendered(&self.value(bytes)),
        }
        text
    }
}

fn integer(value: i128, bytes: &[u8]) -> FixtureValue {
    // A document has integers of 64 bits with a sign.
    if i64::try_from(value).is_ok() || bytes.len() > 16 {
        FixtureValue::Integer(value)
    } else {
        FixtureValue::Text(format!("{:#x}", number(bytes)))
    }
}

/// Returns the text of an array of characters, if it is one that ends with zeros.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = str::from_utf8(bytes.get(..end)?).ok()?;
    (!text.contains(char::is_control) && !text.starts_with(HEX)).then(|| text.to_owned())
}

/// Renders a value as a document has it.
fn rendered(value: &FixtureValue) -> String {
    match value {
        FixtureValue::Integer(number) => number.to_string(),
        FixtureValue::Boolean(truth) => truth.to_string(),
        FixtureValue::Text(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        FixtureValue::Array(values) => {
            let mut shown: Vec<String> = values.iter().take(SHOWN_ELEMENTS).map(rendered).collect();
            if values.len() > SHOWN_ELEMENTS {
                shown.push(format!(".. {}", values.len()));
            }
            format!("[{}]", shown.join(", "))
        }
        FixtureValue::Fields(fields) if fields.is_empty() => "{}".to_owned(),
        FixtureValue::Fields(fields) => {
            let each: Vec<String> =
                fields.iter().map(|(name, _, value)| format!("{name} = {}", rendered(value))).collect();
            format!("{{ {} }}", each.join(", "))
        }
    }
}

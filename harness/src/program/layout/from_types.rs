//! Layouts from the types of an object, or of the kernel: whatever they say, in bounded time and memory.

use super::{Bits, Field, Layout, Shape};
use crate::program::btf::{Btf, Member, kind};

/// Structures and arrays within each other that are followed.
const DEPTH: usize = 16;
/// The most fields of a layout, those of inner structures included.
const MOST_FIELDS: usize = 4096;
/// The longest name of a field, an enumerator or a type in bytes.
const LONGEST_NAME: usize = 512;

/// The most bits of a bit field.
const WIDEST_BITS: u32 = 64;

const TOO_DEEP: &str = "its types are nested too deeply";
const TOO_MANY: &str = "it has more than 4096 fields";
const DAMAGED: &str = "its types contradict themselves";
const OTHER_SIZE: &str = "the type of it has another size";

impl Layout {
    /// Returns the layout of a type that takes `size` bytes; without fields if the type does not say so.
    pub(in crate::program) fn of_type(types: &Btf, id: u32, name: &str, size: usize) -> Self {
        let mut budget = MOST_FIELDS;
        match layout(types, id, DEPTH, &mut budget) {
            Ok(layout) if layout.size == size => layout,
            Ok(_) => Self::untyped(name, size, OTHER_SIZE),
            Err(reason) => Self::untyped(name, size, reason),
        }
    }
}

fn layout(types: &Btf, id: u32, depth: usize, budget: &mut usize) -> Result<Layout, &'static str> {
    let depth = depth.checked_sub(1).ok_or(TOO_DEEP)?;
    let (_, one) = types.resolve(id).ok_or(DAMAGED)?;
    let size = types.size(id).and_then(|size| usize::try_from(size).ok()).ok_or(DAMAGED)?;
    let name = checked(types.type_name(id))?;
    let shape = match one.kind() {
        kind::INT if one.is_bool() => Shape::Boolean,
        kind::INT if one.is_whole_number() => Shape::Number { signed: one.is_signed() },
        kind::INT | kind::FLOAT => Shape::Bytes { reason: "its type is no integer" },
        kind::PTR => Shape::Pointer,
        kind::ENUM | kind::ENUM64 if !matches!(size, 1 | 2 | 4 | 8) => return Err(DAMAGED),
        kind::ENUM | kind::ENUM64 => {
            let values = one.enumerators();
            take(budget, values.len())?;
            let named = values.into_iter().map(|(name, value)| Ok((checked(types.string(name))?, value)));
            Shape::Enumeration { signed: one.has_flag(), values: named.collect::<Result<_, _>>()? }
        }
        kind::ARRAY => {
            let (element, count) = one.array().ok_or(DAMAGED)?;
            take(budget, 1)?;
            let count = usize::try_from(count).map_err(|_| DAMAGED)?;
            if types.is_character(element) {
                Shape::Text
            } else {
                let element = layout(types, element, depth, budget)?;
                if element.shape == (Shape::Number { signed: false }) && element.size == 1 && count > 1 {
                    Shape::Octets
                } else {
                    Shape::Array { element: Box::new(element), count }
                }
            }
        }
        kind::STRUCT | kind::UNION => {
            let mut fields = Vec::new();
            for member in one.members() {
                take(budget, 1)?;
                let inner = layout(types, member.kind, depth, budget)?;
                fields.push(field(checked(types.string(member.name))?, &member, inner, size)?);
            }
            if is_wrapper(&name) {
                fields = match unwrapped(fields, size) {
                    Ok(inner) => return Ok(inner),
                    Err(fields) => fields,
                };
            }
            Shape::Record { is_union: one.kind() == kind::UNION, fields }
        }
        _ => return Err(DAMAGED),
    };
    Ok(Layout { name, size, shape })
}

/// Types of Rust that hold a value and nothing else, from `aya_ebpf::Global` down to that value.
const WRAPPERS: [&str; 5] = ["Global", "MaybeUninit", "ManuallyDrop", "MaybeDangling", "UnsafeCell"];

/// Returns whether a type is a wrapper by its name, in which bpf-linker has replaced `<`.
fn is_wrapper(name: &str) -> bool {
    let name = name.rsplit(' ').next().unwrap_or(name);
    name.split_once("_3C_").is_some_and(|(base, _)| WRAPPERS.contains(&base))
}

/// Returns the layout of the only field that has bytes, if it is the whole type.
fn unwrapped(fields: Vec<Field>, size: usize) -> Result<Layout, Vec<Field>> {
    let is_whole = |field: &Field| field.layout.size == size && field.bits.is_none();
    match fields.iter().filter(|field| field.layout.size > 0).collect::<Vec<_>>().as_slice() {
        [only] if is_whole(only) => Ok(only.layout.clone()),
        _ => Err(fields),
    }
}

fn field(name: String, member: &Member, layout: Layout, whole: usize) -> Result<Field, &'static str> {
    let offset = (member.bit_offset / 8) as usize;
    let shift = member.bit_offset % 8;
    let bits = match member.bit_width {
        0 if shift == 0 => None,
        0 => return Err(DAMAGED),
        width => Some(Bits { shift, width }),
    };
    let fits = |bits: Bits| {
        let is_number =
            matches!(layout.shape, Shape::Number { .. } | Shape::Boolean | Shape::Enumeration { .. });
        is_number && bits.width <= WIDEST_BITS && bits.width as usize <= 8 * layout.size
    };
    if bits.is_some_and(|bits| !fits(bits)) {
        return Err(DAMAGED);
    }
    let field = Field { name, offset, bits, layout };
    // An array without length at the end lies behind all others.
    if offset.checked_add(field.length()).is_none_or(|end| end > whole) {
        return Err(DAMAGED);
    }
    Ok(field)
}

fn checked(name: impl AsRef<str> + Into<String>) -> Result<String, &'static str> {
    if name.as_ref().len() <= LONGEST_NAME { Ok(name.into()) } else { Err(DAMAGED) }
}

fn take(budget: &mut usize, fields: usize) -> Result<(), &'static str> {
    *budget = budget.checked_sub(fields).ok_or(TOO_MANY)?;
    Ok(())
}

//! Types of an object (`.BTF`): read, described, and changed to what the kernel takes.
//!
//! The format is that of `include/uapi/linux/btf.h`. Numbers of types and strings stay as they are when a type changes.

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_header`.
const HEADER: u32 = 24;
/// Qualifiers and typedefs that are followed before a type counts as endless.
const DEPTH: u32 = 32;

/// Members of a structure that are named.
const SHOWN_MEMBERS: usize = 8;

/// `BTF_KIND_*`.
pub(super) mod kind {
    pub(in crate::program) const INT: u32 = 1;
    pub(in crate::program) const PTR: u32 = 2;
    pub(in crate::program) const ARRAY: u32 = 3;
    pub(in crate::program) const STRUCT: u32 = 4;
    pub(in crate::program) const UNION: u32 = 5;
    pub(in crate::program) const ENUM: u32 = 6;
    pub(in crate::program) const FWD: u32 = 7;
    pub(in crate::program) const TYPEDEF: u32 = 8;
    pub(in crate::program) const VOLATILE: u32 = 9;
    pub(in crate::program) const CONST: u32 = 10;
    pub(in crate::program) const RESTRICT: u32 = 11;
    pub(in crate::program) const FUNC: u32 = 12;
    pub(in crate::program) const FUNC_PROTO: u32 = 13;
    pub(in crate::program) const VAR: u32 = 14;
    pub(in crate::program) const DATASEC: u32 = 15;
    pub(in crate::program) const FLOAT: u32 = 16;
    pub(in crate::program) const DECL_TAG: u32 = 17;
    pub(in crate::program) const TYPE_TAG: u32 = 18;
    pub(in crate::program) const ENUM64: u32 = 19;
}

/// `BTF_INT_SIGNED`, `BTF_INT_CHAR` and `BTF_INT_BOOL`, in the first byte of an integer's encoding.
const SIGNED: u32 = 1;
const CHARACTER: u32 = 2;
const BOOL: u32 = 4;

/// A type: its head, and everything behind it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) name: u32,
    info: u32,
    /// Bytes, or the type that this one is made of.
    pub(super) size_or_type: u32,
    words: Vec<u32>,
}

/// A member of a structure or an entry of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Type of a member; 0 for an entry.
    pub(super) name: u32,
    pub(super) kind: u32,
    /// In bits for a member, in bytes for an entry.
    pub(super) offset: u32,
}

/// A member of a structure or a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) bit_offset: u32,
    /// 0 if it is no bit field.
    pub(super) bit_width: u32,
}

/// The meaning of a value, as far as a counter is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A number of that many bytes.
    Number(u64),
    /// Another type, as a person writes it.
    Other(String),
}

/// The types of an object, by their number; the first is `void`.
#[derive(Clone, Debug, Default)]
pub(super) struct Btf {
    types: Vec<Type>,
    strings: Vec<u8>,
}

impl Type {
    pub(super) fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// Returns `vlen`: members, parameters or entries; of a function, its linkage.
    fn length(&self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Returns the members of a structure or the entries of a section.
    pub(super) fn parts(&self) -> Vec<Part> {
        let words = self.words.chunks_exact(3);
        match self.kind() {
            kind::STRUCT | kind::UNION => {
                let bits = if self.info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
                words.map(|word| Part { name: word[0], kind: word[1], offset: word[2] & bits }).collect()
            }
            kind::DATASEC => words.map(|word| Part { name: 0, kind: word[0], offset: word[1] }).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the members of a structure or a union.
    pub(super) fn members(&self) -> Vec<Member> {
        if !matches!(self.kind(), kind::STRUCT | kind::UNION) {
            return Vec::new();
        }
        let members = self.words.chunks_exact(3).map(|word| {
            let (bit_offset, bit_width) =
                if self.has_flag() { (word[2] & 0x00ff_ffff, word[2] >> 24) } else { (word[2], 0) };
            Member { name: word[0], kind: word[1], bit_offset, bit_width }
        });
        members.collect()
    }

    /// Returns the names and values of an enumeration.
    pub(super) fn enumerators(&self) -> Vec<(u32, i128)> {
        match self.kind() {
            kind::ENUM => {
                self.words.chunks_exact(2).map(|its| (its[0], self.enumerator(its[1].into(), 32))).collect()
            }
            kind::ENUM64 => {
                let value = |its: &[u32]| self.enumerator(u64::from(its[2]) << 32 | u64::from(its[1]), 64);
                self.words.chunks_exact(3).map(|its| (its[0], value(its))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn enumerator(&self, value: u64, bits: u32) -> i128 {
        if self.has_flag() {
            i128::from((value << (64 - bits)).cast_signed() >> (64 - bits))
        } else {
            value.into()
        }
    }

    /// Returns `kind_flag`: of a structure that it has bit fields, of an enumeration that its values have a sign.
    pub(super) fn has_flag(&self) -> bool {
        self.info >> 31 == 1
    }

    /// Returns type and length of an array.
    pub(super) fn array(&self) -> Option<(u32, u32)> {
        (self.kind() == kind::ARRAY).then(|| (self.words[0], self.words[2]))
    }

    /// Returns the only value of an enumeration that has one.
    fn only_value(&self) -> Option<u64> {
        match (self.kind(), self.words.as_slice()) {
            (kind::ENUM, [_, value]) => Some(u64::from(*value)),
            (kind::ENUM64, [_, low, high]) => Some(u64::from(*high) << 32 | u64::from(*low)),
            _ => None,
        }
    }

    /// Returns whether an integer is a truth value, or has a sign.
    pub(super) fn is_bool(&self) -> bool {
        self.encoding() & BOOL != 0
    }

    pub(super) fn is_signed(&self) -> bool {
        self.encoding() & SIGNED != 0
    }

    /// Returns whether it is an integer that fills its bytes.
    pub(super) fn is_whole_number(&self) -> bool {
        let is_whole = |word: u32| word & 0x00ff_ffff == 8 * self.size_or_type;
        self.kind() == kind::INT
            && matches!(self.size_or_type, 1 | 2 | 4 | 8 | 16)
            && self.words.first().is_some_and(|&word| is_whole(word))
    }

    fn encoding(&self) -> u32 {
        match (self.kind(), self.words.first()) {
            (kind::INT, Some(word)) => word >> 24,
            _ => 0,
        }
    }

    /// Returns a type that says nothing, to stand where one was.
    fn nothing() -> Self {
        Self { name: 0, info: kind::PTR << 24, size_or_type: 0, words: Vec::new() }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Returns how many words stand behind the head of a type.
fn words_behind(kind: u32, length: usize) -> Option<usize> {
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 1,
        kind::ARRAY => 3,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 3 * length,
        kind::ENUM | kind::FUNC_PROTO => 2 * length,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

impl Btf {
    /// Reads a section; none if it is damaged.
    pub(super) fn parse(section: &[u8]) -> Option<Self> {
        if word(section, 0)? & 0xffff != u32::from(MAGIC) {
            return None;
        }
        let part = |offset: usize, length: usize| {
            let start = (word(section, 4)? as usize).checked_add(word(section, offset)? as usize)?;
            section.get(start..start.checked_add(word(section, length)? as usize)?)
        };
        let (records, strings) = (part(8, 12)?, part(16, 20)?.to_vec());
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return None;
        }
        let void = Type { name: 0, info: 0, size_or_type: 0, words: Vec::new() };
        let (mut types, mut at) = (vec![void], 0);
        while at < records.len() {
            let [name, info, size_or_type] =
                [word(records, at)?, word(records, at + 4)?, word(records, at + 8)?];
            let mut one = Type { name, info, size_or_type, words: Vec::new() };
            at += 12;
            for _ in 0..words_behind(one.kind(), one.length())? {
                one.words.push(word(records, at)?);
                at += 4;
            }
            types.push(one);
        }
        let btf = Self { types, strings };
        btf.is_sound().then_some(btf)
    }

    /// Returns whether every name and every type that another one is made of exists.
    fn is_sound(&self) -> bool {
        let name = |name: u32| (name as usize) < self.strings.len();
        let known = |kind: u32| (kind as usize) < self.types.len();
        self.types.iter().all(|one| {
            let refers = match one.kind() {
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::ENUM64
                | kind::FLOAT
                | kind::DATASEC
                | kind::ARRAY
                | kind::FWD => true,
                _ => known(one.size_or_type),
            };
            let behind = match one.kind() {
                kind::ARRAY => known(one.words[0]) && known(one.words[1]),
                kind::STRUCT | kind::UNION => {
                    one.parts().iter().all(|part| name(part.name) && known(part.kind))
                }
                kind::DATASEC => one.parts().iter().all(|part| known(part.kind)),
                kind::ENUM => one.words.chunks_exact(2).all(|value| name(value[0])),
                kind::ENUM64 => one.words.chunks_exact(3).all(|value| name(value[0])),
                kind::FUNC_PROTO => one.words.chunks_exact(2).all(|its| name(its[0]) && known(its[1])),
                _ => true,
            };
            name(one.name) && refers && behind
        })
    }

    /// Returns the bytes of a section with these types.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let head = |one: &Type| [one.name, one.info, one.size_or_type];
        let words = self.types.iter().skip(1).flat_map(|one| head(one).into_iter().chain(one.words.clone()));
        let types: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header =
            [u32::from(MAGIC) | 1 << 16, HEADER, 0, length(&types), length(&types), length(&self.strings)];
        header
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .chain(types)
            .chain(self.strings.iter().copied())
            .collect()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Type> {
        self.types.get(id as usize)
    }

    pub(super) fn string(&self, offset: u32) -> &str {
        let bytes = self.strings.get(offset as usize..).unwrap_or_default();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or_default();
        let string = str::from_utf8(&bytes[..end]).unwrap_or_default();
        // No name has them, and they are shown.
        if string.contains(char::is_control) { "" } else { string }
    }

    /// Adds a string and returns its number.
    pub(super) fn add_string(&mut self, string: &str) -> u32 {
        let offset = u32::try_from(self.strings.len()).unwrap_or_default();
        self.strings.extend(string.bytes().chain([0]));
        offset
    }

    /// Follows typedefs and qualifiers.
    pub(super) fn resolve(&self, id: u32) -> Option<(u32, &Type)> {
        let mut id = id;
        for _ in 0..DEPTH {
            let one = self.get(id)?;
            match one.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = one.size_or_type;
                }
                _ => return Some((id, one)),
            }
        }
        None
    }

    /// Returns the bytes of a type, if it has a size.
    pub(super) fn size(&self, id: u32) -> Option<u64> {
        self.size_within(id, DEPTH)
    }

    fn size_within(&self, id: u32, depth: u32) -> Option<u64> {
        let (_, one) = self.resolve(id)?;
        match one.kind() {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Some(u64::from(one.size_or_type))
            }
            kind::PTR => Some(8),
            kind::ARRAY => {
                let (element, count) = one.array()?;
                self.size_within(element, depth.checked_sub(1)?)?.checked_mul(u64::from(count))
            }
            _ => None,
        }
    }

    /// Returns the number that a field of a map's definition holds: `__uint` is a pointer to an array of that length, `__ulong`
    /// a pointer to an enumeration of that value.
    pub(super) fn constant(&self, id: u32) -> Option<u64> {
        let (_, pointer) = self.resolve(id)?;
        if pointer.kind() != kind::PTR {
            return None;
        }
        let (_, one) = self.resolve(pointer.size_or_type)?;
        one.array().map(|(_, length)| u64::from(length)).or_else(|| one.only_value())
    }

    /// Returns whether a value is a number: an integer, or a structure or array of nothing but one.
    pub(super) fn shape(&self, id: u32) -> Shape {
        self.number(id, DEPTH).map_or_else(|| Shape::Other(self.describe(id)), Shape::Number)
    }

    fn number(&self, id: u32, depth: u32) -> Option<u64> {
        let (_, one) = self.resolve(id)?;
        let inner = |id| self.number(id, depth.checked_sub(1)?);
        match one.kind() {
            kind::INT if !one.is_bool() => Some(u64::from(one.size_or_type)),
            kind::ENUM | kind::ENUM64 => Some(u64::from(one.size_or_type)),
            kind::ARRAY => {
                one.array().filter(|&(_, length)| length == 1).and_then(|(element, _)| inner(element))
            }
            kind::STRUCT | kind::UNION => match one.parts().as_slice() {
                [only] => inner(only.kind).filter(|&bytes| bytes == u64::from(one.size_or_type)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns a type as a person writes it.
    fn describe(&self, id: u32) -> String {
        let Some((_, one)) = self.resolve(id) else { return "an unknown type".to_owned() };
        let named = |kind: &str| format!("{kind} {}", self.string(one.name)).trim_end().to_owned();
        match one.kind() {
            kind::STRUCT | kind::UNION => {
                let kind = named(if one.kind() == kind::STRUCT { "struct" } else { "union" });
                let parts = one.parts();
                let mut members: Vec<&str> =
                    parts.iter().take(SHOWN_MEMBERS).map(|part| self.string(part.name)).collect();
                if parts.len() > SHOWN_MEMBERS {
                    members.push("..");
                }
                format!("{kind} {{{}}}", members.join(", "))
            }
            kind::ARRAY => match one.array() {
                Some((element, length)) => {
                    let (_, element) = self.resolve(element).unwrap_or((0, one));
                    format!("{}[{length}]", self.string(element.name))
                }
                None => "an array".to_owned(),
            },
            kind::INT | kind::FLOAT => self.string(one.name).to_owned(),
            kind::PTR => "a pointer".to_owned(),
            _ => named("a type"),
        }
    }

    /// Returns the name of a type as its source has it: that of the outermost typedef, or of the type.
    pub(super) fn type_name(&self, id: u32) -> String {
        self.name_within(id, DEPTH)
    }

    fn name_within(&self, id: u32, depth: u32) -> String {
        let unknown = || "an unknown type".to_owned();
        let (Some(one), Some(depth)) = (self.get(id), depth.checked_sub(1)) else { return unknown() };
        let name = self.string(one.name);
        let tagged = |tag: &str| if name.is_empty() { tag.to_owned() } else { format!("{tag} {name}") };
        match one.kind() {
            kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                self.name_within(one.size_or_type, depth)
            }
            kind::STRUCT => tagged("struct"),
            kind::UNION => tagged("union"),
            kind::ENUM | kind::ENUM64 => tagged("enum"),
            kind::PTR => "a pointer".to_owned(),
            kind::ARRAY => match one.array() {
                Some((element, length)) => format!("{}[{length}]", self.name_within(element, depth)),
                None => unknown(),
            },
            _ if name.is_empty() => unknown(),
            _ => name.to_owned(),
        }
    }

    /// Returns whether a type is `char`, as far as it is not told apart from a small integer otherwise.
    pub(super) fn is_character(&self, id: u32) -> bool {
        self.resolve(id).is_some_and(|(_, one)| {
            let named = self.string(one.name) == "char" || one.encoding() & CHARACTER != 0;
            one.kind() == kind::INT && one.size_or_type == 1 && named
        })
    }

    /// Returns the number and the entries of a section of variables.
    pub(super) fn data_section(&self, name: &str) -> Option<(u32, Vec<Part>)> {
        let is_it = |(_, one): &(u32, &Type)| one.kind() == kind::DATASEC && self.string(one.name) == name;
        (0..).zip(&self.types).find(is_it).map(|(id, one)| (id, one.parts()))
    }

    /// Changes everything that no kernel takes, and completes what the compiler left open: sizes of sections and places of their
    /// variables, which `lookup` knows by section, and by section and variable. A section that it does not know becomes a type
    /// that says nothing, as do those of extern symbols (`.kconfig`, `.ksyms`): the kernel would reject them.
    pub(super) fn complete(
        &mut self,
        size_of: impl Fn(&str) -> Option<u64>,
        place_of: impl Fn(&str, &str) -> Option<u64>,
    ) {
        for id in 0..self.types.len() {
            let one = &self.types[id];
            let changed = match one.kind() {
                kind::DATASEC => self.completed(one, &size_of, &place_of).unwrap_or_else(Type::nothing),
                // An extern variable or function becomes a global one (`btf_var_check_meta()`, `btf_func_check_meta()` of
                // kernel/bpf/btf.c).
                kind::VAR if one.words[0] > 1 => Type { words: vec![1], ..one.clone() },
                kind::FUNC if one.length() > 1 => Type { info: one.info & !0xffff | 1, ..one.clone() },
                _ => continue,
            };
            self.types[id] = changed;
        }
    }

    fn completed(
        &self,
        section: &Type,
        size_of: &impl Fn(&str) -> Option<u64>,
        place_of: &impl Fn(&str, &str) -> Option<u64>,
    ) -> Option<Type> {
        let name = self.string(section.name);
        let size = u32::try_from(size_of(name)?).ok().filter(|&size| size > 0)?;
        let mut entries = Vec::new();
        for entry in section.words.chunks_exact(3) {
            let variable = self.get(entry[0]).filter(|one| one.kind() == kind::VAR)?;
            let place =
                place_of(name, self.string(variable.name)).map_or(Some(entry[1]), |at| at.try_into().ok());
            entries.push([entry[0], place?, entry[2]]);
        }
        entries.sort_by_key(|entry| entry[1]);
        Some(Type { size_or_type: size, words: entries.concat(), ..section.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRINGS: &[u8] = b"\0u64\0rec\0packets\0bytes\0.bss\0total\0flag\0";

    /// Records of types, and the section that they are in.
    fn section(records: &[&[u32]]) -> Vec<u8> {
        let types: Vec<u8> = records.concat().into_iter().flat_map(u32::to_le_bytes).collect();
        let length = u32::try_from(types.len()).unwrap();
        let header =
            [u32::from(MAGIC) | 1 << 16, 24, 0, length, length, u32::try_from(STRINGS.len()).unwrap()];
        header.into_iter().flat_map(u32::to_le_bytes).chain(types).chain(STRINGS.iter().copied()).collect()
    }

    fn offset(name: &str) -> u32 {
        let needle = format!("\0{name}\0");
        let at = STRINGS.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        u32::try_from(at).unwrap() + 1
    }

    fn int() -> Vec<u32> {
        vec![offset("u64"), kind::INT << 24, 8, 64]
    }

    fn pair() -> Vec<u32> {
        let [packets, bytes] = ["packets", "bytes"].map(offset);
        vec![offset("rec"), kind::STRUCT << 24 | 2, 16, packets, 1, 0, bytes, 1, 64]
    }

    #[test]
    fn types_are_written_as_they_were_read() {
        let bytes = section(&[&int(), &pair()]);
        assert_eq!(Btf::parse(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn an_integer_is_a_number_and_a_structure_of_two_is_named() {
        let only = [offset("rec"), kind::STRUCT << 24 | 1, 8, offset("packets"), 1, 0];
        let typedef = [offset("total"), kind::TYPEDEF << 24, 1];
        let truth = [offset("flag"), kind::INT << 24, 1, BOOL << 24 | 8];
        let btf = Btf::parse(&section(&[&int(), &pair(), &only, &typedef, &truth])).unwrap();
        assert_eq!(btf.shape(1), Shape::Number(8));
        assert_eq!(btf.shape(2), Shape::Other("struct rec {packets, bytes}".to_owned()));
        assert_eq!(btf.shape(3), Shape::Number(8));
        assert_eq!(btf.shape(4), Shape::Number(8));
        assert_eq!(btf.shape(5), Shape::Other("flag".to_owned()));
        assert_eq!(btf.size(2), Some(16));
    }

    #[test]
    fn a_type_that_is_made_of_itself_has_no_size() {
        let endless = [0, kind::TYPEDEF << 24, 1];
        let array = [0, kind::ARRAY << 24, 0, 2, 2, u32::MAX];
        let btf = Btf::parse(&section(&[&endless, &array])).unwrap();
        assert_eq!((btf.size(1), btf.size(2)), (None, None));
        assert_eq!(btf.shape(2), Shape::Other("[4294967295]".to_owned()));
    }

    #[test]
    fn a_damaged_section_is_not_read() {
        let whole = section(&[&int(), &pair()]);
        assert!(Btf::parse(&whole).is_some());
        for (place, byte) in
            [(0, 0), (4, 0xff), (12, 0xff), (16, 0xff), (24 + 3, 0xff), (24 + 7, 31), (24 + 16 + 16, 9)]
        {
            let mut damaged = whole.clone();
            damaged[place] = byte;
            assert!(Btf::parse(&damaged).is_none(), "byte {place}");
        }
        for length in 0..whole.len() {
            assert!(Btf::parse(&whole[..length]).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn sections_are_completed_and_unknown_ones_say_nothing() {
        let variable = [offset("total"), kind::VAR << 24, 1, 2];
        let data = |name| [offset(name), kind::DATASEC << 24 | 1, 0, 2, 0, 8];
        let mut btf = Btf::parse(&section(&[&int(), &variable, &data(".bss"), &data("flag")])).unwrap();
        btf.complete(|name| (name == ".bss").then_some(24), |_, name| (name == "total").then_some(16));
        let (id, parts) = btf.data_section(".bss").unwrap();
        assert_eq!((id, btf.get(3).unwrap().size_or_type), (3, 24));
        assert_eq!(parts, [Part { name: 0, kind: 2, offset: 16 }]);
        assert_eq!(btf.get(4), Some(&Type::nothing()));
        assert_eq!(btf.get(2).unwrap().words, [1]);
    }
}

//! Hints for names that do not exist.

/// Names that a hint lists.
const SHOWN: usize = 20;
/// The longest name that is compared with others, which takes long for long ones.
const LONGEST: usize = 256;

/// Returns a hint for a name that is none of the known ones: the most similar of them, or the list.
pub(super) fn hint<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.into_iter().filter(|known| !known.is_empty()).collect();
    let lowercase = name.to_ascii_lowercase();
    let similar = known.iter().filter(|known| name.len().max(known.len()) <= LONGEST).filter_map(|known| {
        let distance = strsim::damerau_levenshtein(&lowercase, &known.to_ascii_lowercase());
        (distance <= name.len().max(known.len()).div_ceil(3)).then_some((distance, known))
    });
    if let Some((_, nearest)) = similar.min() {
        return format!("did you mean `{nearest}`?");
    }
    let shown = known.iter().take(SHOWN).map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
    match known.len().saturating_sub(SHOWN) {
        _ if known.is_empty() => "there is none".to_owned(),
        0 => format!("there is {shown}"),
        more => format!("there are {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_offered_or_all_are_listed() {
        assert_eq!(hint("pakets", ["bytes", "packets"]), "did you mean `packets`?");
        assert_eq!(hint("PACKETS", ["packets"]), "did you mean `packets`?");
        assert_eq!(hint("zzzzzz", ["bytes", "packets"]), "there is `bytes`, `packets`");
        assert_eq!(hint("x", []), "there is none");
        let many: Vec<String> = (0..25).map(|number| format!("field_{number}")).collect();
        let listed = hint("zzzzzzzzz", many.iter().map(String::as_str));
        assert!(listed.ends_with("`field_19` and 5 more"), "{listed}");
        // The distance of such names takes minutes.
        let long = "x".repeat(1 << 20);
        assert_eq!(hint(&long, [long.as_str()]).len(), long.len() + "there is ``".len());
    }
}

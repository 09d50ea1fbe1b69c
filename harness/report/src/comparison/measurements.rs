//! Measurements of either set, compared where they compare.

use std::collections::{BTreeMap, BTreeSet};

use xdproof_core::{
    measure::compare::{against, is_comparable, pairs},
    model::{Measurement, RunResult, Tolerance},
};

use crate::comparison::{change::MeasurementChange, sides::Places};

pub(super) fn changes(
    sets: [&[RunResult]; 2],
    places: &Places,
    tolerance: Option<Tolerance>,
) -> Vec<MeasurementChange> {
    let [old, new] = sets.map(|results| {
        let mut by_place = BTreeMap::<_, Vec<Measurement>>::new();
        for result in results {
            by_place.entry(places.place(result)).or_default().extend(result.measurements.iter().cloned());
        }
        by_place
    });
    let all: BTreeSet<&Option<String>> = old.keys().chain(new.keys()).collect();
    let none = Vec::new();
    let mut changes = Vec::new();
    for place in all {
        let [old, new] = [&old, &new].map(|by_place| by_place.get(place).unwrap_or(&none));
        changes.extend(pairs(new, old).filter_map(|pair| change(place.as_ref(), pair, tolerance)));
    }
    changes
}

fn change(
    place: Option<&String>,
    pair: (Option<&Measurement>, Option<&Measurement>),
    tolerance: Option<Tolerance>,
) -> Option<MeasurementChange> {
    let (id, change, reason) = match pair {
        (Some(new), None) => (&new.id, None, Some("is new")),
        (None, Some(old)) => (&old.id, None, Some("is in the old set only")),
        // Not measured in either set is no change.
        (Some(new), Some(old)) if new.unmeasured.is_some() && old.unmeasured.is_some() => return None,
        (Some(new), Some(old)) if is_comparable(new, old) => {
            (&new.id, Some(against(new, old, tolerance.unwrap_or(new.tolerance))), None)
        }
        (Some(new), Some(_)) => (&new.id, None, Some("has another reference or another load than before")),
        (None, None) => return None,
    };
    let is_lost = pair.1.is_some() && change.is_none();
    Some(MeasurementChange { id: id.clone(), place: place.cloned(), change, reason, is_lost })
}

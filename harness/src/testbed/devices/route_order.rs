//! The order of routes that lead to the same place with the same right. The kernel takes the first of them, so that a host
//! with two devices in one subnet would send by the other one if their routes came back in another order.
//!
//! Routes of other devices are left alone. IPv6 can only put a route last: one that came before another device's comes behind it
//! when it has been away, which is told, but for those that every link has (`fe80::/64`, `ff00::/8`).

use std::{collections::BTreeMap, time::Duration};

use xdproof_netns::{Error, Host, IfIndex, Record, RecordKind};

use crate::error::chain;
use crate::testbed::devices::restore::{Outcome, PutBack, StoredRecord, read};

/// The groups of rivals of which at least one route goes through one of these links, each in the kernel's order.
pub(super) fn rivals(host: &mut Host, ours: &[IfIndex]) -> Result<Vec<Vec<StoredRecord>>, Error> {
    let groups = grouped(host.records(RecordKind::Route, None)?);
    let contested =
        groups.into_values().filter(|group| group.len() > 1 && group.iter().any(|route| is_of(route, ours)));
    Ok(contested.map(|group| group.iter().map(StoredRecord::of).collect()).collect())
}

fn grouped(routes: Vec<Record>) -> BTreeMap<Vec<u8>, Vec<Record>> {
    let mut groups: BTreeMap<Vec<u8>, Vec<Record>> = BTreeMap::new();
    for route in routes {
        groups.entry(route.competition_key().unwrap_or_default()).or_default().push(route);
    }
    groups
}

fn is_of(route: &Record, links: &[IfIndex]) -> bool {
    links.iter().any(|&index| route.goes_through(index))
}

/// Brings the routes of these links, which are all there, into their former order, and tells what could not be.
pub(super) fn put_in_order(
    host: &mut Host,
    rivals: &[Vec<StoredRecord>],
    ours: &[IfIndex],
    age: Duration,
) -> Vec<PutBack> {
    let mut told = Vec::new();
    for group in rivals {
        let was = read(RecordKind::Route, group);
        match arrange(host, &was, ours, age) {
            Ok(true) => {}
            Ok(false) if was.iter().all(Record::is_on_every_link) => {}
            Ok(false) => {
                let what =
                    was.first().map(|route| format!("order of the routes like {route}")).unwrap_or_default();
                let why = Outcome::Lost("others come first now".to_owned());
                told.push(PutBack { device: "routes".to_owned(), what, outcome: why });
            }
            Err(error) => told.push(not_in_order(&error)),
        }
    }
    told
}

/// What is told when the order cannot be seen to.
pub(super) fn not_in_order(error: &Error) -> PutBack {
    let why = Outcome::Failed(format!("failed to {}", chain(error)));
    PutBack { device: "routes".to_owned(), what: "their order".to_owned(), outcome: why }
}

/// Enters the routes of a group anew if they are out of order; tells whether they are in order now.
fn arrange(host: &mut Host, was: &[Record], ours: &[IfIndex], age: Duration) -> Result<bool, Error> {
    if in_order(host, was)? {
        return Ok(true);
    }
    let mine: Vec<(usize, &Record, IfIndex)> = was
        .iter()
        .enumerate()
        .filter_map(|(place, route)| {
            Some((place, route, *ours.iter().find(|&&index| route.goes_through(index))?))
        })
        .collect();
    // Those that came before everyone else's can be put there again, by IPv4 at least; the others can be put last.
    let first_other = was.iter().position(|route| !is_of(route, ours)).unwrap_or(0);
    let (leading, trailing): (Vec<_>, Vec<_>) =
        mine.into_iter().partition(|(place, ..)| *place < first_other);
    for (_, route, index) in trailing {
        host.remove_record(index, route)?;
        host.add_route(index, route, false, age)?;
    }
    for (_, route, index) in leading.into_iter().rev() {
        host.remove_record(index, route)?;
        host.add_route(index, route, true, age)?;
    }
    in_order(host, was)
}

/// Whether those of the routes that are there stand in this order.
fn in_order(host: &mut Host, was: &[Record]) -> Result<bool, Error> {
    let Some(rivalry) = was.first().and_then(Record::competition_key) else { return Ok(true) };
    let now: Vec<Record> = host
        .records(RecordKind::Route, None)?
        .into_iter()
        .filter(|route| route.competition_key().as_ref() == Some(&rivalry))
        .collect();
    let places = was.iter().filter_map(|route| now.iter().position(|other| is_same(route, other)));
    Ok(places.is_sorted())
}

/// Indices are those of then: none of a device that is here has changed.
fn is_same(route: &Record, other: &Record) -> bool {
    IfIndex::new(u32::MAX).is_some_and(|none| route.is_like(none, other, none))
}

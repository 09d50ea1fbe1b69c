//! Order of competing routes: those with the same destination and the same preference. The kernel takes the first of them, so
//! that a host with two devices in one subnet would send by the other device if their routes were added in another order.
//!
//! Routes of other devices are left alone. IPv6 can only append: a route that preceded one of another device follows it after
//! a restore. This is reported, except for the routes that every link has (`fe80::/64`, `ff00::/8`).

use std::{collections::BTreeMap, time::Duration};

use xdproof_netns::{Error, Host, IfIndex, Record, RecordKind};

use crate::{
    error::chain,
    testbed::devices::{
        snapshot::StoredRecord,
        step::{RestoreOutcome, RestoredItem},
    },
};

/// Reads the groups of competing routes of which at least one goes through one of these links, each in the kernel's order.
pub(super) fn competing_routes(host: &mut Host, ours: &[IfIndex]) -> Result<Vec<Vec<StoredRecord>>, Error> {
    let mut groups: BTreeMap<Vec<u8>, Vec<Record>> = BTreeMap::new();
    for route in host.records(RecordKind::Route, None)? {
        groups.entry(route.competition_key().unwrap_or_default()).or_default().push(route);
    }
    let contested = groups
        .into_values()
        .filter(|group| group.len() > 1 && group.iter().any(|route| link_of(route, ours).is_some()));
    Ok(contested.map(|group| StoredRecord::list(&group)).collect())
}

/// Returns the first of these links that a route goes through.
fn link_of(route: &Record, links: &[IfIndex]) -> Option<IfIndex> {
    links.iter().copied().find(|&index| route.goes_through(index))
}

/// Restores the order of the routes of these links, which all exist, and reports where it could not.
pub(super) fn restore_order(
    host: &mut Host,
    competing: &[Vec<StoredRecord>],
    ours: &[IfIndex],
    age: Duration,
) -> Vec<RestoredItem> {
    let mut items = Vec::new();
    for group in competing {
        let was = StoredRecord::parse(group, RecordKind::Route);
        match arrange(host, &was, ours, age) {
            Ok(true) => {}
            Ok(false) if was.iter().all(Record::is_on_every_link) => {}
            Ok(false) => {
                let what = was.first().map(|route| format!("order of the routes like {route}"));
                let why = "routes of other devices precede them now".to_owned();
                items.push(item(what.unwrap_or_default(), RestoreOutcome::Lost(why)));
            }
            Err(error) => items.push(unordered(&error)),
        }
    }
    items
}

/// Returns the report of an order that could not be restored.
pub(super) fn unordered(error: &Error) -> RestoredItem {
    item("order".to_owned(), RestoreOutcome::Failed(format!("failed to {}", chain(error))))
}

fn item(what: String, outcome: RestoreOutcome) -> RestoredItem {
    RestoredItem { device: "routes".to_owned(), what, outcome }
}

/// Adds the routes of a group again if they are out of order; returns true if they are in order now.
fn arrange(host: &mut Host, was: &[Record], ours: &[IfIndex], age: Duration) -> Result<bool, Error> {
    if in_order(host, was)? {
        return Ok(true);
    }
    let mine =
        was.iter().enumerate().filter_map(|(place, route)| Some((place, route, link_of(route, ours)?)));
    // Routes that preceded those of others can be prepended again, by IPv4 at least; the others can be appended.
    let first_other = was.iter().position(|route| link_of(route, ours).is_none()).unwrap_or(0);
    let (leading, trailing): (Vec<_>, Vec<_>) = mine.partition(|(place, ..)| *place < first_other);
    let trailing = trailing.into_iter().map(|route| (route, false));
    let leading = leading.into_iter().rev().map(|route| (route, true));
    for ((_, route, index), first) in trailing.chain(leading) {
        host.remove_record(index, route)?;
        host.add_route(index, route, first, age)?;
    }
    in_order(host, was)
}

/// Returns true if those of the routes that exist are in this order.
fn in_order(host: &mut Host, was: &[Record]) -> Result<bool, Error> {
    let Some(key) = was.first().and_then(Record::competition_key) else { return Ok(true) };
    let mut now = host.records(RecordKind::Route, None)?;
    now.retain(|route| route.competition_key().as_ref() == Some(&key));
    let places = was.iter().filter_map(|route| now.iter().position(|other| is_same(route, other)));
    Ok(places.is_sorted())
}

/// Compares two routes of the whole host: indices mean the same in both.
fn is_same(route: &Record, other: &Record) -> bool {
    IfIndex::new(u32::MAX).is_some_and(|none| route.is_like(none, other, none))
}

//! Conditions of a run that scenarios and fixtures share: the MTU, and known deviations.

use crate::document::{Context, Node, Table};
use crate::model::{Deviation, INJECTORS, MODES};

/// Smallest MTU of an IPv4 link (RFC 791 section 3.2).
const MIN_MTU: u32 = 68;

/// Reads `mtu` of `[requires]`.
pub(crate) fn read_mtu(table: &mut Table<'_>) -> Option<u32> {
    let mtu = table.take("mtu");
    if mtu.is_some_and(|mtu| mtu < MIN_MTU) {
        table.reject("mtu", format!("must be at least {MIN_MTU}"));
    }
    mtu
}

/// Reads all `[[deviation]]` of a file.
pub(crate) fn read_deviations(table: &mut Table<'_>) -> Vec<Deviation> {
    let context = table.context;
    let nodes = table.node("deviation").map(|node| context.array(node)).unwrap_or_default();
    nodes.iter().filter_map(|node| read_deviation(context, node)).collect()
}

fn read_deviation(context: Context<'_>, node: &Node) -> Option<Deviation> {
    let mut table = context.table("[[deviation]]", node)?;
    let driver: Option<String> = table.take("driver");
    let mode = table.node("mode").and_then(|node| context.choice("mode", MODES, node));
    let kernel = table.take("kernel");
    let injector = table.node("injector").and_then(|node| context.choice("injector", INJECTORS, node));
    let conditions =
        ["driver", "mode", "kernel", "injector"].map(|key| table.node(key)).iter().flatten().count();
    let reason = table.require("reason");
    table.finish();
    if conditions == 0 {
        let problem = node.problem("a deviation without a condition is a wrong expectation");
        context.report(problem.hint("give at least one of driver, mode, kernel and injector"));
    }
    Some(Deviation { driver, mode, kernel, injector, reason: reason? })
}

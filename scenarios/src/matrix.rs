//! Variables that make many frames of one. `[matrix]` gives each variable a list of values; a frame refers to it as
//! `"$name"` and is crafted once for every combination of values of the variables that it refers to.

use std::collections::HashSet;
use std::rc::Rc;

use crate::document::{Bindings, Context, Key, Node, Problem, Value};
use crate::input::{MATRIX_VARIABLES, quoted};

/// Most frames that one `[[frame]]` makes.
const MAX_FRAMES: usize = 65_536;

/// Variables of a scenario, in file order.
#[derive(Debug, Default)]
pub(crate) struct Matrix(Vec<Variable>);

#[derive(Debug)]
struct Variable {
    key: Key,
    values: Vec<Value>,
}

impl Matrix {
    /// Reads `[matrix]`: each value is an inclusive range such as `"0..=255"`, or an array of integers, strings or
    /// lists of layers.
    pub(crate) fn read(context: Context<'_>, node: &Node) -> Self {
        let mut entries = context.entries("[matrix]", node).unwrap_or_default();
        if entries.len() > MATRIX_VARIABLES {
            let number = entries.len();
            let message = format!("the matrix has {number} variables; at most {MATRIX_VARIABLES} are read");
            context.report(node.problem(message));
            entries = &[];
        }
        // A variable with wrong values is known, and makes no frame.
        let variables = entries.iter().map(|(key, node)| Variable {
            key: key.clone(),
            values: context.keep(values(node)).unwrap_or_default(),
        });
        Self(variables.collect())
    }

    /// Returns every combination of values of the variables in some nodes; without variables, one that binds nothing. Too
    /// many are an error at `place`.
    pub(crate) fn bindings<'a>(
        &'a self,
        place: &Node,
        nodes: &[&Node],
    ) -> Result<impl ExactSizeIterator<Item = Bindings<'a>> + use<'a>, Problem> {
        let mut wanted = HashSet::new();
        for node in nodes {
            node.visit_variables(&mut |name| {
                wanted.insert(name);
            });
        }
        let is_wanted = |variable: &&Variable| wanted.contains(variable.key.name.as_str());
        let variables: Vec<&Variable> = self.0.iter().filter(is_wanted).collect();
        let mut count = 1;
        for variable in &variables {
            count *= variable.values.len();
            if count > MAX_FRAMES {
                return Err(place.problem(format!("the matrix makes more than {MAX_FRAMES} frames")));
            }
        }
        let names: Rc<[&str]> = self.0.iter().map(|variable| variable.key.name.as_str()).collect();
        Ok((0..count).map(move |number| {
            // The digits of the number choose the values: those of the last variable change fastest.
            let mut above = count;
            let value = |variable: &&'a Variable| {
                let below = above / variable.values.len();
                let value = &variable.values[number % above / below];
                above = below;
                (variable.key.name.as_str(), value)
            };
            Bindings { names: Rc::clone(&names), values: variables.iter().map(value).collect() }
        }))
    }

    /// Reports the variables that no frame refers to.
    pub(crate) fn report_unused(&self, context: Context<'_>, frames: &[Node]) {
        let mut used = HashSet::new();
        for frame in frames {
            frame.visit_variables(&mut |name| {
                used.insert(name);
            });
        }
        for Variable { key, .. } in
            self.0.iter().filter(|variable| !used.contains(variable.key.name.as_str()))
        {
            let message = format!("no frame refers to {}", quoted(&format!("${}", key.name)));
            context.report(Problem::new(key.span.clone(), message));
        }
    }
}

fn values(node: &Node) -> Result<Vec<Value>, Problem> {
    let values = match &node.value {
        Value::String(range) => range.split_once("..=").and_then(|(first, last)| {
            let (first, last): (i64, i64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            let fits = last
                .checked_sub(first)
                .is_some_and(|steps| usize::try_from(steps).is_ok_and(|it| it < MAX_FRAMES));
            fits.then(|| (first..=last).map(Value::Integer).collect())
        }),
        Value::Array(items) => items
            .iter()
            .map(|item| match &item.value {
                value @ (Value::Integer(_) | Value::String(_)) if item.variable().is_none() => {
                    Some(value.clone())
                }
                // Layers, possibly none, that replace the variable in a frame's list.
                value @ Value::Array(layers) => {
                    let mut variables = 0;
                    item.visit_variables(&mut |_| variables += 1);
                    let tables = layers.iter().all(|layer| matches!(layer.value, Value::Table(_)));
                    (tables && variables == 0).then(|| value.clone())
                }
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .filter(|values| !values.is_empty()),
        _ => None,
    };
    values.ok_or_else(|| {
        node.problem("expected a range like \"0..=255\" or an array of integers, strings or lists of layers")
    })
}

//! Sums over CPUs and differences to an earlier state, number by number.

use super::{Bits, Field, Layout, Shape, mask, number};

/// Combines a number with another one.
type Operation = fn(u128, u128) -> u128;

impl Layout {
    /// Returns the sum of the values of all CPUs, each number in its own width. Parts that are no numbers, such as texts and
    /// addresses, are those of the first CPU where they are not zero.
    #[must_use]
    pub fn sum(&self, per_cpu: &[Vec<u8>]) -> Vec<u8> {
        let mut sum = vec![0; self.size];
        for value in per_cpu.iter().filter(|value| value.len() == self.size) {
            self.combine(&mut sum, value, u128::wrapping_add, |sum, value| {
                if sum.iter().all(|&byte| byte == 0) {
                    sum.copy_from_slice(value);
                }
            });
        }
        sum
    }

    /// Returns by how much each number has grown. Parts that are no numbers are as they are afterwards.
    #[must_use]
    pub fn difference(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        let mut difference = after.to_vec();
        if before.len() == self.size && after.len() == self.size {
            self.combine(&mut difference, before, u128::wrapping_sub, |_, _| {});
        }
        difference
    }

    /// Returns the layout of [differences](Self::difference): its numbers have a sign, because they may fall.
    #[must_use]
    pub fn of_differences(&self) -> Self {
        let signed = |field: &Field| Field { layout: field.layout.of_differences(), ..field.clone() };
        let shape = match &self.shape {
            Shape::Number { .. } => Shape::Number { signed: true },
            Shape::Bytes { .. } if self.is_counted() => Shape::Number { signed: true },
            Shape::Array { element, count } => {
                Shape::Array { element: Box::new(element.of_differences()), count: *count }
            }
            Shape::Record { is_union, fields } => {
                Shape::Record { is_union: *is_union, fields: fields.iter().map(signed).collect() }
            }
            other => other.clone(),
        };
        Self { shape, ..self.clone() }
    }

    /// Returns whether the bytes are one number.
    fn is_counted(&self) -> bool {
        match self.shape {
            Shape::Number { .. } => true,
            Shape::Bytes { .. } => matches!(self.size, 1 | 2 | 4 | 8),
            _ => false,
        }
    }

    fn combine(&self, one: &mut [u8], other: &[u8], operation: Operation, rest: fn(&mut [u8], &[u8])) {
        match &self.shape {
            _ if self.is_counted() => {
                let result = operation(number(one), number(other));
                for (place, byte) in one.iter_mut().zip(result.to_le_bytes()) {
                    *place = byte;
                }
            }
            Shape::Array { element, .. } => {
                let size = element.size.max(1);
                for (one, other) in one.chunks_exact_mut(size).zip(other.chunks_exact(size)) {
                    element.combine(one, other, operation, rest);
                }
            }
            Shape::Record { is_union, fields } => {
                // The first field of a union that is all of it.
                let all = |field: &&Field| !is_union || field.layout.size == self.size;
                let most = if *is_union { 1 } else { fields.len() };
                for field in fields.iter().filter(all).take(most) {
                    let (Some(one), Some(other)) =
                        (field.of_mut(field.offset, one), field.of(field.offset, other))
                    else {
                        continue;
                    };
                    match field.bits {
                        Some(bits) => bits.combine(one, other, operation),
                        None => field.layout.combine(one, other, operation, rest),
                    }
                }
            }
            _ => rest(one, other),
        }
    }
}

impl Bits {
    fn combine(self, one: &mut [u8], other: &[u8], operation: Operation) {
        let result = operation(self.read(one), self.read(other)) & mask(self.width);
        self.write(one, result);
    }
}

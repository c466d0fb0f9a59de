//! What the heap holds: for tests and for people.

use std::sync::atomic::Ordering;

use super::HeapUsage;
use crate::arena::Arena;
use crate::family::Family;
use crate::{member, object};

impl Arena {
    /// Takes stock of the heap, walking all of it: for tests and diagnostics.
    #[must_use]
    pub fn heap_report(&self, family: &Family) -> HeapUsage {
        let heap = &self.header().heap.0;
        // Before the heap is locked: whoever has locked the objects may want it, too.
        let spare = self.spare_pages();
        let _held = heap.lock.acquire(family);
        let end = heap.end.load(Ordering::Relaxed);
        let first_free = heap.first_free.load(Ordering::Relaxed);
        let (mut unit, mut used, mut start_is_head) = (0, 0, first_free == end);
        while unit < end {
            start_is_head |= unit == first_free;
            let run = self.run(unit);
            used += run.owner.map_or(0, |_| run.units);
            unit += run.units.max(1);
        }
        HeapUsage {
            // Pages kept for the next objects are not in use.
            used: used - spare.min(used),
            spanned: end,
            // Somebody may free while we walk, which only lowers `first_free`, to a head.
            whole: unit == end
                && (start_is_head || first_free > heap.first_free.load(Ordering::Relaxed)),
        }
    }

    /// The blocks that are in use, one text each: for people who look for a leak.
    #[must_use]
    pub fn heap_text(&self, family: &Family) -> Vec<String> {
        let heap = &self.header().heap.0;
        let _held = heap.lock.acquire(family);
        let end = heap.end.load(Ordering::Relaxed);
        let (mut unit, mut texts) = (0, Vec::new());
        while unit < end {
            let run = self.run(unit);
            let tag = self.tag(unit).load(Ordering::Relaxed);
            match run.owner {
                Some(member::OBJECTS) if tag == object::PAGE => {
                    texts.push(format!("unit {unit}: a page of objects"));
                }
                Some(member::OBJECTS) => {
                    texts.push(format!("unit {unit}: {} units of object {tag}", run.units))
                }
                Some(slot) => {
                    texts.push(format!(
                        "unit {unit}: {} units of slot {slot}, tag {tag:x}",
                        run.units
                    ));
                }
                None => {}
            }
            unit += run.units.max(1);
        }
        texts
    }

    /// Units in use, and units that the heap spans: see [`heap_report`](Self::heap_report).
    #[must_use]
    pub fn heap_usage(&self, family: &Family) -> (u32, u32) {
        let report = self.heap_report(family);
        (report.used, report.spanned)
    }
}

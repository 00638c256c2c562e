//! Acts that may have no effect: how often each is tried, and in which order.

use std::{collections::BTreeMap, time::Duration};

use crate::{engine::step::Act, stack::left::Left};

/// How often an act may come about in vain. What it should take away then stays, and is named.
const TRIES: u8 = 3;

/// The engine repeats acts that failed after ten seconds.
const AGAIN: Duration = Duration::from_secs(10);

/// What became of acts so far.
#[derive(Default)]
pub(super) struct Tries {
    /// The first one to do, and since when it is.
    head: Option<(String, Duration)>,
    /// Since when there is nothing to do, and something is there all the same.
    nothing_since: Option<Duration>,
    in_vain: BTreeMap<String, u8>,
}

impl Tries {
    fn of(&self, act: &Act) -> u8 {
        self.in_vain.get(&act.show()).copied().unwrap_or(0)
    }

    /// Whether what is left may still disappear without help: the kernel takes the devices of a namespace away some time after its last process.
    pub(super) fn may_still_disappear(&mut self, now: Duration, left: &[Left]) -> bool {
        if left.iter().all(|l| l.theirs) {
            return false;
        }
        now < *self.nothing_since.get_or_insert(now) + AGAIN
    }

    /// These acts, in the order in which they are to be tried: one that is still the first to do after a while does not come about, and goes
    /// behind the others, so that it does not keep them from being tried. After some tries it stays.
    pub(super) fn next_to_try(&mut self, now: Duration, mut acts: Vec<Act>, left: &mut Vec<Left>) -> Vec<Act> {
        acts.sort_by_key(|act| self.of(act));
        if let Some(head) = acts.first().map(Act::show) {
            let since = self.head.take().filter(|(act, _)| *act == head).map_or(now, |(_, since)| since);
            if now >= since + AGAIN {
                *self.in_vain.entry(head).or_default() += 1;
                acts.sort_by_key(|act| self.of(act));
                self.head = acts.first().map(|act| (act.show(), now));
            } else {
                self.head = Some((head, since));
            }
        }
        let (given_up, todo): (Vec<Act>, Vec<Act>) = acts.into_iter().partition(|act| self.of(act) >= TRIES);
        let why = |act: &Act| {
            Left::ours(format!("what `{}` takes away", act.show()), "it is still there after several tries")
        };
        left.extend(given_up.iter().map(why));
        todo
    }
}

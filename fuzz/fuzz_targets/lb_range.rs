//! Any text is answered: a range that is read back as itself, or words that say what to type. Never a panic.

#![no_main]

#[path = "../../src/config"]
mod product {
    #[allow(dead_code, unused_imports)]
    pub mod lb_range;
}

use libfuzzer_sys::fuzz_target;
use product::lb_range::{LbRange, MOST_ADDRESSES};

fuzz_target!(|text: &str| {
    match LbRange::parse_noting(text) {
        Ok((range, notes)) => {
            let shown = range.to_string();
            assert_eq!(shown.parse::<LbRange>().as_ref(), Ok(&range));
            assert!((1..=MOST_ADDRESSES).contains(&range.len()));
            assert!(range.contains(range.first()) && range.contains(range.last()));
            assert_eq!(LbRange::from_intervals(range.intervals().iter().copied()).as_ref(), Some(&range));
            assert!(range.intervals().windows(2).all(|pair| u32::from(pair[0].1) + 1 < u32::from(pair[1].0)));
            // What was noted did overlap, so there were more parts than intervals.
            assert!(notes.len() < text.split(',').count());
            assert_eq!(LbRange::from_metallb(&shown.split(',').collect::<Vec<_>>()).as_ref(), Ok(&range));
            assert_eq!(range.difference(&range), None);
            assert_eq!(range.intersection(&range).as_ref(), Some(&range));
        }
        Err(e) => {
            let message = e.to_string();
            assert!(message.contains(": type ") || message.contains(": remove "), "{message}");
            assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
        }
    }
    let _ = LbRange::from_metallb(&text.split(',').collect::<Vec<_>>());
});

//! Until when each minor gets fixes: one table. MicroK8s follows Kubernetes, and ends with it.

use jiff::civil::{Date, date};

use super::Minor;

/// The day on which Kubernetes ended, or will end, each minor. Sources: data/releases/eol.yaml of kubernetes/website for 1.20 to 1.32,
/// and the page of the release, kubernetes.io/releases/1.NN, for the others.
const ENDS: &[(Minor, Date)] = &[
    (Minor(1, 20), date(2022, 2, 28)),
    (Minor(1, 21), date(2022, 6, 28)),
    (Minor(1, 22), date(2022, 12, 8)),
    (Minor(1, 23), date(2023, 2, 28)),
    (Minor(1, 24), date(2023, 7, 28)),
    (Minor(1, 25), date(2023, 10, 28)),
    (Minor(1, 26), date(2024, 2, 28)),
    (Minor(1, 27), date(2024, 7, 16)),
    (Minor(1, 28), date(2024, 10, 22)),
    (Minor(1, 29), date(2025, 2, 28)),
    (Minor(1, 30), date(2025, 7, 15)),
    (Minor(1, 31), date(2025, 11, 11)),
    (Minor(1, 32), date(2026, 2, 28)),
    (Minor(1, 33), date(2026, 6, 28)),
    (Minor(1, 34), date(2026, 10, 27)),
    (Minor(1, 35), date(2027, 2, 28)),
    (Minor(1, 36), date(2027, 6, 28)),
    (Minor(1, 37), date(2027, 10, 28)),
];

impl Minor {
    /// The last day of its life, where it is known.
    pub fn end(self) -> Option<Date> {
        ENDS.iter().find(|(minor, _)| *minor == self).map(|(_, end)| *end)
    }

    /// The last day of its life, when that is past at a moment (in seconds since 1970).
    pub fn ended(self, now: u64) -> Option<Date> {
        let now = jiff::Timestamp::from_second(i64::try_from(now).ok()?).ok()?;
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        self.end().filter(|end| *end < today)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::NEWEST_KNOWN, *};

    #[test]
    fn every_known_minor_has_its_day_and_they_follow_each_other() {
        for minor in 20..=NEWEST_KNOWN.1 {
            assert!(Minor(1, minor).end().is_some(), "1.{minor}");
        }
        assert!(ENDS.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
    }

    #[test]
    fn a_minor_lives_to_the_end_of_its_last_day() {
        let at = |text: &str| {
            let time: jiff::Timestamp = text.parse().expect("a time");
            u64::try_from(time.as_second()).expect("after 1970")
        };
        assert_eq!(Minor(1, 34).ended(at("2026-10-27T23:59:59Z")), None);
        assert_eq!(Minor(1, 34).ended(at("2026-10-28T00:00:00Z")), Some(date(2026, 10, 27)));
        assert_eq!(Minor(1, 36).ended(at("2026-11-30T12:00:00Z")), None);
        // Nothing is claimed about versions whose end of life is unknown.
        assert_eq!(Minor(1, 40).ended(at("2099-01-01T00:00:00Z")), None);
    }
}

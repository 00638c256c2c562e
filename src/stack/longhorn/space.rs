//! Whether Longhorn takes the claims: its two rules of space, on the file system of its folder. They decide where a replica may lie; a
//! claim that does not fit is bound all the same, and its pod waits for ever.

use crate::config::version::LonghornVersion;

/// Share of a disk that stays free of replicas, in percent.
const RESERVED: u64 = 30;

/// Share of a disk below which nothing more is placed, in percent.
const MINIMAL: u64 = 25;

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Size of the file system.
    pub size: u64,
    /// What is free of it, after the images have come.
    pub free: u64,
}

/// Why a sum of claims does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// More is promised than may be.
    Promised {
        /// What may be promised.
        at_most: u64,
        /// The smallest file system that takes the claims.
        size: u64,
    },
    /// Too little is free.
    Free {
        /// What must be free at least.
        at_least: u64,
    },
}

/// Whether a disk takes claims of this sum.
pub fn fits(version: LonghornVersion, disk: Disk, claims: u64) -> Result<(), Misfit> {
    let usable = 100 - RESERVED;
    let share = usable * version.over_provisioning();
    let at_most = portion(disk.size, share, 10_000);
    if claims > at_most {
        return Err(Misfit::Promised { at_most, size: portion(claims, 10_000, share) });
    }
    let at_least = portion(disk.size, MINIMAL, 100);
    if disk.free > at_least { Ok(()) } else { Err(Misfit::Free { at_least }) }
}

/// A part of a number of bytes, without an overflow.
fn portion(bytes: u64, part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(part) / u128::from(of)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn four_claims_of_five_gib_need_what_the_version_allows() {
        let claims = 20 * GIB;
        for (version, tenths, fits_it) in [
            ("v1.2.3", 142, false),
            ("v1.2.3", 143, true),
            ("v1.11.3", 200, false),
            ("v1.11.3", 285, false),
            ("v1.11.3", 286, true),
        ] {
            let disk = Disk { size: GIB / 10 * tenths, free: GIB / 10 * tenths };
            let found = fits(version.parse().expect("a version"), disk, claims);
            assert_eq!(found.is_ok(), fits_it, "{version} on {tenths} tenths of a GiB: {found:?}");
        }
        let Err(Misfit::Promised { at_most, size }) =
            fits("v1.11.3".parse().expect("a version"), Disk { size: 20 * GIB, free: 20 * GIB }, claims)
        else {
            panic!("20 GiB do not take them");
        };
        // Two of the four fit.
        assert_eq!((at_most / GIB, size * 10 / GIB), (14, 285));
    }

    #[test]
    fn a_quarter_stays_free() {
        let version = "v1.11.3".parse().expect("a version");
        assert!(fits(version, Disk { size: 100 * GIB, free: 25 * GIB + 1 }, 20 * GIB).is_ok());
        assert_eq!(
            fits(version, Disk { size: 100 * GIB, free: 25 * GIB }, 20 * GIB),
            Err(Misfit::Free { at_least: 25 * GIB })
        );
    }
}

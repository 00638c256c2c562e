//! How long the disk takes to have a small write for certain: the datastore waits for it at every change.

use std::time::Duration;

use crate::{
    error::{Result, finding::Finding},
    stack::facts::Facts,
};

/// As many writes, for so long at the most.
const WRITES: u32 = 100;
const WITHIN: Duration = Duration::from_millis(800);

/// etcd asks for less in the 99th percentile ("Hardware recommendations", "Disks"); dqlite syncs as often.
const SLOW: Duration = Duration::from_millis(10);

/// Of fewer writes, which is what a slow disk has time for, the middle counts: one of them may be a hiccup.
const FEW: usize = 10;

pub(crate) fn latency(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let folder = facts.nearest("/var/snap/microk8s/common");
    // A file system that takes no file without a name is not measured; whether MicroK8s can write there is seen when it does.
    let mut taken = facts.host.sync_latency(&folder, WRITES, WITHIN).unwrap_or_default();
    taken.sort();
    let (Some(middle), Some(most)) = (percentile(&taken, 50), percentile(&taken, 99)) else {
        return Ok(vec![Finding::fine("the disk was not measured")]);
    };
    let count = taken.len();
    let worst = if count < FEW { middle } else { most };
    let of_most = if count < FEW { String::new() } else { format!(" and {} in the 99th percentile", millis(most)) };
    let said = format!(
        "a small write below {} is on the disk after {} in the middle{of_most} of {count}",
        folder.display(),
        millis(middle)
    );
    Ok(vec![if worst > SLOW {
        Finding::warned(
            format!(
                "{said}: above {} the datastore of the cluster suffers (`leader election lost`, restarts)",
                millis(SLOW)
            ),
            "give the VM a disk on an SSD, without a cache that waits; end what else writes (`iostat -x 1`)",
        )
    } else {
        Finding::fine(said)
    }])
}

/// Of sorted values; none of none.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_value_that_so_many_do_not_exceed() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 99), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&values, 50), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&values[..20], 99), Some(Duration::from_millis(20)));
        assert_eq!(percentile(&[], 99), None);
    }
}

//! The two eras that everything is tried in, and what a test of both has to know of the difference.

/// An era: what its snap store gives out, and how the product is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// Today's MicroK8s, and no flag but `--lb`.
    Current,
    /// MicroK8s 1.20 and the profile `article`.
    Article,
}

/// Kubernetes 1.35 and later need it, and containers have what their computer has.
fn has_cgroup_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Makes of functions that take an era one test for each era.
macro_rules! in_both_eras {
    ($($test:ident)+) => {
        mod current {
            $(#[test] fn $test() { super::$test(crate::support::Era::Current); })+
        }
        mod era_1_20 {
            $(#[test] fn $test() { super::$test(crate::support::Era::Article); })+
        }
    };
}
pub(crate) use in_both_eras;

impl Era {
    /// As `scripts/sandbox` calls it. Today's is the newest that this computer's control groups let run.
    pub(crate) fn name(self) -> &'static str {
        self.of(if has_cgroup_v2() { "1.36" } else { "current" }, "1.20")
    }

    /// The part of the sandbox that is its snap store.
    pub(super) fn store(self) -> &'static str {
        self.of(if has_cgroup_v2() { "store-1.36" } else { "store" }, "store-1.20")
    }

    /// The track of the snap.
    pub(crate) fn track(self) -> &'static str {
        self.of(if has_cgroup_v2() { "1.36" } else { "1.34" }, "1.20")
    }

    /// What is appended to the name of a machine, so that a test's machines of both eras are two.
    pub(super) fn suffix(self) -> &'static str {
        self.of("", "-120")
    }

    /// Variables that every command of the product gets; flags are stronger. The licence of the article's own image has run out.
    pub(crate) fn variables(self) -> &'static str {
        self.of("", "IRIS_MK8S_PROFILE=article IRIS_MK8S_IRIS_IMAGE=intersystemsdc/iris-community:2026.1-zpm ")
    }

    /// The addon that provides volumes.
    pub(crate) fn storage_addon(self) -> &'static str {
        self.of("hostpath-storage", "storage")
    }

    /// Arguments of kubectl that print the addresses of MetalLB's pools.
    pub(crate) fn pools(self) -> &'static str {
        self.of(
            "get ipaddresspools -A -o jsonpath={.items[*].spec.addresses[*]}",
            "get configmap config -n metallb-system -o jsonpath={.data.config}",
        )
    }

    /// One of two values.
    pub(crate) fn of<T>(self, current: T, article: T) -> T {
        match self {
            Self::Current => current,
            Self::Article => article,
        }
    }
}

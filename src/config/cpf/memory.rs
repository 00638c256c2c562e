//! How much memory an instance takes with this CPF. Defaults and bounds: "Configuration Parameter File Reference", section [config].

use std::fmt;

use super::Cpf;

/// What IRIS takes when the CPF does not say, and its bounds.
const ROUTINES_MIB: (u64, u64) = (80, 1020);
const HEAP_MIB: (u64, u64) = (300, 2047);
const JOURNAL_MIB: u64 = 64;

/// What else an instance takes: 19 MiB of shared memory (2023.1 allocates 495 MB with `globals=32`), and its processes.
const PROCESSES_MIB: u64 = 126;

/// Memory of one instance in MiB, by what takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Buffers for databases; none when IRIS takes a quarter of the host's memory, and that is not known.
    globals: Option<u64>,
    /// They are a quarter of the host's memory.
    of_host: bool,
    routines: u64,
    heap: u64,
    journal: u64,
}

impl Cpf<'_> {
    /// What an instance takes on a host with so much memory.
    pub fn memory(&self, host_mib: Option<u64>) -> Memory {
        let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
        let list = |key| self.setting("config", key).unwrap_or("").split(',').map(number).collect::<Vec<_>>();
        let first = |key| list(key).first().copied().filter(|n| *n > 0);
        // More than any host has is a slip of the finger, and must not run over.
        let sum = |numbers: Vec<u64>| numbers.into_iter().fold(0, u64::saturating_add).min(u64::MAX / 8);
        let given = Some(sum(list("globals"))).filter(|n| *n > 0);
        let globals = given.or(host_mib.map(|have| have / 4));
        let of_globals = |percent: u64, (least, most): (u64, u64)| {
            (globals.unwrap_or(0).saturating_mul(percent) / 100).clamp(least, most)
        };
        let routines = match list("routines") {
            six if six.len() >= 6 => sum(six),
            _ => first("routines").map_or_else(|| of_globals(10, ROUTINES_MIB), |n| n.min(u64::MAX / 8)),
        };
        Memory {
            globals,
            of_host: given.is_none(),
            routines: routines.max(ROUTINES_MIB.0),
            heap: first("gmheap").map_or_else(|| of_globals(3, HEAP_MIB), |kib| kib / 1024),
            journal: first("jrnbufs").unwrap_or(JOURNAL_MIB).min(u64::MAX / 8),
        }
    }
}

impl Memory {
    /// The sum.
    pub fn total(&self) -> u64 {
        let parts = [self.globals.unwrap_or(0), self.routines, self.heap, self.journal, PROCESSES_MIB];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// The sum, and what is in it.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quarter = "a quarter of the host's memory";
        let globals = match self.globals {
            Some(globals) if self.of_host => format!("globals {globals}, which is {quarter}"),
            Some(globals) => format!("globals {globals}"),
            None => format!("without globals, which take {quarter}"),
        };
        let Self { routines, heap, journal, .. } = self;
        write!(
            f,
            "{} MiB ({globals}, routines {routines}, heap {heap}, journal {journal}, its processes {PROCESSES_MIB})",
            self.total()
        )
    }
}

//! `doctor`: what is wrong with this host and its cluster.

use super::{NOTHING_KNOWN, engine_that_looks, looking, need_root, print, print_json, remembered, wanted::supposed};
use crate::{
    cli::{self, Format, Global},
    doctor::{self, Bundle, Known},
    engine::event::Events,
    error::{Error, ExitCode, Result},
    host::Host,
    report::{self, results},
    stack::{self, iris::state as iris},
};

/// What this host cannot see by itself: it reaches its own addresses, whoever else does.
fn from_lan() -> Result<ExitCode> {
    let nothing = || Error::failed(NOTHING_KNOWN.trim()).hint("`iris-mk8s bootstrap` comes first");
    let (_, spec, _) = remembered()?.ok_or_else(nothing)?;
    let host = looking("doctor")?;
    let address = iris::address(&host, &spec.iris)?.ok_or_else(|| {
        Error::failed("the service of IRIS has no address yet").hint("`iris-mk8s doctor` looks for the cause")
    })?;
    report::prompt(
        "run this on another host of the LAN: it prints 200 if that host can reach IRIS. Anything else, after 10 s, means that the network \
         between them does not let the address through.\n",
    );
    print(&format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' --max-time 10 http://{address}:{}/api/monitor/metrics\n",
        stack::iris::names::WEB
    ))
}

pub(super) fn doctor(global: &Global, options: &cli::Doctor) -> Result<ExitCode> {
    need_root()?;
    if options.from_lan {
        return from_lan();
    }
    let host = looking("doctor")?;
    // A journal that cannot be read is one more thing to tell.
    let (remembered, unreadable) = match remembered() {
        Ok(remembered) => (remembered, None),
        Err(e) => (None, Some(e)),
    };
    let spec = match &remembered {
        Some((_, spec, _)) => spec.clone(),
        None => supposed(&host)?,
    };
    let known = remembered.as_ref().map(|(contents, _, stages)| Known {
        ledger: &contents.ledger,
        records: &contents.records,
        stages,
    });
    let mut report = doctor::examine(&host, &spec, known);
    if let Some(e) = unreadable {
        report = report.with_error("journal", &e);
    }
    if let Some(file) = &options.bundle {
        let (events, _) = Events::channel();
        let plan = known.map(|known| engine_that_looks(&host, known.stages, &events).plan());
        let plan = plan.and_then(Result::ok);
        let bundle = Bundle::gather(&host, Some(&spec), &report, plan.as_ref());
        bundle.write(file, host.unix_time())?;
        report::prompt(&format!(
            "{}: {} files, without secrets as far as they are known\n",
            file.display(),
            bundle.files().count()
        ));
    }
    match global.output {
        Format::Text => results(&report.show(global.verbose))?,
        Format::Json => _ = print_json(&report)?,
    }
    Ok(if report.problems > 0 { ExitCode::Differs } else { ExitCode::Done })
}

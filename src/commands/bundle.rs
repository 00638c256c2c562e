//! `bundle create`, `bundle show`, `bundle verify`: everything that a bootstrap fetches, in one file.

use std::{net::Ipv4Addr, path::Path};

use serde_json::json;

use super::{in_run, looking, print, print_json, run::Run};
use crate::{
    bundle::{self, Bundle, Logins, Manifest, Recipe, platform},
    cli::{self, Format, Global},
    config::{
        flags::{ChannelArg, Lb, SpecFlags},
        profile,
        spec::{Mirror, Spec},
        version::Channel,
    },
    engine::event::{Event, Outcome},
    error::{Error, ExitCode, Result},
    host::{Host, Progress},
    report::{self, results},
};

pub(super) fn bundle(global: &Global, what: cli::Bundle) -> Result<ExitCode> {
    match what {
        cli::Bundle::Create(options) => create(global, &options),
        cli::Bundle::Show { file } => show(global, &file),
        cli::Bundle::Verify { file } => verify(global, &file),
    }
}

/// What a bootstrap of the target would want. Its addresses and its user are known there alone.
fn wanted(flags: &SpecFlags) -> Result<Spec> {
    let mut input = profile::Input::of_process(flags)?;
    input.flags.lb = Some(Lb::Auto);
    let mut settings = profile::Settings::gather(&input)?;
    if *settings.channel()? == ChannelArg::Auto {
        let cgroup_v2 = looking("bundle")?.exists(Path::new("/sys/fs/cgroup/cgroup.controllers"));
        let (channel, _) = Channel::for_host(cgroup_v2);
        report::prompt(&format!(
            "channel auto: {channel}, the newest one known to work on a host like this; name another one with --channel\n"
        ));
        settings.choose(channel, &input)?;
    }
    settings.give(Ipv4Addr::UNSPECIFIED.into());
    settings.wanted(&input)
}

fn create(global: &Global, options: &cli::BundleCreate) -> Result<ExitCode> {
    let spec = wanted(&options.spec)?;
    if crate::image::Name::in_registry(&spec.iris.image).is_some() {
        return Err(Error::usage(format!("the image {} is in the built-in registry of one host", spec.iris.image))
            .hint("name the image by the registry that it came from, with --image"));
    }
    let given = options.mirror.iter().map(|(registry, url)| Mirror {
        registry: registry.clone(),
        url: url.clone(),
        ca: None,
        login: None,
    });
    let mirrors = spec.registries.mirrors.iter().cloned().chain(given).collect();
    let named = options.spec.profile.as_deref().map(Path::new);
    let program = std::env::current_exe().map_err(|e| Error::failed("this program cannot be found").because(e))?;
    let recipe = Recipe {
        mirrors,
        logins: Logins::of_person(),
        program,
        profile: named.filter(|name| name.is_file()).map(Path::to_owned),
        output: options.file.clone(),
        spec,
    };
    let mut made = None;
    let code = in_run(global, "bundle-create", vec!["bundle".to_owned()], |run, outcome| {
        let manifest = bundle::create(&run.host, &recipe, &mut |what, progress| tell(run, what, progress.as_ref()))?;
        finish(outcome, &manifest);
        made = Some(manifest);
        Ok(())
    })?;
    if let (Some(manifest), Format::Text) = (made, global.output) {
        results(&described(&recipe.output, &manifest))?;
        report::prompt("to use it: sudo iris-mk8s bootstrap --bundle FILE --lb RANGE, with the same wishes\n");
    }
    Ok(code)
}

fn finish(outcome: &mut Outcome, manifest: &Manifest) {
    outcome.created = 1;
    outcome.result = Some(json!({
        "channel": manifest.channel, "platform": manifest.platform, "length": manifest.length,
        "images": manifest.images.len(),
    }));
}

/// The step of a run that only makes a file.
const STEP: &str = "bundle.create";

fn tell(run: &Run, what: &str, progress: Option<&Progress>) -> Result<()> {
    if run.host.stopping() {
        return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
    }
    let (step, what) = (STEP.to_owned(), what.to_owned());
    run.events.send(match progress {
        Some(&Progress { done, total, unit }) => Event::StepProgress { step, done, total, unit: unit.to_owned(), what },
        None => Event::StepWaiting { step, title: "the bundle".to_owned(), why: what },
    });
    Ok(())
}

fn show(global: &Global, file: &Path) -> Result<ExitCode> {
    let bundle = Bundle::open(file)?;
    match global.output {
        Format::Json => print_json(&bundle.manifest),
        Format::Text => print(&described(file, &bundle.manifest)),
    }
}

/// What is in it, for people.
fn described(file: &Path, manifest: &Manifest) -> String {
    let size = |digest: &str| manifest.parts.get(digest).map_or(0, |part| part.size);
    let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes & 0xF_FFFF) * 10) >> 20);
    let mut text = format!(
        "{}: {}, format {}, made by {} at {}\nfor     MicroK8s {} on {}\n",
        file.display(),
        mib(manifest.length),
        manifest.format,
        manifest.tool,
        manifest.created,
        manifest.channel,
        manifest.platform
    );
    for snap in &manifest.snaps {
        text +=
            &format!("snap    {} {}, revision {}, {}\n", snap.name, snap.version, snap.revision, mib(size(&snap.file)));
    }
    for image in &manifest.images {
        let bytes = image.blobs.iter().map(|digest| size(digest)).sum();
        text += &format!("image   {} {}, {}\n", image.name, image.digest, mib(bytes));
    }
    if let Some(longhorn) = &manifest.longhorn {
        text += &format!("manifest of Longhorn {} {}\n", longhorn.version, longhorn.manifest);
        for package in longhorn.debian.iter().flat_map(|debian| &debian.packages) {
            let release = longhorn.debian.as_ref().map_or("", |debian| debian.release.as_str());
            text += &format!("package {} for {release}\n", package.file_name);
        }
    }
    for (what, digest) in [("program", &manifest.program), ("profile", &manifest.profile)] {
        if let Some(digest) = digest {
            text += &format!("{what} blobs/{}\n", digest.replace(':', "/"));
        }
    }
    text
}

fn verify(global: &Global, file: &Path) -> Result<ExitCode> {
    // A signal ends it as it ends every command that only looks.
    let host = looking("bundle")?;
    let bundle = Bundle::open(file)?;
    bundle.verify(&mut |_| {
        if host.stopping() { Err(Error::new(ExitCode::Interrupted, "interrupted")) } else { Ok(()) }
    })?;
    let (parts, channel) = (bundle.manifest.parts.len(), &bundle.manifest.channel);
    match global.output {
        Format::Json => print_json(&json!({"file": file, "good": true, "parts": parts})),
        Format::Text => {
            let other = if bundle.manifest.platform == platform() { "" } else { "; this host has another platform" };
            let platform = &bundle.manifest.platform;
            print(&format!(
                "{} is a good bundle: {parts} parts, MicroK8s {channel} on {platform}{other}\n",
                file.display()
            ))
        }
    }
}

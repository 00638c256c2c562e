//! `image push`, `image list`, `image remove`: images of the user's in MicroK8s' built-in registry.

use std::path::Path;

use serde_json::json;

use super::{ask, in_run, looking, need_root, print, print_json, stage_names};
use crate::{
    cli::{self, Format, Global},
    config::place::Place,
    engine::{Engine, event::Outcome, journal::Journal},
    error::{Error, ExitCode, Result, one_line},
    host::Host,
    image::{
        Name, Push,
        archive::Archive,
        registry::{self, Listed},
    },
    report::{self, results},
    stack::{self, data::Agreed, registry as steps},
};

mod saved;

use super::run::Run;

pub(super) fn image(global: &Global, what: cli::Image) -> Result<ExitCode> {
    need_root()?;
    match what {
        cli::Image::Push(options) => push(global, &options),
        cli::Image::List => list(global),
        cli::Image::Remove { image, yes } => remove(global, &image, yes),
    }
}

fn push(global: &Global, options: &cli::ImagePush) -> Result<ExitCode> {
    // What can be wrong in the command line is told before anything is read.
    let name = options.name.as_deref().map(Name::given).transpose()?;
    steps::need(&looking("image")?)?;
    let mut pushed = None;
    let code = in_run(global, "image-push", vec!["push".to_owned()], |run, outcome| {
        let source = saved::source(run, &options.source)?;
        let archive = Archive::open(source.path())?;
        let meant = options.image.as_deref().or(source.image());
        let push = chosen(&archive, meant, name, &options.source)?;
        let (name, digest, size) = (push.name.clone(), push.content.digest.clone(), push.content.size());
        send(run, push, outcome)?;
        outcome.result = Some(json!({"image": name.to_string(), "digest": digest, "size": size}));
        pushed = Some((name, digest));
        Ok(())
    })?;
    if let (Some((name, digest)), Format::Text) = (pushed, global.output) {
        results(&format!("{name}\n{digest}\n"))?;
        report::prompt(&format!("to run it: sudo iris-mk8s bootstrap --image {name}\n"));
    }
    Ok(code)
}

/// The image that is pushed, and its name in the registry.
fn chosen(archive: &Archive, meant: Option<&str>, name: Option<Name>, source: &Path) -> Result<Push> {
    let (found, content) = archive.image(meant)?;
    let name = match (name, found) {
        (Some(name), _) => name,
        (None, Some(found)) => Name::of(&found)?,
        (None, None) => {
            return Err(Error::usage(format!("the image in {} has no name", source.display()))
                .hint("give it one: iris-mk8s image push FILE --as NAME:TAG"));
        }
    };
    Ok(Push { name, content })
}

/// Under the lock: no other run may work beside it.
fn send(run: &Run, push: Push, outcome: &mut Outcome) -> Result<()> {
    let stages = steps::push(push);
    let journal = Journal::open(&Place::default(), stack::origin)?;
    let engine =
        Engine { host: &run.host, stages: &stages, events: &run.events, workers: 1, agreed: Agreed::nothing() };
    let (done, ended) = engine.switch(&journal, &run.name, "image-push");
    *outcome = done;
    ended
}

fn list(global: &Global) -> Result<ExitCode> {
    let host = looking("image")?;
    steps::need(&host)?;
    let images = registry::list(&host)?;
    match global.output {
        Format::Json => print_json(&images),
        Format::Text if images.is_empty() => {
            report::prompt("the built-in registry holds no image; push one with `sudo iris-mk8s image push`\n");
            Ok(ExitCode::Done)
        }
        Format::Text => print(&table(&images)),
    }
}

/// The images in columns.
fn table(images: &[Listed]) -> String {
    let size = |image: &Listed| {
        image.size.map_or("-".to_owned(), |size| format!("{}.{} MiB", size >> 20, ((size & 0xF_FFFF) * 10) >> 20))
    };
    let rows: Vec<[String; 4]> = std::iter::once(["NAME", "TAG", "DIGEST", "SIZE"].map(str::to_owned))
        .chain(images.iter().map(|i| [i.name.repository.clone(), i.name.tag.clone(), i.stored.clone(), size(i)]))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (name, tag, digest) = (width(0), width(1), width(2));
    rows.iter().map(|[a, b, c, d]| format!("{a:<name$}  {b:<tag$}  {c:<digest$}  {d}\n")).collect()
}

/// How a registry gives back the room of what was removed: it does not by itself.
const ROOM: &str = "its layers take room in the registry until that is tidied up, while nobody pushes:\n  microk8s kubectl --namespace \
                    container-registry exec deployment/registry -- registry garbage-collect /etc/docker/registry/config.yml\n";

fn remove(global: &Global, image: &str, yes: bool) -> Result<ExitCode> {
    let name = Name::given(image)?;
    let host = looking("image")?;
    steps::need(&host)?;
    let stored = registry::stored(&host, &name)?.ok_or_else(|| {
        Error::usage(format!("the built-in registry holds no image {}", name.short()))
            .hint("`sudo iris-mk8s image list` shows what it holds")
    })?;
    let others = registry::others_of(&host, &name, &stored.digest)?;
    if !yes {
        let question = question(&host, &name, &stored.digest, &others);
        ask(&format!("{question}Type `yes` to go on: ")).map_err(|why| {
            Error::usage(format!("{why}: the image would be removed")).because(&question).hint("pass --yes")
        })?;
    }
    drop(host);
    let stages = steps::remove(&name, &stored.digest);
    let code = in_run(global, "image-remove", stage_names(&stages), |run, outcome| {
        // Under the lock: nobody pushes or bootstraps meanwhile.
        let journal = Journal::open(&Place::default(), stack::origin)?;
        let engine =
            Engine { host: &run.host, stages: &stages, events: &run.events, workers: 1, agreed: Agreed::nothing() };
        let ended = engine.repair(outcome);
        outcome.result = Some(json!({"image": name.to_string(), "digest": stored.digest, "other_tags": others}));
        if journal.ledger().is_empty() && journal.ledger().spec.is_none() {
            journal.discard()?;
        }
        ended
    })?;
    if code == ExitCode::Done && global.output == Format::Text {
        report::prompt(ROOM);
    }
    Ok(code)
}

/// What goes, and who misses it.
fn question(host: &dyn Host, name: &Name, digest: &str, others: &[String]) -> String {
    let mut text = format!("this image will be removed from the built-in registry:\n  {name} ({digest})\n");
    if !others.is_empty() {
        text.push_str(&format!(
            "with it go the other tags of the same image: {}\n",
            others.iter().map(|tag| format!("{}:{tag}", name.repository)).collect::<Vec<_>>().join(", ")
        ));
    }
    text.push_str(&match steps::users_of(host, name, digest) {
        Ok(users) if users.is_empty() => String::new(),
        Ok(users) => {
            format!("{} run it, and cannot be made anew on a node that does not have it any more\n", users.join(", "))
        }
        Err(e) => format!(
            "it cannot be told which pods run it, since the cluster cannot be asked ({}); those that do cannot be made anew on a node \
             that does not have it any more\n",
            one_line(&e)
        ),
    });
    text
}

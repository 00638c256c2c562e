//! The command line as types: the doc comments are the help, and nothing here decides anything.
//!
//! Values that have a type of their own are parsed into it here, so that a wrong one ends with exit code 2 before anything runs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};

use crate::{
    config::flags::SpecFlags,
    error::{self, Error, Result},
};

/// Takes an Ubuntu host to InterSystems IRIS Community Edition on MicroK8s, in one command, and back
///
/// Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 defect of this program, 2 usage, 10 host or range
/// not fit, 11 not root, 12 another run is active, 20 a command failed (or the output could not be written), 21 timed out, 22 expected state not reached, 23 not ours,
/// 30 differs (status, plan --check) or has a problem (doctor), 40 journal unreadable, 41 residue after a reset, 130 interrupted
/// (run the same command again: it resumes).
#[derive(Debug, Parser)]
#[command(name = "iris-mk8s", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// How to report: `text` for people, `json` for programs (JSON Lines on stdout)
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
    /// Report only warnings, failures and the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Report also what the commands print
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// How to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: a live view on a terminal, plain lines otherwise
    #[default]
    Text,
    /// JSON Lines on stdout: the first record carries the format's version, the last one the outcome
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the host match the spec
    ///
    /// A second run changes nothing. If a run is interrupted, run the same command again: it resumes. Nothing is rolled back on a failure: what works
    /// stays, and the failed step is named with what to do.
    Bootstrap(Bootstrap),
    /// Show what bootstrap would run, write and apply; changes nothing
    Plan(Plan),
    /// Compare the host with the spec of the last bootstrap; exit code 30 when it differs
    Status,
    /// Start MicroK8s and IRIS, and wait until the database answers
    Start,
    /// Stop IRIS, and then MicroK8s; the data stays
    ///
    /// IRIS is shut down before the cluster, so that its next start needs no recovery. MicroK8s stays stopped, after a
    /// reboot too, until `start`.
    Stop,
    /// Open a terminal of IRIS
    Session {
        /// The pod [default: the first one]
        pod: Option<String>,
    },
    /// Look for what is wrong with this host and its cluster; exit code 30 when there is a problem
    ///
    /// Each finding comes with what to do next, the likely cause first. Nothing is changed.
    Doctor(Doctor),
    /// Take back what bootstrap did, and nothing else
    ///
    /// Without options, IRIS is removed. Its data (the volume claims) and the cluster stay; the next bootstrap uses the data again.
    Teardown(Teardown),
    /// Show the portals of the instances and Longhorn's page on ports of this host, until Ctrl-C
    ///
    /// They are bound to this host alone unless --address says otherwise.
    Forward(Forward),
    /// Put everything that a bootstrap fetches into one file, for hosts without a network
    #[command(subcommand)]
    Bundle(Bundle),
    /// Push your own images into the built-in registry, list them and remove them
    #[command(subcommand)]
    Image(Image),
    /// Repair what was broken by hand
    #[command(subcommand)]
    Repair(Repair),
    /// List, show and check profiles
    #[command(subcommand)]
    Profile(Profile),
    /// Show the record of what this tool did on this host
    #[command(subcommand)]
    Journal(Journal),
    /// Print the completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (`iris-mk8s man | man -l -`)
    Man {
        /// The command to print the page of [default: the page of iris-mk8s]
        command: Option<String>,
        /// Write the pages of iris-mk8s and of all its commands into this folder instead
        #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
        dir: Option<PathBuf>,
    },
}

/// Options of `bootstrap`.
#[derive(Args, Debug)]
pub struct Bootstrap {
    /// Stop after this stage (and all that it needs)
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Show what would be done and change nothing (the same as `plan`)
    #[arg(long)]
    pub dry_run: bool,
    /// Take everything from this file (see `bundle create`), and nothing from the network
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// At the end, show where the time went: stages and steps, what each waited for, and the critical path
    #[arg(long, conflicts_with = "dry_run")]
    pub timings: bool,
    /// At the end, write the same into a file that Perfetto and Chrome open (trace-event JSON)
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub trace: Option<PathBuf>,
    /// Do not ask: take the addresses that `--lb auto` finds, and with --data delete the volumes (needed where there is no terminal)
    #[arg(long)]
    pub yes: bool,
    /// Delete volumes of another StorageClass than the wanted one, with their data, and make them anew; without it a change of
    /// the class is refused
    #[arg(long)]
    pub data: bool,
    /// The wanted state.
    #[command(flatten)]
    pub spec: SpecFlags,
}

/// Options of `plan`.
#[derive(Args, Debug)]
pub struct Plan {
    /// End with exit code 30 when bootstrap would change something
    #[arg(long)]
    pub check: bool,
    /// As of `bootstrap`: everything is taken from this file
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// As of `bootstrap`: volumes of another StorageClass are deleted with their data
    #[arg(long)]
    pub data: bool,
    /// The wanted state.
    #[command(flatten)]
    pub spec: SpecFlags,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Also pack everything that helps somebody else to see what is wrong into this tar, without secrets
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Only print the command that shows on another host of the LAN whether IRIS can be reached from there
    #[arg(long, conflicts_with = "bundle")]
    pub from_lan: bool,
}

/// Options of `teardown`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Teardown {
    /// Also delete the data, after naming the volume claims and asking
    #[arg(long)]
    pub data: bool,
    /// Also remove everything else that iris-mk8s made, including the data and the snap
    #[arg(long)]
    pub reset: bool,
    /// Do not ask before data is deleted (needed where there is no terminal)
    #[arg(long)]
    pub yes: bool,
    /// Continue with --reset although the cluster does not tell what data is in it: everything in it is lost. For a MicroK8s that
    /// cannot be started any more
    #[arg(long, requires = "reset")]
    pub without_looking: bool,
    /// Show what would be taken back and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `forward`.
#[derive(Args, Debug)]
pub struct Forward {
    /// Address of this host to listen at; others than 127.0.0.1 can be reached from the network, and Longhorn's page asks for no password
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub address: std::net::IpAddr,
}

/// What to do with bundles.
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Fetch what a bootstrap needs (snaps, images, Longhorn) and put it into one file; needs a network, and neither root nor a cluster
    ///
    /// `bootstrap --bundle FILE` with the same wishes uses it. What was fetched is kept in the folder FILE.parts until the file is whole: after an
    /// interruption the same command goes on. Private registries are asked with the logins of `docker login` or `podman login`.
    Create(Box<BundleCreate>),
    /// Show what is in a bundle: channel, platform, snaps, images with their digests
    Show {
        /// The bundle
        file: PathBuf,
    },
    /// Compare all of a bundle with its digests; exit code 2 when it is damaged, cut off or no bundle
    Verify {
        /// The bundle
        file: PathBuf,
    },
}

/// Options of `bundle create`.
#[derive(Args, Debug)]
pub struct BundleCreate {
    /// The bundle to be written
    pub file: PathBuf,
    /// Who answers for a registry while the bundle is made, besides `registries.mirrors` (repeatable): docker.io=https://mirror.example
    #[arg(long, value_name = "REGISTRY=URL", value_parser = mirror)]
    pub mirror: Vec<(String, String)>,
    /// The wanted state.
    #[command(flatten)]
    pub spec: SpecFlags,
}

/// `REGISTRY=URL`
fn mirror(text: &str) -> Result<(String, String), String> {
    let (registry, url) = text.split_once('=').ok_or("write it as REGISTRY=URL")?;
    if registry.is_empty() || !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err("write it as REGISTRY=URL, with https:// or http://".to_owned());
    }
    Ok((registry.to_owned(), url.to_owned()))
}

/// What to do with images of the built-in registry.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Push an image into the built-in registry; no Docker is needed
    ///
    /// Prints the name to use in Kubernetes and the digest. What the registry has is not sent again: after an interruption, the same command resumes.
    Push(ImagePush),
    /// List the images of the built-in registry: names, tags, digests, sizes
    List,
    /// Remove an image from the built-in registry, with all tags that lead to the same digest
    ///
    /// Its layers take room until the registry is tidied up, while nobody pushes: microk8s kubectl --namespace container-registry exec
    /// deployment/registry -- registry garbage-collect /etc/docker/registry/config.yml
    Remove {
        /// The image
        #[arg(value_name = "NAME:TAG", value_parser = NonEmptyStringValueParser::new())]
        image: String,
        /// Do not ask (needed where there is no terminal)
        #[arg(long)]
        yes: bool,
    },
}

/// Options of `image push`.
#[derive(Args, Debug)]
pub struct ImagePush {
    /// An OCI layout (folder or tar), a tar of `docker save` or `podman save`, or the name of an image of a local Docker or Podman
    #[arg(value_name = "FILE|NAME[:TAG]")]
    pub source: PathBuf,
    /// Which image of the archive, where it holds several
    #[arg(value_name = "NAME:TAG", value_parser = NonEmptyStringValueParser::new())]
    pub image: Option<String>,
    /// Its name in the registry [default: its own name without the registry that it came from]
    #[arg(long = "as", value_name = "NAME[:TAG]", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
}

/// What to mend.
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// Clean up after Longhorn was deleted in the wrong order: a stuck namespace, kinds and webhooks
    ///
    /// Shows what is wrong and what will be done, and asks. All data of Longhorn is lost. A Longhorn that works is refused.
    Longhorn(RepairOptions),
}

/// Options of `repair`.
#[derive(Args, Debug)]
pub struct RepairOptions {
    /// Do not ask (needed where there is no terminal)
    #[arg(long)]
    pub yes: bool,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum Profile {
    /// List the built-in profiles
    List,
    /// Print every key with its value and where the value comes from
    Show(Box<SpecFlags>),
    /// Check a profile or a CPF merge (FILE.cpf); exit code 2 when something in it is wrong
    Check {
        /// The profile, or the CPF
        file: PathBuf,
    },
}

/// What to do with the journal.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Print what was done on this host, oldest first
    Show,
}

/// What the command line offers and other rooms know: it is named in the help, and anything else is refused.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The stages, for `--until`.
    pub stages: Vec<&'static str>,
    /// The checks, for `--skip-check`.
    pub checks: Vec<&'static str>,
}

/// The command line with what it offers.
pub fn command(offered: &Offered) -> clap::Command {
    let skip = |command: clap::Command| {
        let checks = PossibleValuesParser::new(offered.checks.clone());
        command.mut_arg("skip_check", |arg| arg.value_parser(checks).hide_possible_values(true))
    };
    Cli::command()
        .mut_subcommand("bootstrap", |bootstrap| {
            skip(bootstrap).mut_arg("until", |arg| {
                let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{about}: {}", offered.stages.join(", ")))
            })
        })
        .mut_subcommand("plan", skip)
        .mut_subcommand("bundle", |bundle| bundle.mut_subcommand("create", skip))
        .mut_subcommand("profile", |profile| profile.mut_subcommand("show", skip))
}

/// Reads a command line, which begins with the program's name.
///
/// # Errors
/// It is wrong, or asks for help or the version.
pub fn parse(words: impl IntoIterator<Item = OsString>, offered: &Offered) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command(offered).try_get_matches_from(words)?)
}

/// The completion script for a shell.
pub fn completions(shell: clap_complete::Shell, offered: &Offered) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(offered), "iris-mk8s", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of the program or of one of its commands, as roff.
///
/// # Errors
/// When there is no such command.
pub fn man(page: Option<&str>, offered: &Offered) -> Result<String> {
    let mut cli = command(offered);
    cli.build();
    let page = match page {
        None => cli,
        Some(name) => {
            let known = || cli.get_subcommands().map(clap::Command::get_name).collect::<Vec<_>>().join(", ");
            let found = cli.find_subcommand(name).cloned();
            // A page is found by its name, and `man iris-mk8s-plan` is the customary one.
            let named = |page: clap::Command| page.name(format!("iris-mk8s-{name}"));
            found
                .map(named)
                .ok_or_else(|| Error::usage(format!("no command `{name}`")).hint(format!("one of {}", known())))?
        }
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut roff)
        .map_err(|e| Error::new(error::ExitCode::Bug, "the manual page cannot be rendered").caused_by(e))?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

/// Writes the manual pages of the program and of all its commands into a folder, one file each.
///
/// # Errors
/// When a file cannot be written.
pub fn man_pages(folder: &Path, offered: &Offered) -> Result<()> {
    clap_mangen::generate_to(command(offered), folder)
        .map_err(|e| Error::usage(format!("the manual pages cannot be written to {}", folder.display())).caused_by(e))
}

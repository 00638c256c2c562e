//! The wanted state of a run: from the command line, the environment and the profile, with what `auto` stands for.

use super::{looking, proposal, question::ask};
use crate::{
    bundle::Bundle,
    config::{
        credentials::Credentials,
        flags::{ChannelArg, Lb, SpecFlags},
        lb_range::LbRange,
        place::Place,
        profile,
        spec::Spec,
        version::Channel,
    },
    engine::journal::Contents,
    error::{Error, Result},
    host::Real,
    report, stack,
};

/// The channel that suits the host, where an earlier bootstrap may have wanted one.
fn suitable_channel(before: Option<&Spec>) -> Result<Channel> {
    let (channel, why) = proposal::channel(&looking("proposal")?, before.map(|spec| &spec.channel))?;
    report::prompt(&format!("channel auto: {channel}, {why}\n"));
    Ok(channel)
}

/// The addresses that `--lb auto` finds, once that is agreed to.
fn free_addresses(before: Option<Spec>, channel: &Channel, size: Option<u32>, agreed: bool) -> Result<LbRange> {
    let before = before.map(|spec| spec.lb);
    let host = looking("proposal")?;
    let (range, why) = proposal::find(&host, before.as_ref(), channel, size.unwrap_or(proposal::SIZE))?;
    let found = format!("--lb auto: {range}, {why}");
    if agreed || before.is_some() {
        report::prompt(&format!("{found}\n"));
    } else {
        ask(&format!("{found}\nType `yes` to go on with them: "))
            .map_err(|why| Error::usage(why.to_string()).because(found).hint(format!("pass --yes, or --lb {range}")))?;
    }
    Ok(range)
}

/// The wanted state and the password that goes with it. Addresses that `--lb auto` finds are taken when that is agreed to.
pub(super) fn wanted(
    flags: &SpecFlags,
    agreed: bool,
    data_goes: bool,
    bundle: Option<&Bundle>,
) -> Result<(Spec, Credentials)> {
    let input = profile::Input { data_goes, ..profile::Input::of_process(flags)? };
    let mut settings = profile::Settings::gather(&input)?;
    settings.named()?;
    let known = || Contents::read(&Place::default(), stack::origin).map(|contents| contents.ledger.spec);
    if *settings.channel()? == ChannelArg::Auto {
        let channel = match bundle {
            Some(bundle) => bundle.manifest.channel.clone(),
            None => suitable_channel(known()?.as_ref())?,
        };
        settings.choose(channel, &input)?;
    }
    if *settings.lb()? == Lb::Auto {
        settings.give(free_addresses(known()?, &settings.chosen_channel()?, flags.lb_size, agreed)?);
    }
    let spec = settings.wanted(&input)?;
    if spec.user == "root" && settings.get("user").is_some_and(|user| user.origin == profile::Origin::Login) {
        report::prompt("the user of the cluster is root, who runs this command; pass --user NAME for another user\n");
    }
    let known = nix::unistd::User::from_name(&spec.user).ok().flatten().is_some();
    if !known {
        return Err(Error::usage(format!("--user {}: there is no such user on this host", spec.user))
            .hint("name the user who will work with the cluster"));
    }
    passwords_of_endpoints(&spec)?;
    let source = flags.password_file.as_ref().map(|p| p.to_string_lossy().into_owned());
    let credentials = Credentials::load_or_make(&Place::default(), source.as_deref(), spec.published_hash.as_deref())?;
    Ok((spec, credentials))
}

/// That the passwords of endpoints are where the profile says. The announced one is written by a bootstrap.
fn passwords_of_endpoints(spec: &Spec) -> Result<()> {
    for endpoint in &spec.iris.endpoints {
        let path = &endpoint.path;
        if let Some(name) = &endpoint.password_variable
            && std::env::var_os(name).is_none()
        {
            return Err(Error::usage(format!("iris.endpoints, {path}: the variable {name} is not set")).hint(format!(
                "sudo drops variables unless told otherwise: sudo --preserve-env={name} iris-mk8s ..."
            )));
        }
        if let Some(file) = &endpoint.password_file
            && *file != Place::default().password()
            && !file.is_file()
        {
            return Err(Error::usage(format!("iris.endpoints, {path}: there is no file {}", file.display())));
        }
    }
    Ok(())
}

/// What a bootstrap without options would want of this host, with addresses that nobody has.
pub(super) fn supposed(host: &Real) -> Result<Spec> {
    let mut input = profile::Input::of_process(&SpecFlags::default())?;
    if profile::Settings::gather(&input)?.get("lb").is_none() {
        input.flags.lb = Some(Lb::Auto);
    }
    let mut settings = profile::Settings::gather(&input)?;
    settings.named()?;
    if *settings.channel()? == ChannelArg::Auto {
        settings.choose(suitable_channel(None)?, &input)?;
    }
    if *settings.lb()? == Lb::Auto {
        let found = proposal::find(host, None, &settings.chosen_channel()?, proposal::SIZE);
        // Without a network the range is the least of the troubles, and has a check of its own.
        settings.give(found.map_or_else(|_| std::net::Ipv4Addr::UNSPECIFIED.into(), |(range, _)| range));
    }
    settings.wanted(&input)
}

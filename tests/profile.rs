//! Profiles: where a value comes from, and what is refused with which words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use iris_mk8s::{
    config::{
        flags::{ChannelArg, Lb, SpecFlags},
        profile::{self, Input, KEYS, Origin, Settings, Value},
        spec::{Seconds, Spec},
    },
    error::{Error, ExitCode},
};

const LB: &str = "192.168.11.110-130";

fn input(environment: &[(&str, &str)]) -> Input {
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let flags = SpecFlags { lb: Some(LB.parse().unwrap()), ..SpecFlags::default() };
    Input { flags, environment, login: Some("ubuntu".to_owned()), ..Input::default() }
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The message for a file, with its path taken out.
fn refusal(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "p.toml", text);
    let error = profile::check_file(Path::new(&file)).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
    assert_eq!(error.code, ExitCode::Usage, "{error}");
    error.to_string().replace(&file, "p.toml").replace(dir.path().to_str().unwrap(), "DIR")
}

fn origin(settings: &Settings, key: &str) -> String {
    settings.get(key).unwrap_or_else(|| panic!("{key} is not set")).origin.to_string()
}

/// The wanted state on a host that runs 1.36 and has no room for addresses.
fn resolve(input: &Input) -> Result<(Spec, Settings), Error> {
    resolve_on(input, "1.36")
}

/// The same on a host that runs this channel.
fn resolve_on(input: &Input, channel: &str) -> Result<(Spec, Settings), Error> {
    let mut settings = Settings::gather(input)?;
    settings.named()?;
    if *settings.channel()? == ChannelArg::Auto {
        settings.choose(channel.parse().unwrap(), input)?;
    }
    if *settings.lb()? == Lb::Auto {
        return Err(Error::usage("no addresses are free"));
    }
    Ok((settings.wanted(input)?, settings))
}

#[test]
fn the_default_is_the_profile_current() {
    let (spec, settings) = resolve(&input(&[])).unwrap();
    assert_eq!(spec.profile, "current");
    assert_eq!(spec.user, "ubuntu");
    assert_eq!(spec.lb, LB.parse().unwrap());
    assert_eq!(spec.channel.to_string(), "1.36/stable", "what the host says");
    assert_eq!(spec.addons, ["dns", "registry", "hostpath-storage"]);
    let iris = &spec.iris;
    assert_eq!((iris.namespace.as_str(), iris.name.as_str(), iris.service.as_str()), ("default", "data", "iris"));
    assert_eq!(iris.image, "intersystems/iris-community:latest-em");
    assert_eq!(iris.replicas, 2);
    assert_eq!((iris.storage_class.as_deref(), iris.time_zone.as_deref()), (None, None));
    assert_eq!((iris.mgr_size.as_str(), iris.data_size.as_str()), ("5Gi", "5Gi"));
    assert_eq!(
        (iris.memory_request.as_str(), iris.memory_limit.as_str(), iris.cpu_request.as_str()),
        ("768Mi", "2Gi", "250m")
    );
    assert_eq!(
        (iris.databases.as_slice(), iris.namespaces.as_slice()),
        (&["TEST-DATA".to_owned()][..], &["TEST".to_owned()][..])
    );
    assert_eq!(spec.published_hash, None);
    assert!(iris.cpf.starts_with("[Startup]\nSystemMode=TEST\n") && iris.cpf.ends_with('\n'), "{}", iris.cpf);
    let t = &spec.timeouts;
    let seconds = [t.install, t.ready, t.addon, t.iris, t.remove];
    assert_eq!(seconds, [900, 600, 600, 1200, 600].map(Seconds));
    assert_eq!(origin(&settings, "lb"), "--lb");
    assert_eq!(origin(&settings, "user"), "who runs this");
    assert_eq!(origin(&settings, "channel"), "profile current");
}

#[test]
fn the_article_keeps_its_values_and_its_hash() {
    let mut input = input(&[]);
    input.flags.profile = Some("article".to_owned());
    let (spec, settings) = resolve(&input).unwrap();
    assert_eq!(spec.channel.to_string(), "1.20/stable");
    assert_eq!(spec.iris.image, "intersystemsdc/iris-community:2022.1.0.209.0-zpm");
    assert_eq!(spec.iris.time_zone.as_deref(), Some("JST-9"));
    assert!(!spec.iris.cpf.contains("gmheap") && !spec.iris.cpf.contains("PasswordHash"));
    assert_eq!(origin(&settings, "iris.image"), "profile article");
    assert_eq!(origin(&settings, "timeouts.ready"), "profile current");
    assert_eq!(settings.get("iris.password_hash").unwrap().origin, Origin::BuiltIn("article"));
    assert_eq!(spec.published_hash.as_deref(), Some("FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh"));
    let shown = settings.to_string() + &serde_json::to_string(&settings).unwrap();
    assert!(shown.contains("(hidden)") && !shown.contains("FBFE85"), "{shown}");
}

#[test]
fn auto_is_what_the_host_says_and_nothing_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "mine.toml", "channel = \"auto\"\n");
    let mut input = input(&[]);
    input.flags.profile = Some(file.clone());
    let (spec, settings) = resolve_on(&input, "1.33").unwrap();
    assert_eq!(spec.channel.to_string(), "1.33/stable");
    assert_eq!(origin(&settings, "channel"), format!("{file}, line 1"));
    assert!(
        Settings::gather(&input).unwrap().to_string().lines().any(|l| l.starts_with("channel") && l.contains("auto"))
    );
    let error = profile::resolve(&input).unwrap_err();
    assert_eq!(
        (error.code, error.what.as_str()),
        (ExitCode::Usage, "`--channel auto` finds the channel that suits the host that it is for")
    );
    // What the host says has to go with the rest.
    let mirrored =
        write(dir.path(), "mirrored.toml", "channel = \"auto\"\nregistries.mirrors = [\"docker.io=http://m\"]\n");
    let old = Input { flags: SpecFlags { profile: Some(mirrored), ..input.flags.clone() }, ..input.clone() };
    let error = resolve_on(&old, "1.22").unwrap_err();
    assert!(error.what.contains("needs MicroK8s 1.23 or newer, and the channel is 1.22"), "{error}");
    // What is named is not asked for.
    input.flags.channel = Some("1.32".parse().unwrap());
    assert_eq!(resolve_on(&input, "1.33").unwrap().0.channel.to_string(), "1.32/stable");
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "mine.toml", "channel = \"1.32\"\n\n[iris]\nreplicas = 3\nnamespace = \"three\"\n");
    let mut input = input(&[
        ("IRIS_MK8S_IRIS_REPLICAS", "4"),
        ("IRIS_MK8S_IRIS_NAMESPACE", "four"),
        ("IRIS_MK8S_STORAGE_CLASS", ""),
    ]);
    input.flags.profile = Some(file.clone());
    input.flags.namespace = Some("five".to_owned());
    let (spec, settings) = resolve(&input).unwrap();
    assert_eq!((spec.iris.namespace.as_str(), spec.iris.replicas), ("five", 4));
    assert_eq!(spec.channel.to_string(), "1.32/stable");
    assert_eq!(spec.iris.storage_class, None, "an empty variable is no value");
    assert_eq!(origin(&settings, "iris.namespace"), "--namespace");
    assert_eq!(origin(&settings, "iris.replicas"), "IRIS_MK8S_IRIS_REPLICAS");
    assert_eq!(origin(&settings, "channel"), format!("{file}, line 1"));
    assert_eq!(origin(&settings, "iris.name"), "profile current");
    assert_eq!(spec.profile, file);
}

#[test]
fn every_key_has_a_variable_that_is_heard() {
    let value = |name: &str| match name {
        "lb" => "10.0.0.5",
        "channel" => "1.33",
        "addons" => "dns, storage",
        "registries.mirrors" => "docker.io=http://mirror.lan:5000",
        // Any file that is there, with a colon in its first line.
        "registries.ca" | "registries.login" => {
            concat!("docker.io=", env!("CARGO_MANIFEST_DIR"), "/tests/data/syncs.c")
        }
        "registries.proxy" => "http://proxy.lan:3128",
        "registries.no_proxy" => ".lan,10.0.0.0/8",
        "storage.class" => "longhorn",
        "longhorn.version" => "v1.11.2",
        // Any file that is there.
        "longhorn.manifest" => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/longhorn.yaml"),
        "iris.image" => "localhost:32000/iris:1",
        "iris.time_zone" => "JST-9",
        "iris.cpu_request" => "2",
        "iris.cpf" => "[Startup]\nSystemMode=LIVE",
        name if name.ends_with("_size") || name.starts_with("iris.memory") => "4Gi",
        name if name == "iris.replicas" || name.starts_with("timeouts.") => "7",
        _ => "other",
    };
    // A list of tables has no form in which a variable could hold it.
    let without = ["iris.password_hash", "iris.cpf_file", "iris.endpoints"];
    for key in KEYS.iter().filter(|key| !without.contains(&key.name)) {
        let mut input = input(&[
            (&key.variable(), value(key.name)),
            ("IRIS_MK8S_IRIS_MEMORY_LIMIT", "4Gi"),
            ("IRIS_MK8S_REGISTRIES_MIRRORS", value("registries.mirrors")),
        ]);
        input.flags.lb = None;
        let settings = Settings::gather(&input).unwrap();
        assert_eq!(origin(&settings, key.name), key.variable());
    }
}

#[test]
fn who_called_sudo_is_the_user() {
    let (spec, settings) = resolve(&input(&[("SUDO_USER", "taro")])).unwrap();
    assert_eq!((spec.user.as_str(), origin(&settings, "user").as_str()), ("taro", "SUDO_USER"));
    let (spec, _) = resolve(&input(&[("SUDO_USER", "taro"), ("IRIS_MK8S_USER", "hanako")])).unwrap();
    assert_eq!(spec.user, "hanako");
}

/// At the first boot of a cloud image root runs the program, and nobody called sudo.
#[test]
fn the_user_of_cloud_init_comes_before_root_and_after_everybody_who_is_named() {
    let first_boot = |environment: &[(&str, &str)]| Input {
        login: Some("root".to_owned()),
        cloud_init: Some("ubuntu".to_owned()),
        ..input(environment)
    };
    let user = |input: &Input| Settings::gather(input).unwrap().get("user").unwrap().clone();
    let found = user(&first_boot(&[]));
    assert_eq!((found.value, found.origin), (Value::Text("ubuntu".to_owned()), Origin::CloudInit));
    assert_eq!(user(&first_boot(&[("SUDO_USER", "taro")])).origin, Origin::Sudo);
    assert_eq!(user(&first_boot(&[("IRIS_MK8S_USER", "root")])).value, Value::Text("root".to_owned()));
    assert_eq!(user(&Input { cloud_init: None, ..first_boot(&[]) }).origin, Origin::Login);
}

#[test]
fn the_range_and_the_user_have_no_default() {
    let mut without = input(&[]);
    without.flags.lb = None;
    let error = resolve(&without).unwrap_err();
    assert_eq!(error.code, ExitCode::Usage);
    assert_eq!(error.what, "no addresses are given for the load balancer");
    // Showing the settings needs neither.
    without.login = None;
    let shown = Settings::gather(&without).unwrap().to_string();
    assert!(shown.lines().any(|line| line.starts_with("lb ") && line.ends_with("not set")), "{shown}");
    let error = resolve(&Input { login: None, ..input(&[]) }).unwrap_err();
    assert_eq!(error.what, "no user is given who is to work with the cluster");
}

/// The profile `current` is the documentation of all keys: with the blank-less `#` taken away it is a profile that sets each of them.
#[test]
fn current_names_every_key() {
    let text = include_str!("../profiles/current.toml");
    let commented = |line: &&str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase());
    let full: String =
        text.lines().map(|line| format!("{}\n", if commented(&line) { &line[1..] } else { line })).collect();
    let dir = tempfile::tempdir().unwrap();
    for name in ["longhorn.yaml", "reg.crt", "reg.login"] {
        write(dir.path(), name, "robot: x");
    }
    let file = write(dir.path(), "full.toml", &full);
    let settings = profile::check_file(Path::new(&file)).unwrap();
    for key in KEYS.iter().filter(|key| !["iris.password_hash", "iris.cpf_file"].contains(&key.name)) {
        assert!(origin(&settings, key.name).starts_with(&file), "{} is not in current.toml", key.name);
    }
    assert!(text.contains("cpf_file ="));
}

#[test]
fn a_cpf_may_be_a_file_beside_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let cpf = "[Actions]\r\nCreateDatabase:Name=\"A-DATA\",Directory=/vol-data/a\r\nCreateDatabase:Name=B,Directory=/iris-mgr/b\r\n\
               CreateDatabase:Name=B,Directory=/iris-mgr/b\r\n\r\n";
    write(dir.path(), "merge.cpf", cpf);
    let file = write(dir.path(), "mine.toml", "[iris]\ncpf_file = \"merge.cpf\"\n");
    let mut input = input(&[]);
    input.flags.profile = Some(file.clone());
    let (spec, settings) = resolve(&input).unwrap();
    assert_eq!(spec.iris.databases, ["A-DATA", "B"]);
    assert!(!spec.iris.cpf.contains('\r') && spec.iris.cpf.ends_with("/iris-mgr/b\n"));
    assert_eq!(origin(&settings, "iris.cpf"), format!("{file}, line 2"));
}

#[test]
fn the_profile_simple_is_an_image_of_ones_own_with_an_endpoint() {
    let mut input = input(&[]);
    input.flags.profile = Some("simple".to_owned());
    let (spec, _) = resolve(&input).unwrap();
    assert_eq!(spec.iris.image, "localhost:32000/simple:latest");
    assert_eq!(spec.iris.databases, ["MYAPP-DATA-EXT"]);
    let [endpoint] = spec.iris.endpoints.as_slice() else { panic!("{:?}", spec.iris.endpoints) };
    assert_eq!((endpoint.path.as_str(), endpoint.user.as_deref()), ("/csp/myapp/get", Some("appuser")));
    assert_eq!(endpoint.password_file.as_deref(), Some(Path::new("/var/lib/iris-mk8s/password")));
    assert!(endpoint.balanced && endpoint.status == 200 && endpoint.pod == "HostName");
}

/// Files beside the profile, each for the registry that it is of.
#[test]
fn a_mirror_has_its_authority_and_its_login_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, login) = (write(dir.path(), "reg.crt", "x"), write(dir.path(), "reg.login", "robot:x"));
    let text = "[registries]\nmirrors = [\"docker.io=http://m\", \"reg.lan:5000=https://reg.lan:5000\"]\nca = [\"reg.lan:5000=reg.crt\"]\n\
                login = [\"reg.lan:5000=reg.login\"]\n";
    let mut input = input(&[]);
    input.flags.profile = Some(write(dir.path(), "mine.toml", text));
    let (spec, _) = resolve(&input).unwrap();
    let [hub, own] = spec.registries.mirrors.as_slice() else { panic!("{:?}", spec.registries) };
    assert_eq!((&hub.ca, &hub.login), (&None, &None));
    let real = |path: &str| Some(fs::canonicalize(path).unwrap());
    assert_eq!((&own.ca, &own.login), (&real(&ca), &real(&login)));
    for none in ["robot\n", ""] {
        fs::write(&login, none).unwrap();
        let why = resolve(&input).unwrap_err();
        assert_eq!(why.code, ExitCode::Usage);
        assert!(
            why.what.contains("reg.login holds no login for reg.lan:5000") && !why.to_string().contains("robot"),
            "{why}"
        );
    }
}

#[test]
fn good_values_are_taken() {
    let hex = "0123456789abcdef".repeat(4);
    let digest = format!("image = \"containers.intersystems.com/intersystems/iris-community@sha256:{hex}\"");
    for line in [
        "image = \"localhost:32000/iris:2026.1-zpm\"",
        "image = \"iris:1\"",
        &digest,
        "time_zone = \"UTC\"",
        "time_zone = \"CET-1CEST,M3.5.0,M10.5.0/3\"",
        "time_zone = \"<+0530>-5:30\"",
        "name = \"a\"",
        "namespace = \"team-1\"",
        "memory_limit = \"2000M\"",
        "memory_limit = \"1.5Gi\"",
        "cpu_request = \"0.5\"",
        "cpu_request = \"1\"",
        "replicas = 0x10",
        "replicas = 1_0",
        "cpf = \"[Startup]\\n; a comment\\nSystemMode=LIVE\\n[Actions]\\nModifyUser:Name=X,ChangePassword=0\"",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), "p.toml", &format!("[iris]\n{line}\n"));
        profile::check_file(Path::new(&file)).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn bad_profiles_are_refused_by_name_and_line() {
    let table: &[(&str, &str)] = &[
        ("chanel = \"1.34\"", "p.toml, line 1: unknown key `chanel`; did you mean `channel`?"),
        ("\n\nimage = \"x:1\"", "p.toml, line 3: unknown key `image`; did you mean `iris.image`?"),
        ("[irs]\nreplicas = 1", "p.toml, line 1: unknown key `irs`; did you mean `iris`?"),
        ("[iris]\nReplicas = 1", "p.toml, line 2: unknown key `iris.Replicas`; did you mean `iris.replicas`?"),
        (
            "[iris]\nmemory = \"1Gi\"",
            "p.toml, line 2: unknown key `iris.memory`; `iris-mk8s profile show` lists all keys",
        ),
        (
            "[iris.resources]\ncpu = 1",
            "p.toml, line 1: unknown key `iris.resources`; `iris-mk8s profile show` lists all keys",
        ),
        ("iris = 3", "p.toml, line 1: `iris` is a table: write [iris] and its keys below"),
        ("[channel]\nx = 1", "p.toml, line 1: channel: expected a text, found a table"),
        ("[iris]\nreplicas = \"two\"", "p.toml, line 2: iris.replicas: expected a whole number, found a text"),
        (
            "[iris]\nreplicas = 1.5",
            "p.toml, line 2: iris.replicas: expected a whole number, found a number with a fraction",
        ),
        ("[iris]\nreplicas = 0", "p.toml, line 2: iris.replicas: 0 is not between 1 and 16"),
        ("[iris]\nreplicas = -1", "p.toml, line 2: iris.replicas: -1 is negative or far too large"),
        (
            "channel = \"latest/stable\"",
            "p.toml, line 1: channel: channel `latest/stable`: `latest` moves to the next minor version automatically, which MicroK8s does not support for a running cluster; name a track of MicroK8s, for example `1.36` or `1.36/stable`",
        ),
        (
            "channel = \"1.32-strict\"",
            "p.toml, line 1: channel: channel `1.32-strict`: strict confinement needs other groups and commands, which this tool does not drive; name a track of MicroK8s, for example `1.36` or `1.36/stable`",
        ),
        (
            "[registries]\nmirrors = [\"docker.io\"]",
            "p.toml, line 2: registries.mirrors: `docker.io` is not a registry and who answers for it; write it as docker.io=https://mirror.example",
        ),
        (
            "[registries]\nmirrors = [\"docker.io=mirror.lan\"]",
            "p.toml, line 2: registries.mirrors: `mirror.lan` is not a URL; write it as http://proxy.example:3128",
        ),
        (
            "[registries]\nmirrors = [\"/etc=http://m\"]",
            "p.toml, line 2: registries.mirrors: `/etc` is not the name of a registry, such as docker.io",
        ),
        (
            "channel = \"1.20\"\n[registries]\nmirrors = [\"docker.io=http://m\"]",
            "registries.mirrors (p.toml, line 3) needs MicroK8s 1.23 or newer, and the channel is 1.20 (p.toml, line 1)",
        ),
        (
            "[registries]\nca = [\"reg.lan\"]",
            "p.toml, line 2: registries.ca: `reg.lan` is not a registry and a file; write it as reg.example:5000=/etc/ssl/reg.crt",
        ),
        (
            "[registries]\nlogin = [\"reg.lan=nope\"]",
            "p.toml, line 2: DIR/nope cannot be read (No such file or directory (os error 2))",
        ),
        (
            "[registries]\nca = [\"reg.lan=p.toml\"]",
            "registries.ca (p.toml, line 2) names reg.lan, which registries.mirrors does not\n  hint:  name who answers for it, if it is itself: registries.mirrors = [\"reg.lan=https://reg.lan\"]",
        ),
        (
            "[registries]\nproxy = \"http://me:secret@proxy:3128\"",
            "p.toml, line 2: registries.proxy: a user and a password in a URL would be readable for everybody on the host; leave them out",
        ),
        (
            "[registries]\nproxy = \"http://proxy:3128;reboot\"",
            "p.toml, line 2: registries.proxy: `http://proxy:3128;reboot` contains `;`, which no URL of a host does",
        ),
        (
            "[registries]\nno_proxy = [\"a b\"]",
            "p.toml, line 2: registries.no_proxy: `a b` contains ` `; name hosts (.example.com), addresses or networks (10.0.0.0/8)",
        ),
        ("addons = \"dns\"", "p.toml, line 1: addons: expected a list of texts, found a text"),
        ("addons = [\"dns\", 1]", "p.toml, line 1: addons: expected a list of texts, found a whole number"),
        (
            "addons = [\"dns\", \"metallb\"]",
            "p.toml, line 1: addons: `metallb` has a stage of its own and is always enabled; take it out of the list, its range is --lb",
        ),
        ("addons = [\"core/dns\"]", "p.toml, line 1: addons: addon `core/dns`: name it without its repository: `dns`"),
        (
            "addons = [\"dns:1.1.1.1\"]",
            "p.toml, line 1: addons: addon `dns:1.1.1.1`: arguments are not supported; name it as `dns`",
        ),
        (
            "addons = [\"storage\", \"hostpath-storage\"]",
            "p.toml, line 1: addons: addon `hostpath-storage` is named twice",
        ),
        (
            "lb = \"10.0.0.9-1\"",
            "p.toml, line 1: lb: `10.0.0.9-1` runs backwards, 10.0.0.9 comes after 10.0.0.1: type 10.0.0.1-10.0.0.9",
        ),
        (
            "channel = \"1.19\"",
            "p.toml, line 1: channel: channel 1.19 is older than 1.20, the oldest one this tool knows; take a newer channel; --channel auto takes the newest one that this host can run",
        ),
        (
            "[storage]\nclass = \"hostpath\"",
            "p.toml, line 2: storage.class: `hostpath` puts the data of several instances into one folder; did you mean `microk8s-hostpath`?",
        ),
        (
            "[storage]\ndata_size = \"5\"",
            "p.toml, line 2: storage.data_size: `5` is 5 bytes, too little for IRIS; write it as 768Mi or 5Gi",
        ),
        (
            "[storage]\ndata_size = \"5GB\"",
            "p.toml, line 2: storage.data_size: `5GB` is not an amount of bytes; write it as 768Mi or 5Gi",
        ),
        (
            "[iris]\nmemory_limit = \"-2Gi\"",
            "p.toml, line 2: iris.memory_limit: `-2Gi` is not an amount of bytes; write it as 768Mi or 5Gi",
        ),
        (
            "[iris]\nmemory_limit = \"512Mi\"",
            "iris.memory_request is 768Mi (profile current), more than iris.memory_limit, which is 512Mi (p.toml, line 2)",
        ),
        (
            "[iris]\ncpu_request = \"1Gi\"",
            "p.toml, line 2: iris.cpu_request: `1Gi` is not a number of processors; write it as 250m or 1.5",
        ),
        (
            "[iris]\nnamespace = \"My_App\"",
            "p.toml, line 2: iris.namespace: `My_App` contains `M`; a name has only a-z, 0-9 and -",
        ),
        (
            "[iris]\nnamespace = \"kube-system\"",
            "p.toml, line 2: iris.namespace: `kube-system` belongs to the cluster itself; choose another namespace",
        ),
        ("[iris]\nname = \"-a\"", "p.toml, line 2: iris.name: `-a` begins or ends with `-`"),
        (
            "[iris]\nservice = \"1st\"",
            "p.toml, line 2: iris.service: `1st` begins with a digit; the name of a service begins with a letter",
        ),
        (
            "[iris]\nimage = \"iris\"",
            "p.toml, line 2: iris.image: image `iris`: names no tag; write for example `iris:latest-em`",
        ),
        (
            "[iris]\nimage = \"Iris:1\"",
            "p.toml, line 2: iris.image: image `Iris:1`: `Iris` is not a part of a name; a name has a-z, 0-9, `.`, `_` and `-` inside",
        ),
        (
            "[iris]\nimage = \"iris:\"",
            "p.toml, line 2: iris.image: image `iris:`: `` is not a tag; a tag has letters, digits, `_`, `.` and `-`",
        ),
        (
            "[iris]\nimage = \"iris@sha256:12\"",
            "p.toml, line 2: iris.image: image `iris@sha256:12`: a digest is `sha256:` and 64 digits of 0-9, a-f",
        ),
        (
            "[iris]\nimage = \"a.b:x/iris:1\"",
            "p.toml, line 2: iris.image: image `a.b:x/iris:1`: `a.b:x` is not a registry's host and port",
        ),
        (
            "[iris]\ntime_zone = \"Asia/Tokyo\"",
            "p.toml, line 2: iris.time_zone: `Asia/Tokyo` is not a time zone in POSIX form; write it as JST-9 or CET-1CEST",
        ),
        ("user = \"a b\"", "p.toml, line 1: user: `a b` contains ` `, which no login name does"),
        ("user = \"a\\u0007b\"", "p.toml, line 1: user: the value contains the control character \\u{7}"),
        ("user = \"\"", "p.toml, line 1: user: the value is empty"),
        ("[timeouts]\nready = 90000", "p.toml, line 2: timeouts.ready: 90000 is not between 1 and 86400"),
        ("[iris]\ncpf = \"\"", "p.toml, line 2: iris.cpf: the CPF is empty; without one there is no database"),
        (
            "[iris]\ncpf = \"A=1\"",
            "p.toml, line 2: iris.cpf: line 1 of the CPF: comes before the first section, such as [Startup]",
        ),
        (
            "[iris]\ncpf = \"[A]\\nB\"",
            "p.toml, line 2: iris.cpf: line 2 of the CPF: `B` is neither a section nor of the form key=value",
        ),
        (
            "[iris]\ncpf = \"[A\"",
            "p.toml, line 2: iris.cpf: line 1 of the CPF: `[A` is not a section; write it as [Startup]",
        ),
        (
            "[iris]\ncpf = \"[Startup]\\npasswordhash=1,2\"",
            "p.toml, line 2: iris.cpf: line 2 of the CPF: `passwordhash` does not belong into a CPF; give the password with --password-file",
        ),
        (
            "[iris]\ncpf = \"[Actions]\\nCreateUser:Name=a,PasswordHash=\\\"1,2\\\"\"",
            "p.toml, line 2: iris.cpf: line 2 of the CPF: `PasswordHash` does not belong into a CPF; set it when IRIS runs",
        ),
        (
            "[iris]\ncpf = \"[Actions]\\nCreateDatabase:Name=A,Directory=/tmp/a\"",
            "p.toml, line 2: iris.cpf: line 2 of the CPF: the database in `/tmp/a` would be lost with its pod, because only /vol-data and /iris-mgr are volumes; write: CreateDatabase:Name=A,Directory=/vol-data/a\n  hint:  if the data may be lost, or lies on a volume of your own: --skip-check cpf-directory makes a warning of it",
        ),
        (
            "[iris]\ncpf = \"[Startup]\\nWebServer=0\\nDefaultPort=51773\"",
            "p.toml, line 2: iris.cpf: line 2 of the CPF: `WebServer=0` turns off the web server, which serves the portal and the metrics that show whether an instance is ready; remove the setting; \
             line 3 of the CPF: `DefaultPort=51773` moves IRIS away from port 1972, which the pod's services and readiness check use; each pod has all ports for itself; remove the setting",
        ),
        (
            "[iris]\ncpf_file = \"nope.cpf\"",
            "p.toml, line 2: the CPF DIR/nope.cpf cannot be read (No such file or directory (os error 2))",
        ),
        (
            "[iris]\ncpf = \"[A]\\nB=1\"\ncpf_file = \"x\"",
            "p.toml, line 3: the CPF is given twice, in `cpf` and in `cpf_file`; take one out",
        ),
        (
            "[iris]\ncpf_file = \"x\"\ncpf = \"[A]\\nB=1\"",
            "p.toml: 2 mistakes\n  cause: line 2: the CPF DIR/x cannot be read (No such file or directory (os error 2))\n         \
             line 3: the CPF is given twice, in `cpf` and in `cpf_file`; take one out",
        ),
        (
            "[iris]\npassword_hash = \"1,2\"",
            "p.toml, line 2: only the profile `article` may bring the hash of a password; give the password with --password-file; its hash is made from it",
        ),
        ("[iris]\nreplicas = 1\nreplicas = 2", "p.toml, line 3: duplicate key at `replicas`"),
        ("[iris", "p.toml, line 1: unclosed table, expected `]`"),
        (
            "[[iris.endpoints]]\nuser = \"a\"\npassword_file = \"f\"",
            "p.toml, line 1: iris.endpoints: an endpoint has no path; write for example path = \"/csp/myapp/get\"",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\nuser = \"a\"\npassword = \"secret\"",
            "p.toml, line 1: iris.endpoints: `password`: a password does not belong into a profile; write it into a file or a variable, and name that: \
             password_file or password_variable",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\nuser = \"a\"",
            "p.toml, line 1: iris.endpoints: user `a` needs either password_file or password_variable, one of the two",
        ),
        (
            "[[iris.endpoints]]\npath = \"x y\"",
            "p.toml, line 1: iris.endpoints: `x y` is not a path; write it as /csp/myapp/get",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\nmatches = \"(\"",
            "p.toml, line 1: iris.endpoints: matches: error: unclosed group",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\njson = \"Status\"",
            "p.toml, line 1: iris.endpoints: json names a field, and matches does not say what is to be found there",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\nbalance = true",
            "p.toml, line 1: iris.endpoints: unknown key `balance`; did you mean `balanced`?",
        ),
        (
            "[iris]\nendpoints = \"/x\"",
            "p.toml, line 2: iris.endpoints: expected tables: write [[iris.endpoints]] and the keys below, found a text",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\nstatus = 20",
            "p.toml, line 1: iris.endpoints: status: expected a number from 100 to 599",
        ),
        (
            "[[iris.endpoints]]\npath = \"/x\"\nuser = \"a\"\npassword_variable = \"IRIS_MK8S_X\"",
            "p.toml, line 1: iris.endpoints: `IRIS_MK8S_X` is not the name of a variable of yours, such as APPUSER_PASSWORD",
        ),
        (
            "addons = [\"dns\"]\n[iris]\nimage = \"localhost:32000/simple:1\"",
            "iris.image is localhost:32000/simple:1 (p.toml, line 3), of the built-in registry, and addons (p.toml, line 1) does not name `registry`\n  \
             hint:  add `registry` to addons",
        ),
        (
            "a = 1\n[iris]\nreplicas = 0",
            "p.toml: 2 mistakes\n  cause: line 1: unknown key `a`; `iris-mk8s profile show` lists all keys\n         line 3: iris.replicas: 0 is not between 1 and 16",
        ),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(text, expected)| (text, expected, refusal(text)))
        .filter(|(_, expected, found)| *expected != found)
        .map(|(text, expected, found)| format!("{text}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn flags_variables_and_profile_names_are_refused_by_name() {
    let of = |change: &dyn Fn(&mut Input), environment: &[(&str, &str)]| -> Error {
        let mut input = input(environment);
        change(&mut input);
        resolve(&input).unwrap_err()
    };
    let shown = |e: Error| {
        assert_eq!(e.code, ExitCode::Usage);
        e.to_string()
    };
    assert_eq!(shown(of(&|i| i.flags.replicas = Some(0), &[])), "--replicas: 0 is not between 1 and 16");
    assert_eq!(
        shown(of(&|i| i.flags.storage = Some("hostpath".into()), &[])),
        "--storage: `hostpath` puts the data of several instances into one folder; did you mean `microk8s-hostpath`?"
    );
    assert_eq!(
        shown(of(&|_| (), &[("IRIS_MK8S_IRIS_IMGE", "x")])),
        "the environment variable IRIS_MK8S_IRIS_IMGE is not known\n  hint:  did you mean IRIS_MK8S_IRIS_IMAGE?"
    );
    assert_eq!(
        shown(of(&|_| (), &[("IRIS_MK8S_IRIS_REPLICAS", "two")])),
        "IRIS_MK8S_IRIS_REPLICAS: `two` is not a whole number"
    );
    assert_eq!(
        shown(of(&|i| i.flags.profile = Some("articel".into()), &[])),
        "no profile is called `articel`; did you mean `article`?\n  hint:  built in are current, article and simple; \
         a file of your own is given with a `/` in its name or with the ending .toml"
    );
    assert!(shown(of(&|_| (), &[("IRIS_MK8S_PROFILE", "./nope")])).starts_with("the profile ./nope cannot be read"));
    // The hash of the article's password cannot come in by another door.
    assert!(
        shown(of(&|_| (), &[("IRIS_MK8S_IRIS_PASSWORD_HASH", "1,2")]))
            .starts_with("IRIS_MK8S_IRIS_PASSWORD_HASH: only the profile")
    );
}

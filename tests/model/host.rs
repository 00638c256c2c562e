//! The modelled host as the product sees it: every touch is answered from the world, and before, within and after every change the
//! world is copied when somebody collects the moments at which a run may die.

use std::{
    io::Read,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use iris_mk8s::{
    bundle::whole_name,
    error::{Error, ExitCode, Result},
    host::{
        CLIENT_CONFIG, Changes, Cmd, Effect, FileKind, FileWrite, Heard, Host, HttpAnswer, HttpRequest, LOG_DIR,
        Leftover, Output, Process, Progress, SnapdChange, Upload, Watch, began,
    },
    kube::{self as kinds, Kind, state},
};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, key},
    commands,
    files::Node,
    metallb, network, snapd,
    turns::Turns,
    volumes,
    world::{EPOCH, World, ms},
};

/// Locks; a run that died within a touch is no reason not to look.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Several changes come within a moment: one look serves them all.
const BURST: Duration = ms(40);

/// The act after which the clock jumps, where it does.
const JUMPS_AFTER: u64 = 12;

/// A moment at which a run may die.
pub struct Moment {
    /// What it was about to do, did, or had done.
    pub at: String,
    pub world: World,
}

/// What becomes of a run at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoesOn,
    /// It dies: nothing that it does from now on reaches the world.
    Dies,
    /// A person interrupts it.
    Stops,
}

/// Looks at each moment of a run, by its number, and may change the world there: other people do not wait until it has ended.
pub type Hook = Box<dyn FnMut(u32, &mut World) -> Then + Send>;

/// A host.
pub struct Model {
    world: Arc<Mutex<World>>,
    /// Moments, when they are collected.
    moments: Mutex<Option<Vec<Moment>>>,
    /// What somebody else does meanwhile, and how many moments there were.
    hook: Mutex<(u32, Option<Hook>)>,
    /// The world in which the run died. It does not know, and goes on in another one until it ends.
    died: Mutex<Option<World>>,
    interrupted: AtomicBool,
    /// Who goes on, where stages run side by side.
    turns: Option<Arc<Turns>>,
    /// The name of the run.
    run: String,
    /// The host may only be looked at.
    pub read_only: bool,
    /// It is asked several things at a time.
    pub abreast: bool,
    /// Requests that a load balancer has passed on.
    turn: AtomicU64,
}

impl Model {
    pub fn new(world: World, run: &str, collect: bool) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            moments: Mutex::new(collect.then(Vec::new)),
            hook: Mutex::default(),
            died: Mutex::default(),
            interrupted: AtomicBool::new(false),
            turns: None,
            run: run.to_owned(),
            read_only: false,
            abreast: false,
            turn: AtomicU64::new(0),
        }
    }

    /// The same, with somebody who looks at each moment.
    pub fn watched(self, hook: Hook) -> Self {
        Self { hook: Mutex::new((0, Some(hook))), ..self }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// With stages side by side.
    pub fn taking_turns(self, turns: &Arc<Turns>) -> Self {
        Self { turns: Some(Arc::clone(turns)), ..self }
    }

    /// The world as the run left it, and whether it died there.
    pub fn remains(&self) -> (World, bool) {
        match &*lock(&self.died) {
            Some(world) => (world.clone(), true),
            None => (lock(&self.world).clone(), false),
        }
    }

    /// Lets the time go on until that holds, or until then.
    fn pass_time(&self, limit: Duration, holds: impl FnMut(&World) -> bool) {
        pass_time(&self.world, self.turns.as_deref(), limit, holds);
    }

    /// The moments so far.
    pub fn take_moments(&self) -> Vec<Moment> {
        lock(&self.moments).take().unwrap_or_default()
    }

    /// A moment at which the run may die.
    pub fn moment(&self, world: &mut World, at: impl FnOnce() -> String) {
        if let Some(moments) = lock(&self.moments).as_mut() {
            moments.push(Moment { at: at(), world: world.clone() });
        }
        let mut hook = lock(&self.hook);
        hook.0 += 1;
        let (number, Some(hook)) = &mut *hook else { return };
        match hook(*number, world) {
            Then::GoesOn => return,
            Then::Stops => {}
            Then::Dies => _ = lock(&self.died).get_or_insert_with(|| world.clone()),
        }
        self.interrupted.store(true, Relaxed);
        if let Some(turns) = &self.turns {
            turns.stop();
        }
    }

    /// An act that is done at once: a moment before it, and one after.
    fn act<T>(&self, what: &str, act: impl FnOnce(&mut World) -> T) -> T {
        assert!(!self.read_only, "a change, where only looking is allowed: {what}");
        if let Some(turns) = &self.turns {
            turns.pass();
        }
        let mut world = self.world();
        self.moment(&mut world, || format!("before {what}"));
        world.acts += 1;
        if world.acts == JUMPS_AFTER {
            world.clock += std::mem::take(&mut world.jump);
        }
        let log = format!("{LOG_DIR}/{}.log", self.run);
        if !world.files.has(&log) {
            world.files.write(&log, "");
        }
        let result = act(&mut world);
        self.moment(&mut world, || format!("after {what}"));
        result
    }

    fn with_api<T>(&self, ask: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        let mut world = self.world();
        if !world.files.has(CLIENT_CONFIG) {
            return Err(Error::transient("MicroK8s has no credentials yet").because(CLIENT_CONFIG));
        }
        if world.api().is_none() {
            return Err(Error::transient("the API server does not answer").because("connection refused"));
        }
        ask(&mut world)
    }

    /// A command that takes its time.
    fn long(&self, cmd: &Cmd, listen: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>) -> Result<Output> {
        let shown = cmd.show();
        let group = self.act(&format!("`{shown}`"), |world| {
            let doubled: Vec<String> = world
                .processes
                .values()
                .filter(|p| p.run.is_some() && p.code.is_none())
                .map(super::process::Process::shown)
                .collect();
            world.violations.extend(doubled.iter().map(|other| format!("`{shown}` while `{other}` still works")));
            world.start(&cmd.argv, Some(self.run.clone()))
        });
        let limit = self.world().now + cmd.deadline;
        let mut output = Output::default();
        let mut heard_at = self.world().now;
        loop {
            let mut world = self.world();
            let (lines, code) = world
                .processes
                .get_mut(&group)
                .map_or((Vec::new(), Some(None)), |p| (std::mem::take(&mut p.lines), p.code.map(Some)));
            if code.is_some() {
                world.processes.remove(&group);
            }
            let now = world.now;
            drop(world);
            let mut go_on = ControlFlow::Continue(());
            for line in &lines {
                heard_at = now;
                output.stdout.push_str(&format!("{line}\n"));
                go_on = listen(Heard::Line(line));
            }
            if let Some(code) = code {
                output.code = code;
                return Ok(output);
            }
            if now >= heard_at + Duration::from_secs(1) {
                heard_at = now;
                go_on = listen(Heard::Silence);
            }
            let late = now >= limit;
            if late || go_on.is_break() {
                self.world().processes.remove(&group);
                let error = || {
                    Error::new(ExitCode::TimedOut, format!("`{shown}` did not end within {} s", cmd.deadline.as_secs()))
                };
                return if late { Err(error()) } else { Ok(output) };
            }
            let stage = |world: &World| world.processes.get(&group).map(|p| (p.stage, p.code));
            let before = stage(&self.world());
            // What else happens meanwhile is no moment of ours.
            let silence = heard_at + Duration::from_secs(1);
            self.pass_time(limit.min(silence), |world| stage(world) != before || world.now >= silence);
            let mut world = self.world();
            if stage(&world) != before && stage(&world).is_some_and(|(_, code)| code.is_none()) {
                let at = stage(&world).map(|s| s.0);
                self.moment(&mut world, || format!("within `{shown}`, stage {at:?}"));
            }
        }
    }
}

impl Host for Model {
    fn run(&self, cmd: &Cmd, listen: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>) -> Result<Output> {
        let words: Vec<&str> = cmd.argv.iter().map(String::as_str).collect();
        let microk8s = words[0] == "microk8s";
        if microk8s && !self.world().files.has("/snap/bin/microk8s") {
            return Err(Error::no_program("microk8s"));
        }
        if cmd.effect == Effect::Reads {
            return Ok(commands::read(&mut self.world(), &words));
        }
        if microk8s {
            return self.long(cmd, listen);
        }
        let input = cmd.stdin.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        Ok(self.act(&format!("`{}`", cmd.show()), |world| {
            // dpkg unpacks before it configures.
            if commands::unpacks(world, &words) {
                self.moment(world, || format!("within `{}`", cmd.show()));
            }
            commands::change(world, &words, &input)
        }))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        if path == Path::new("/proc/self/mountinfo") {
            let line = |at: &String| format!("90 1 8:17 / {} rw - ext4 /dev/sdb1 rw\n", at.replace(' ', "\\040"));
            return Ok(Some(self.world().mounts.iter().map(line).collect::<String>().into_bytes()));
        }
        Ok(self.world().files.read(path).map(<[u8]>::to_vec))
    }

    fn exists(&self, path: &Path) -> bool {
        self.world().files.has(path)
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        match self.world().files.get(path) {
            Some(Node::Link(to)) => Some(PathBuf::from(to)),
            _ => None,
        }
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>> {
        Ok(self.world().files.get(path).map(|node| match node {
            Node::File(..) => FileKind::File,
            Node::Dir => FileKind::Directory,
            Node::Link(_) => FileKind::Link,
        }))
    }

    fn names(&self, dir: &Path) -> Vec<String> {
        self.world().files.names(dir)
    }

    fn write(&self, file: &FileWrite) -> Result<()> {
        let path = file.path.to_str().expect("UTF-8");
        self.act(&format!("write {path}"), |world| {
            if !world.files.has_room() {
                return Err(
                    Error::failed(format!("cannot write {path}")).because("No space left on device (os error 28)")
                );
            }
            let there = match world.files.get(path) {
                Some(Node::File(_, mode, owner)) if file.keeps => Some((*mode, owner.clone())),
                _ => None,
            };
            let (mode, owner) = there.unwrap_or((file.mode, file.owner.clone().unwrap_or("root".to_owned())));
            world.files.write_as(&format!("{path}.new"), &file.bytes, mode, &owner);
            self.moment(world, || format!("within write {path}"));
            world.files.remove(format!("{path}.new"));
            world.files.write_as(path, &file.bytes, mode, &owner);
            Ok(())
        })
    }

    fn remove(&self, path: &Path, all: bool) -> Result<()> {
        self.act(&format!("remove {}", path.display()), |world| {
            let shown = path.to_str().expect("UTF-8");
            if let Some(at) = world.mounts.iter().find(|at| Path::new(at).starts_with(path)) {
                return Err(
                    Error::failed(format!("cannot remove {shown}")).because(format!("something is mounted at {at}"))
                );
            }
            if !all && !world.files.names(path).is_empty() {
                return Err(Error::failed(format!("cannot remove {}", path.display()))
                    .because("Directory not empty (os error 39)"));
            }
            let names = world.files.names(path);
            if let Some(first) = names.first() {
                world.files.remove(path.join(first));
                self.moment(world, || format!("within remove {}", path.display()));
            }
            world.files.remove(path);
            Ok(())
        })
    }

    fn snapd_get(&self, path: &str) -> Result<Option<Value>> {
        snapd::get(&self.world(), path)
    }

    fn snapd_change(
        &self,
        change: &SnapdChange,
        seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        let shown = &change.shown;
        let id = self.act(&format!("`{shown}`"), |world| snapd::ask(world, change))?;
        id.map_or(Ok(()), |id| self.follow_change(id, shown, seen))
    }

    fn snapd_upload(
        &self,
        upload: Upload<'_>,
        seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Upload { name, source, length, shown, .. } = upload;
        let read = std::io::copy(source, &mut std::io::sink()).expect("a good bundle");
        assert_eq!(read, length);
        let id = self.act(&format!("`{shown}`"), |world| snapd::sideload(world, &name))?;
        id.map_or(Ok(()), |id| self.follow_change(id, &shown, seen))
    }

    fn pipe(
        &self,
        cmd: &Cmd,
        source: &mut (dyn Read + Send),
        _: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> Result<Output> {
        let words: Vec<&str> = cmd.argv.iter().map(String::as_str).collect();
        assert_eq!(words, ["microk8s", "ctr", "image", "import", "-"]);
        let mut tar = Vec::new();
        source.read_to_end(&mut tar).expect("a good bundle");
        let name = name_in(&tar);
        self.act(&format!("import of {name}"), |world| {
            if !world.files.has("/snap/bin/microk8s") {
                return Err(Error::no_program("microk8s"));
            }
            let failed =
                Output { code: Some(1), stdout: String::new(), stderr: "ctr: no space left on device".to_owned() };
            if !world.files.has_room() {
                return Ok(failed);
            }
            if containerd(world).is_err() {
                return Ok(Output { stderr: "ctr: connection refused".to_owned(), ..failed });
            }
            // Who dies here leaves a half of it, which is none.
            self.moment(world, || format!("within the import of {name}"));
            containerd(world)?.images.insert(name.clone());
            Ok(Output { code: Some(0), ..Output::default() })
        })
    }

    fn has_image(&self, name: &str) -> Result<bool> {
        let whole = whole_name(name)?;
        let mut world = self.world();
        let images = &containerd(&mut world)?.images;
        Ok(images.contains(name) || images.contains(&whole))
    }

    fn pull(&self, name: &str, seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>) -> Result<()> {
        let until = self.act(&format!("pull {name}"), |world| {
            let now = world.now;
            snapd::fetches(world, "an image");
            let cluster = containerd(world)?;
            if cluster.no_images.contains(name) {
                return Err(kinds::pull::refused(name, &format!("{name}: not found")));
            }
            Ok(if cluster.images.contains(name) { now } else { now + super::pods::pull_of(name) })
        })?;
        loop {
            let second = (self.world().now + Duration::from_secs(1)).min(until);
            self.pass_time(second, |_| false);
            let mut world = self.world();
            // A containerd that ends breaks its pulls off.
            containerd(&mut world)?;
            if world.now >= until {
                break;
            }
            self.moment(&mut world, || format!("within pull {name}"));
            drop(world);
            if self.stopping() {
                return Err(Error::new(ExitCode::Interrupted, "interrupted"));
            }
            if seen(&format!("pulls {name}"), None).is_break() {
                return Err(Error::new(ExitCode::TimedOut, format!("image {name}: not pulled in time")));
            }
        }
        self.act(&format!("pull {name}, its end"), |world| {
            containerd(world)?.images.insert(name.to_owned());
            Ok(())
        })
    }

    fn get(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        self.with_api(|world| {
            let cluster = world.cluster.as_ref().filter(|c| c.knows(kind));
            Ok(cluster.and_then(|c| c.get(&key(kind, namespace.unwrap_or_default(), name))).cloned())
        })
    }

    fn list(&self, kind: &'static Kind, namespace: Option<&str>, labels: &str) -> Result<Vec<Value>> {
        self.with_api(|world| {
            let fits = |object: &&Value| {
                let meta = &object["metadata"];
                namespace.is_none_or(|ns| meta["namespace"] == ns)
                    && labels
                        .split(',')
                        .filter(|l| !l.is_empty())
                        .all(|l| l.split_once('=').is_some_and(|(name, value)| meta["labels"][name] == value))
            };
            Ok(world.cluster.iter().flat_map(|c| c.of(kind)).filter(fits).cloned().collect())
        })
    }

    fn apply(&self, object: &Value, dry_run: bool) -> Result<Value> {
        let apply = |world: &mut World| {
            let now = world.now;
            world.api().map_or_else(
                || Err(Error::transient("the API server does not answer").because("connection refused")),
                |cluster| cluster.apply(object, kinds::MANAGER, dry_run, now),
            )
        };
        if dry_run { apply(&mut self.world()) } else { self.act(&format!("apply {}", kinds::describe(object)), apply) }
    }

    fn patch(&self, kind: &'static Kind, namespace: Option<&str>, name: &str, patch: &Value) -> Result<()> {
        self.act(&format!("patch {}/{name}", kind.plural), |world| {
            let cluster = world
                .api()
                .ok_or_else(|| Error::transient("the API server does not answer").because("connection refused"))?;
            let key = key(kind, namespace.unwrap_or_default(), name);
            if !cluster.is_orphan(&key) {
                let held = |o: &Value| o["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
                let waits = cluster.get(&key).is_some_and(|o| held(o) && state::going(o));
                cluster.change(&key, |o| super::merge::merge(o, patch));
                // What only waited for somebody to let go of it is gone at once.
                if waits && cluster.get(&key).is_some_and(|o| !held(o)) {
                    cluster.drop_object(&key);
                }
            }
            Ok(())
        })
    }

    fn download(&self, file: &iris_mk8s::host::Download) -> Result<()> {
        panic!("the modelled internet knows no {}", file.url)
    }

    fn delete(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<()> {
        self.act(&format!("delete {}/{name}", kind.plural), |world| {
            let now = world.now;
            let cluster = world.api();
            let cluster = cluster
                .ok_or_else(|| Error::transient("the API server does not answer").because("connection refused"))?;
            cluster.delete(&key(kind, namespace.unwrap_or_default(), name), now);
            Ok(())
        })
    }

    fn api_text(&self, path: &str) -> Result<String> {
        self.with_api(|world| match path {
            "/readyz" => Ok("ok".to_owned()),
            _ if path.contains("/log?") => Ok("IRIS started\n".to_owned()),
            _ => match world.cluster.as_ref().and_then(|c| c.discovery(path)) {
                Some(kinds) => Ok(kinds.to_string()),
                None => panic!("the modelled API server knows no GET {path}"),
            },
        })
    }

    fn exec(&self, namespace: &str, pod: &str, _: &str, argv: &[&str], _: &str) -> Result<Output> {
        self.with_api(|world| {
            let cluster = world.cluster.as_ref();
            let ready = |name: &str| {
                let pod = cluster.and_then(|c| c.find(&kinds::POD, namespace, name));
                pod.filter(|pod| state::is(pod, "Ready")).ok_or_else(|| {
                    Error::transient(format!("exec in pod {name}: it cannot be run")).because("container not found")
                })
            };
            ready(pod)?;
            let stdout = match argv {
                ["/bin/sh", "-c", script] if script.contains("test -w") => String::new(),
                ["getent", "ahostsv4", "registry-1.docker.io"] => "3.5.7.9 STREAM registry-1.docker.io\n".to_owned(),
                ["getent", "ahostsv4", "iris-mk8s-no-such-host"] => {
                    return Ok(Output { code: Some(2), ..Output::default() });
                }
                ["getent", "ahostsv4", name] => {
                    let other = ready(name.split('.').next().unwrap_or_default())?;
                    format!("{} STREAM {name}\n", other["status"]["podIP"].as_str().unwrap_or_default())
                }
                ["cat", file] if file.ends_with("/iris.cpf") => "[Namespaces]\nTEST=TEST-DATA\n".to_owned(),
                ["iris", "session", ..] => "answer:42\nsql:0\n".to_owned(),
                other => panic!("the modelled pod knows no {other:?}"),
            };
            Ok(Output { code: Some(0), stdout, stderr: String::new() })
        })
    }

    fn http_get(&self, url: &str) -> Result<(u16, String)> {
        let (ip, path) = url
            .strip_prefix("http://")
            .and_then(|u| u.split_once(":52773"))
            .unwrap_or_else(|| panic!("the modelled LAN knows no {url}"));
        assert_eq!(path, "/api/monitor/metrics");
        let world = self.world();
        let pod = world.cluster.as_ref().filter(|c| c.running).and_then(|c| answering(c, ip));
        let pod = pod.ok_or_else(|| Error::transient(format!("{url} does not answer")).because("No route to host"))?;
        let licence = "iris_license_days_remaining 300\n";
        let database = "iris_db_size_mb{id=\"TEST-DATA\",dir=\"/vol-data/TEST-DATA/\"} 1\n\
                        iris_db_size_mb{id=\"MYAPP-DATA-EXT\",dir=\"/vol-data/MYAPP-DATA/\"} 1\n";
        Ok((200, format!("# {}\niris_cpu_usage 1\n{licence}{database}", state::name(pod))))
    }

    fn http(&self, request: HttpRequest<'_>) -> Result<HttpAnswer> {
        super::registry::answer(&self.world(), request.method, &request.url)
    }

    /// The service of the article's own image, each pod in turn.
    fn visit(&self, url: &str, login: Option<(&str, &str)>) -> Result<(u16, String)> {
        let ip = url.strip_prefix("http://").and_then(|u| u.strip_suffix(":52773/csp/myapp/get")).expect("the service");
        let world = self.world();
        let turn = usize::try_from(self.turn.fetch_add(1, Relaxed)).expect("few");
        let cluster = world.cluster.as_ref().filter(|c| c.running);
        let pods = cluster.map(|c| all_answering(c, ip)).unwrap_or_default();
        let pod = pods.get(turn % pods.len().max(1));
        let pod = pod.ok_or_else(|| Error::transient(format!("{url} does not answer")).because("No route to host"))?;
        let (user, password) = login.expect("somebody asks");
        if !super::pods::takes(&world, pod, password) {
            return Ok((401, String::new()));
        }
        Ok((200, json!({"HostName": state::name(pod), "UserName": user, "Status": "OK"}).to_string()))
    }

    fn login(&self, url: &str, _: &str, password: &str) -> Result<u16> {
        let ip = url
            .strip_prefix("http://")
            .and_then(|u| u.strip_suffix(":52773/api/atelier/"))
            .expect("a pod's web server");
        let world = self.world();
        let pod = world.cluster.as_ref().filter(|c| c.running).and_then(|c| answering(c, ip));
        let pod = pod.ok_or_else(|| Error::transient(format!("{url} does not answer")).because("No route to host"))?;
        Ok(if super::pods::takes(&world, pod, password) { 200 } else { 401 })
    }

    fn watch(&self, what: &[Watch]) -> Box<dyn Changes> {
        let kinds = what.iter().filter_map(|w| match w {
            Watch::Objects(kind, _) => Some(super::cluster::plural(kind)),
            Watch::Pause(_) => None,
        });
        let pause = what.iter().filter_map(|w| match w {
            Watch::Pause(pause) => Some(*pause),
            Watch::Objects(..) => None,
        });
        let (world, turns) = (Arc::clone(&self.world), self.turns.clone());
        Box::new(Watching { world, turns, kinds: kinds.collect(), pause: pause.min() })
    }

    fn leftovers(&self) -> Vec<Leftover> {
        let world = self.world();
        let left =
            world.processes.values().filter(|p| p.run.as_ref().is_some_and(|run| *run != self.run) && p.code.is_none());
        left.map(|p| Leftover { group: p.group, command: p.shown() }).collect()
    }

    fn end(&self, group: &Leftover) {
        self.act(&format!("end {}", group.command), |world| world.processes.remove(&group.group));
    }

    fn kill(&self, processes: &[Process]) -> Result<()> {
        let pids: Vec<String> = processes.iter().map(|p| p.pid.to_string()).collect();
        self.act(&format!("`kill -KILL {}`", pids.join(" ")), |world| {
            for (n, process) in processes.iter().enumerate() {
                let folder = format!("/proc/{}", process.pid);
                if began(&world.files.text(format!("{folder}/stat"))) == Some(process.began) {
                    world.files.remove(&folder);
                }
                if n == 0 {
                    self.moment(world, || format!("within `kill -KILL {}`", pids.join(" ")));
                }
            }
        });
        Ok(())
    }

    fn takes_questions_abreast(&self) -> bool {
        self.abreast
    }

    fn now(&self) -> Duration {
        self.world().now
    }

    fn unix_time(&self) -> u64 {
        let world = self.world();
        (EPOCH + world.now.as_secs()).saturating_add_signed(world.clock)
    }

    fn stopping(&self) -> bool {
        self.interrupted.load(Relaxed)
    }
}

/// The image that a layout for containerd holds.
fn name_in(tar: &[u8]) -> String {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar").map(|entry| entry.expect("an entry"));
    let index = entries.into_iter().find(|entry| entry.path().is_ok_and(|path| path.ends_with("index.json")));
    let index: Value = serde_json::from_reader(index.expect("an index")).expect("JSON");
    index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().expect("a name").to_owned()
}

impl Model {
    fn follow_change(
        &self,
        id: u32,
        shown: &str,
        seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        loop {
            if self.stopping() {
                return Err(Error::new(ExitCode::Interrupted, "interrupted")
                    .because(format!("snapd goes on with change {id} by itself (`{shown}`)")));
            }
            let stage = |world: &World| world.snapd.change.as_ref().map(|c| c.stage);
            let before = stage(&self.world());
            self.pass_time(Duration::MAX, |world| stage(world) != before || world.next().is_none());
            let mut world = self.world();
            if let Some(ended) = world.snapd.ended.get(&id).cloned() {
                self.moment(&mut world, || format!("`{shown}` has ended"));
                return ended.map_err(|why| Error::failed(format!("`{shown}` failed")).because(why));
            }
            let at = stage(&world);
            self.moment(&mut world, || format!("within `{shown}`, stage {at:?}"));
            let doing = snapd::doing(&world).unwrap_or_default();
            drop(world);
            if seen(doing, None).is_break() {
                return Err(Error::new(ExitCode::TimedOut, format!("`{shown}` did not end in time")));
            }
        }
    }
}

/// What MicroK8s' containerd has, when it runs.
fn containerd(world: &mut World) -> Result<&mut Cluster> {
    let cluster = world.cluster.as_mut().filter(|cluster| cluster.running);
    cluster.ok_or_else(|| Error::transient("containerd does not answer yet").because("connection refused"))
}

/// The ready pod that answers at an address: its own, or one that MetalLB announces for a service.
fn answering<'a>(cluster: &'a Cluster, ip: &str) -> Option<&'a Value> {
    all_answering(cluster, ip).into_iter().next()
}

/// All of them, where a service has several.
fn all_answering<'a>(cluster: &'a Cluster, ip: &str) -> Vec<&'a Value> {
    let ready = |pod: &&Value| state::is(pod, "Ready") && !state::going(pod);
    if let Some(pod) = cluster.of(&kinds::POD).filter(ready).find(|p| p["status"]["podIP"] == ip) {
        return volumes::claims_of(pod).next().map(|_| pod).into_iter().collect();
    }
    let Some(service) = cluster.of(&kinds::SERVICE).find(|s| state::addresses(s).iter().any(|a| a == ip)) else {
        return Vec::new();
    };
    let selected = |pod: &&Value| {
        let wanted = service["spec"]["selector"].as_object();
        wanted.is_some_and(|w| w.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value))
    };
    let all = cluster.of(&kinds::POD).filter(|_| metallb::answers(cluster)).filter(ready).filter(selected);
    // A client that is kept at one pod only ever reaches that.
    let most = if service["spec"]["sessionAffinity"] == "ClientIP" { 1 } else { usize::MAX };
    all.take(most).collect()
}

/// Lets the time go on from one happening to the next.
fn pass_time(world: &Mutex<World>, turns: Option<&Turns>, limit: Duration, mut holds: impl FnMut(&World) -> bool) {
    if turns.is_some_and(|turns| turns.wait(world, limit, &mut holds)) {
        return;
    }
    let mut world = lock(world);
    while !holds(&world) && world.step(limit) {}
}

/// Waits for changes.
struct Watching {
    world: Arc<Mutex<World>>,
    turns: Option<Arc<Turns>>,
    kinds: Vec<&'static str>,
    pause: Option<Duration>,
}

impl Changes for Watching {
    fn next(&mut self, at_most: Duration) {
        let now = lock(&self.world).now;
        let limit = now + at_most.min(self.pause.unwrap_or(Duration::MAX));
        let seen = |world: &World| {
            let touched = |kind: &&'static str| world.cluster.as_ref().and_then(|c| c.touched.get(kind)).copied();
            self.kinds.iter().map(touched).collect::<Vec<_>>()
        };
        let before = seen(&lock(&self.world));
        let mut changed = false;
        pass_time(&self.world, self.turns.as_deref(), limit, |world| {
            changed = seen(world) != before;
            changed
        });
        if changed {
            let burst = lock(&self.world).now + BURST;
            pass_time(&self.world, self.turns.as_deref(), burst, |_| false);
        }
    }
}

/// What the network shows of the host.
pub fn network_commands(world: &World, words: &[&str]) -> Option<String> {
    Some(match words {
        ["ip", "-j", "-d", "addr"] => network::addresses(world),
        ["ip", "-j", "-d", "route"] => network::routes(world),
        ["ip", "-j", "link"] => network::links(world),
        ["ip", "-j", "netns", "list"] => network::namespaces(world),
        ["ip", "-n", name, "-j", "addr"] => network::inside(name),
        ["iptables-nft-save"] => network::save(world, 0),
        ["ip6tables-nft-save"] => network::save(world, 1),
        // The kernel has these tables, and nobody has used them.
        ["iptables-legacy-save" | "ip6tables-legacy-save"] => String::new(),
        _ => return None,
    })
}

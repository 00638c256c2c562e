//! What happens between two commands, and the commands themselves, as values that can be drawn, cut down, and pasted: what is printed of them is
//! Rust.

use std::fmt;

use crate::model::{foreign::Resident, tool::Death, world::Era};

/// A host, and what happens on it.
#[derive(Clone, PartialEq)]
pub struct Sequence {
    pub era: Era,
    pub start: Start,
    pub ops: Vec<Op>,
}

/// The host before the first command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    Fresh,
    /// Its snapd can hold a single snap.
    NewSnapd,
    /// What an earlier Kubernetes left, with a group that has a member, and forwarding that somebody needs.
    AfterKubernetes,
    /// Somebody's MicroK8s, without addons.
    Theirs,
    /// With storage, and with MetalLB's pool of `Range::Theirs`.
    TheirsWithPool,
    /// The same, stopped.
    TheirsStopped,
    /// The first release was there, and did what is recorded under that name.
    Released(&'static str),
}

/// The wanted state of a bootstrap.
#[derive(Clone, Copy, PartialEq)]
pub struct Wish {
    pub replicas: u8,
    pub namespace: &'static str,
    pub registry: bool,
    pub class: Option<&'static str>,
    pub mirror: Option<&'static str>,
    pub user: &'static str,
    pub password: Option<&'static str>,
    pub range: Range,
    /// Volumes of another class may go.
    pub data: bool,
    /// The stage that is the last one.
    pub until: Option<&'static str>,
    /// Stages side by side, in the order of the dice of that number; none = one after the other.
    pub abreast: Option<u16>,
}

impl Wish {
    /// What a bootstrap without options wants.
    pub const PLAIN: Self = Self {
        replicas: 2,
        namespace: "default",
        registry: true,
        class: None,
        mirror: None,
        user: "ubuntu",
        password: None,
        range: Range::First,
        data: false,
        until: None,
        abreast: None,
    };
}

impl Default for Wish {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// Only what differs from the plain one is shown.
impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, namespace, registry, class, mirror, user, password, range, data, until, abreast } = *self;
        let plain = Self::PLAIN;
        let fields = [
            (replicas != plain.replicas).then(|| format!("replicas: {replicas}")),
            (namespace != plain.namespace).then(|| format!("namespace: {namespace:?}")),
            (registry != plain.registry).then(|| format!("registry: {registry}")),
            (class != plain.class).then(|| format!("class: {class:?}")),
            (mirror != plain.mirror).then(|| format!("mirror: {mirror:?}")),
            (user != plain.user).then(|| format!("user: {user:?}")),
            (password != plain.password).then(|| format!("password: {password:?}")),
            (range != plain.range).then(|| format!("range: {range:?}")),
            (data != plain.data).then(|| format!("data: {data}")),
            (until != plain.until).then(|| format!("until: {until:?}")),
            (abreast != plain.abreast).then(|| format!("abreast: {abreast:?}")),
        ];
        let fields: Vec<String> = fields.into_iter().flatten().collect();
        if fields.is_empty() { write!(f, "PLAIN") } else { write!(f, "Wish {{ {}, ..PLAIN }}", fields.join(", ")) }
    }
}

/// Addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    First,
    /// Others.
    Second,
    /// Those of the first one, and some more.
    Wider,
    /// What a pool of somebody else's holds.
    Theirs,
}

impl Range {
    pub const ALL: [Self; 4] = [Self::First, Self::Second, Self::Wider, Self::Theirs];

    pub fn text(self) -> &'static str {
        match self {
            Self::First => "192.168.11.110-192.168.11.130",
            Self::Second => "192.168.11.160-192.168.11.170",
            Self::Wider => "192.168.11.110-192.168.11.140",
            Self::Theirs => "192.168.11.200-192.168.11.210",
        }
    }
}

/// How a command of ours ends.
#[derive(Clone, PartialEq)]
pub enum End {
    Whole,
    /// At the moment of that number; the next command comes so many seconds later.
    Dies(Death, u16, u16),
    /// A person interrupts it once there.
    CtrlC(u16),
    /// And at once a second time, which ends what runs.
    CtrlCTwice(u16),
    /// Something happens meanwhile.
    Meanwhile(u16, Box<Op>),
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "Whole"),
            Self::Dies(death, at, gap) => write!(f, "Dies({death:?}, {at}, {gap})"),
            Self::CtrlC(at) => write!(f, "CtrlC({at})"),
            Self::CtrlCTwice(at) => write!(f, "CtrlCTwice({at})"),
            Self::Meanwhile(at, op) => write!(f, "Meanwhile({at}, Box::new({op:?}))"),
        }
    }
}

/// How far a teardown goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    App,
    Data,
    Reset,
    /// `--reset --without-looking`.
    Blind,
}

impl Reach {
    pub const ALL: [Self; 4] = [Self::App, Self::Data, Self::Reset, Self::Blind];
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // Commands of ours.
    Bootstrap(Wish, End),
    Plan(Wish),
    Status,
    Stop(End),
    Start(End),
    /// With `--yes`, or with the question answered; what was shown before is the list that was agreed to.
    Teardown(Reach, End),
    DryRun(Reach),
    /// `repair longhorn`.
    Repair(End),

    // Others on the host.
    Arrives(Resident),
    Leaves(Resident),
    /// A file of somebody's, in a folder that MicroK8s or we use.
    Puts(Place),
    /// A rule of somebody's on the bridge of the pods, or one of their own chain.
    AddsRule(Rule),
    AddsLink(&'static str),
    Mounts(&'static str),
    SetsSetting(&'static str, &'static str),
    HoldsAll(&'static str),
    HoldsSnap,
    UnholdsAll,
    Aliases(&'static str),
    Unaliases(&'static str),
    /// A program of that name.
    InstallsKubectl,
    JoinsGroup(&'static str),

    // A person and MicroK8s.
    Microk8sStop,
    Microk8sStart,
    /// Its services die, and nothing says why.
    ApiDies,
    DisablesSnap,
    EnablesSnap,
    RemovesSnap,
    /// Removes it, and installs one of their own.
    Reinstalls,
    /// Restarts the host.
    Reboots,
    Waits(u16),

    // A person in the cluster.
    Makes(Guest),
    /// Changes one of our objects.
    Edits(Ours),
    /// Puts one of their own in its place.
    Replaces(Ours),
    Deletes(Part),
    Pushes,
    /// Changes or removes one of our files.
    Spoils(OurFile),
}

/// Where a file is put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Cni,
    CniPrograms,
    RunContainerd,
    CniState,
    Common,
    Current,
    State,
    Logs,
    Kube,
    HomeSnap,
    PodLogs,
    Libexec,
    Certs,
}

impl Place {
    pub const ALL: [Self; 13] = [
        Self::Cni,
        Self::CniPrograms,
        Self::RunContainerd,
        Self::CniState,
        Self::Common,
        Self::Current,
        Self::State,
        Self::Logs,
        Self::Kube,
        Self::HomeSnap,
        Self::PodLogs,
        Self::Libexec,
        Self::Certs,
    ];

    pub fn path(self) -> &'static str {
        match self {
            Self::Cni => "/etc/cni/foreign.conf",
            Self::CniPrograms => "/opt/cni/foreign",
            Self::RunContainerd => "/run/containerd/foreign.sock",
            Self::CniState => "/var/lib/cni/networks/mine/10.9.0.2",
            Self::Common => "/var/snap/microk8s/common/theirs.tar",
            Self::Current => "/var/snap/microk8s/current/args/theirs.yaml",
            Self::State => "/var/lib/iris-mk8s/notes.txt",
            Self::Logs => "/var/log/iris-mk8s/notes.txt",
            Self::Kube => "/home/ubuntu/.kube/config",
            Self::HomeSnap => "/root/snap/microk8s/common/.microk8s.yaml",
            Self::PodLogs => "/var/log/pods/theirs.log",
            Self::Libexec => "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/theirs",
            Self::Certs => "/var/snap/microk8s/current/args/certs.d/docker.io/ca.crt",
        }
    }
}

/// Rules of a person's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    OnPodBridge,
    OwnChain,
    ToPods,
}

impl Rule {
    pub const ALL: [Self; 3] = [Self::OnPodBridge, Self::OwnChain, Self::ToPods];

    /// Table, chain of its own, line.
    pub fn parts(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Self::OnPodBridge => ("*filter", &[], "-A FORWARD -s 10.9.0.0/16 -i cni0 -j DROP"),
            Self::OwnChain => ("*filter", &["GUARD"], "-A GUARD -s 10.8.0.0/16 -j DROP"),
            Self::ToPods => ("*filter", &[], "-A FORWARD -d 10.1.0.0/16 -p tcp -m tcp --dport 22 -j DROP"),
        }
    }
}

/// What somebody has in the cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Guest {
    /// A claim with data and the pod that uses it, in a namespace of its own.
    Claim,
    /// The same, in the namespace of IRIS that is there.
    ClaimBesideIris,
    /// A claim of another class, whose volume lies elsewhere.
    ClaimElsewhere,
    /// A namespace with Deployment, ConfigMap and Secret.
    Workload,
    /// A LoadBalancer service.
    Service,
    ConfigMapBesideIris,
    Namespace,
    /// A pool of addresses that nobody else has.
    Pool,
    /// One with addresses of ours.
    OverlappingPool,
}

impl Guest {
    pub const ALL: [Self; 9] = [
        Self::Claim,
        Self::ClaimBesideIris,
        Self::ClaimElsewhere,
        Self::Workload,
        Self::Service,
        Self::ConfigMapBesideIris,
        Self::Namespace,
        Self::Pool,
        Self::OverlappingPool,
    ];
}

/// An object of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ours {
    Set,
    Service,
    External,
    Secret,
    Pool,
    Advertisement,
    Namespace,
}

impl Ours {
    pub const ALL: [Self; 7] =
        [Self::Set, Self::Service, Self::External, Self::Secret, Self::Pool, Self::Advertisement, Self::Namespace];
}

/// What somebody deletes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    Of(Ours),
    OneClaim,
    AllClaims,
    Pod,
    RegistryService,
    RegistryDeployment,
    RegistryNamespace,
    RegistryClaim,
    StorageDeployment,
    StorageClass,
    DnsDeployment,
    DnsService,
    MetallbController,
    MetallbNamespace,
    LonghornNamespace,
}

impl Part {
    pub const ALL: [Self; 21] = [
        Self::Of(Ours::Set),
        Self::Of(Ours::Service),
        Self::Of(Ours::External),
        Self::Of(Ours::Secret),
        Self::Of(Ours::Pool),
        Self::Of(Ours::Advertisement),
        Self::Of(Ours::Namespace),
        Self::OneClaim,
        Self::AllClaims,
        Self::Pod,
        Self::RegistryService,
        Self::RegistryDeployment,
        Self::RegistryNamespace,
        Self::RegistryClaim,
        Self::StorageDeployment,
        Self::StorageClass,
        Self::DnsDeployment,
        Self::DnsService,
        Self::MetallbController,
        Self::MetallbNamespace,
        Self::LonghornNamespace,
    ];
}

/// A file of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OurFile {
    PasswordRemoved,
    /// A person opens it in an editor, which adds a blank.
    PasswordEdited,
    HashRemoved,
    MirrorEdited,
    BeforeRemoved,
    BeforeEmptied,
    /// A disk lost what it had.
    JournalEmptied,
    JournalZeroed,
    /// A record of a later release.
    JournalOfTomorrow,
    LogsRemoved,
}

impl OurFile {
    pub const ALL: [Self; 10] = [
        Self::PasswordRemoved,
        Self::PasswordEdited,
        Self::HashRemoved,
        Self::MirrorEdited,
        Self::BeforeRemoved,
        Self::BeforeEmptied,
        Self::JournalEmptied,
        Self::JournalZeroed,
        Self::JournalOfTomorrow,
        Self::LogsRemoved,
    ];
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "on(Era::{:?}, {:?}, &[", self.era, self.start)?;
        for op in &self.ops {
            writeln!(f, "    {op:?},")?;
        }
        write!(f, "])")
    }
}

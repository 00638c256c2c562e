//! Things on a host that somebody makes, changes or takes away.

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
    /// A kind of their own with an object of it, and an Ingress.
    Custom,
    /// A kind of their own without any object.
    Kind,
    /// A pool of addresses that nobody else has.
    Pool,
    /// One with addresses of ours.
    OverlappingPool,
    /// A router that MetalLB is to tell of its addresses.
    Peer,
}

impl Guest {
    pub const ALL: [Self; 12] = [
        Self::Claim,
        Self::ClaimBesideIris,
        Self::ClaimElsewhere,
        Self::Workload,
        Self::Service,
        Self::ConfigMapBesideIris,
        Self::Namespace,
        Self::Custom,
        Self::Kind,
        Self::Pool,
        Self::OverlappingPool,
        Self::Peer,
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
    pub fn is_of_metallb(self) -> bool {
        matches!(self, Self::Of(Ours::Pool | Ours::Advertisement) | Self::MetallbController | Self::MetallbNamespace)
    }

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

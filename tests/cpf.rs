//! CPF merges as people have them: each kind is taken or refused with its line, and comments change nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use iris_mk8s::{
    config::{
        cpf::{self, Cpf},
        profile,
    },
    error::ExitCode,
};
use proptest::prelude::*;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cpf");

/// What must come of a file.
enum Right {
    /// It is taken: databases and namespaces that are waited for, and parts of what is said besides.
    Good(&'static [&'static str], &'static [&'static str], &'static [&'static str]),
    /// It is refused; parts of the message.
    Refused(&'static [&'static str]),
}

use Right::{Good, Refused};

const TABLE: &[(&str, Right)] = &[
    ("comment-semicolon-first", Good(&["ORDERS"], &[], &[])),
    ("comment-hash", Good(&["ORDERS"], &[], &[])),
    ("comment-block", Good(&["ORDERS"], &[], &[])),
    ("comment-slashes-after-action", Good(&["ORDERS"], &["ORDERS"], &[])),
    ("comment-names-a-section", Good(&["ORDERS"], &[], &[])),
    ("quotes-keep-signs", Good(&["WEB"], &["WEB"], &[])),
    ("bom-crlf", Good(&["ORDERS"], &[], &[])),
    ("utf16", Refused(&["seems to be UTF-16; save it as UTF-8"])),
    ("shift-jis", Refused(&["seems to be Shift_JIS; save it as UTF-8"])),
    ("web-off", Refused(&["line 2 of the CPF: `WebServer=0` turns off the web server"])),
    ("web-port", Refused(&["line 3 of the CPF: `WebServerPort=8080` moves IRIS away from port 52773"])),
    ("superserver-port", Refused(&["line 2 of the CPF: `DefaultPort=51773` moves IRIS away from port 1972"])),
    (
        "journal-outside",
        Refused(&[
            "2 mistakes",
            "line 2 of the CPF: the journal in `/journal/` would be lost with its pod",
            "remove the setting, or write: CurrentDirectory=/iris-mgr/journal/\n",
            "line 3 of the CPF: the journal in `/usr/irissys/mgr/journal2/`",
            "write: AlternateDirectory=/iris-mgr/journal2/\n",
            "--skip-check cpf-directory",
        ]),
    ),
    (
        "wij-outside",
        Refused(&["line 2 of the CPF: the write image journal in `/wij/`", "write: wijdir=/iris-mgr/wij/"]),
    ),
    (
        "database-file-outside",
        Refused(&["line 2 of the CPF", "write: CreateDatabaseFile:Directory=/vol-data/ORDERS,Size=50"]),
    ),
    (
        "blank-before-colon",
        Refused(&["line 2 of the CPF", "write: CreateDatabase :Name=ORDERS,Directory=/vol-data/ORDERS"]),
    ),
    (
        "database-outside",
        Refused(&[
            "line 2 of the CPF: the database in `/usr/irissys/mgr/ORDERS` would be lost with its pod, because only /vol-data and \
             /iris-mgr are volumes; write: CreateDatabase:Name=ORDERS,Directory=/vol-data/ORDERS",
            "--skip-check cpf-directory",
        ]),
    ),
    ("remote-database", Good(&[], &[], &[])),
    (
        "raw-databases",
        Good(&["ORDERS"], &["ORDERS"], &["line 2 of the CPF: the section [Databases] names databases and does not"]),
    ),
    (
        "journal-buffers",
        Good(
            &[],
            &[],
            &[
                "an instance takes 1594 MiB (globals 64, routines 80, heap 300, journal 1024, its processes 126), and iris.memory_request is 768Mi",
            ],
        ),
    ),
    (
        "secret-in-execute",
        Refused(&["line 2 of the CPF: `Arg2` of UnExpireUserPasswords looks like a password in plain text"]),
    ),
];

#[test]
fn every_kind_of_file_gets_its_right_answer() {
    let there: BTreeSet<String> = fs::read_dir(CASES)
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(there, TABLE.iter().map(|(name, _)| (*name).to_owned()).collect(), "each file is in the table");
    for (name, right) in TABLE {
        let path = format!("{CASES}/{name}.cpf");
        match (profile::check_cpf(Path::new(&path)), right) {
            (Ok(report), Good(databases, namespaces, says)) => {
                let json = serde_json::to_value(&report).unwrap();
                assert_eq!(
                    (&json["databases"], &json["namespaces"]),
                    (&(*databases).into(), &(*namespaces).into()),
                    "{name}"
                );
                let said = report.to_string();
                assert!(says.iter().all(|part| said.contains(part)), "{name} says\n{said}");
                assert_eq!(json["notes"].as_array().unwrap().len(), says.len(), "{name} says\n{said}");
                the_password_gets_in(name, &path);
            }
            (Err(error), Refused(parts)) => {
                let said = format!("{error}\n").replace("         line", "line");
                assert_eq!(error.code, ExitCode::Usage, "{said}");
                assert!(parts.iter().all(|part| said.contains(part)), "{name} says\n{said}");
                assert!(!said.contains("tr0ub4dor"), "{said}");
            }
            (Ok(report), Refused(_)) => panic!("{name} is taken:\n{report}"),
            (Err(error), Good(..)) => panic!("{name} is refused:\n{error}"),
        }
    }
}

/// The hash is a setting of [Startup], and what the file says is still there.
fn the_password_gets_in(name: &str, path: &str) {
    let text = cpf::normalise(&cpf::decode(&fs::read(path).unwrap()).unwrap());
    let before = Cpf::read(&text);
    let merged = before.with_password("h,s,10000,SHA512", &["SuperUser"]);
    let after = Cpf::read(&merged);
    assert_eq!(after.setting("Startup", "PasswordHash"), Some("h,s,10000,SHA512"), "{name}\n{merged}");
    assert_eq!(after.setting("Startup", "SystemMode"), before.setting("Startup", "SystemMode"), "{name}\n{merged}");
    assert_eq!(after.databases(), before.databases(), "{name}\n{merged}");
}

/// The parts of the answer that the table of files does not show.
#[test]
fn a_line_is_read_as_iris_reads_it() {
    let taken = |text: &str| {
        let (mistakes, outside) = (Cpf::read(text).mistakes(), Cpf::read(text).outside());
        assert!(mistakes.is_empty() && outside.is_empty(), "{text}\n{mistakes:?} {outside:?}");
    };
    let refused = |text: &str, part: &str| {
        let found = [Cpf::read(text).mistakes(), Cpf::read(text).outside()].concat();
        assert!(found.iter().any(|mistake| mistake.to_string().contains(part)), "{text}\n{found:?}");
    };
    for text in [
        // IRIS's own default file has such values.
        "[DeviceSubTypes]\nC-ANSI=80^#,$C(27,91,72)^25^$C(8)^W $C(27,91)_(DY+1)_\";\"_(DX+1)_\"H\"\n",
        "[Startup]\nWebServer=1\nWebServerPort=52773\nDefaultPort=1972\nWebServerURLPrefix=\n",
        "[Actions]\nExecute:Namespace=%SYS,ClassName=Security.Users,MethodName=UnExpireUserPasswords,Arg1=*\n",
        "[Actions]\nExecute:Namespace=\"%SYS\",ClassName=%SYSTEM.OBJ,MethodName=\"Load\",Arg1=\"/opt/a.xml\",Arg2=\"ck\"\n",
        "[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,PasswordNeverExpires=1\n",
        "[Actions]\nDeleteApplication:/csp/x\nModifyConfig:globals=0,0,64,0,0,0,gmheap=65536\n",
        "[Actions]\nCreateDatabase:Name=A,Directory=/iris-mgr/IRIS_conf.d/mgr/a/\nCreateDatabase:Name=B,Directory=/vol-data\n",
        "[Actions]\nCreateDatabase:Name=A,Directory=/x,Server=NODE1,LogicalOnly=1\n",
        "[Databases]\nSALES=/sales/,SALESERVER\n",
        "[ Startup ]\nSystemMode=TEST\n",
        "[Databases]\nIRISSYS=/iris-mgr/IRIS_conf.d/mgr/\nUSER=:mirror:A:B\n",
    ] {
        taken(text);
    }
    for (text, part) in [
        ("[Startup]\nPasswordHash=\n", "line 2 of the CPF: `PasswordHash` does not belong into a CPF"),
        ("[Actions]\nModifyStartup:WebServerPort=80\n", "line 2 of the CPF: `WebServerPort=80` moves IRIS away"),
        ("[Actions]\nModifyConfig:wijdir=/wij/\n", "write: ModifyConfig:wijdir=/iris-mgr/wij/"),
        ("[Actions]\nModifyJournal:CurrentDirectory=/j\n", "write: ModifyJournal:CurrentDirectory=/iris-mgr/j"),
        (
            "[Actions]\nModifyDatabase:Name=A,Directory=\"/data/A B\",Size=9\n",
            "write: ModifyDatabase:Name=A,Directory=\"/vol-data/A B\",Size=9",
        ),
        ("[Databases]\nA=/data/A/,,1\n", "write: A=/vol-data/A/,,1"),
        ("[Actions]\nCreateDatabase:Name=A,Directory=/vol-data/../A\n", "`/vol-data/../A` would be lost"),
        ("[Actions]\nCreateDatabase:Name=A,Directory=/vol-databases/A\n", "`/vol-databases/A` would be lost"),
        (
            "[Actions]\nCreateDatabase:Name=A,Directory=C:\\IRIS\\A\\\n",
            "write: CreateDatabase:Name=A,Directory=/vol-data/A/",
        ),
        ("[Actions]\nCreateDatabase:Name=A\n", "CreateDatabase without Directory"),
        ("[Actions]\nCreateWalletKeyValue:Name=a.b,Secret=x\n", "`Secret` does not belong into a CPF"),
        (
            "[Actions]\nExecute:ClassName=Security.Users,MethodName=Create,Arg1=a,Arg3=pw\n",
            "`Arg3` of Create looks like a password",
        ),
        (
            "[Startup]\nCreateDatabase:Name=A,Directory=/vol-data/A\n",
            "`CreateDatabase` is an action: it belongs into the section [Actions]",
        ),
        ("[Actions]\nSystemMode=TEST\n", "`SystemMode=TEST` is not an action"),
        ("[Startup] x\n", "`[Startup] x` is not a section"),
        ("[Startup]\nA=\"b\n", "line 2 of the CPF: a quotation mark is open"),
        ("[Startup]\n/* A=1\n", "line 2 of the CPF: the comment that begins with `/*` has no end"),
        ("; nothing\n", "the CPF is empty"),
        (
            "[Databases]\nirissys=/usr/irissys/mgr/\n",
            "line 2 of the CPF: irissys is a database of IRIS's own, and this line would move it to where it is not; remove the line",
        ),
        ("[Actions]\nCreateUser:Name=bob,PasswordHash=x\n", "does not belong into a CPF; set it when IRIS runs"),
        ("[Actions]\nModifyUser:Name=SuperUser,PasswordHash=x\n", "give the password with --password-file"),
    ] {
        refused(text, part);
    }
}

#[test]
fn lines_end_as_people_have_them() {
    let right = "[Actions]\nCreateDatabase:Name=A,Directory=/vol-data/A\n";
    for end in ["\n", "\r\n", "\r", " \t\r\n"] {
        assert_eq!(cpf::normalise(&right.replace('\n', end)), right, "{end:?}");
    }
    assert_eq!(cpf::normalise(&format!("\u{feff}\u{feff}\u{feff}{right}")), right);
}

#[test]
fn a_sign_within_a_word_that_may_be_meant_as_a_comment_is_told() {
    let notes = |text: &str| Cpf::read(text).notes().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        notes("[Startup]\nSystemMode=TEST; not for production\n"),
        ["line 2 of the CPF: `;` within a word belongs to the value; to begin a comment, put a blank before it"]
    );
    assert!(notes("[Startup]\nA=http://host/x\nB=80^#,1\nC=TEST ; x\n").is_empty());
}

#[test]
fn what_is_deleted_is_not_waited_for() {
    let text = "[Databases]\nA=/vol-data/a/\n[Namespaces]\nN=A\n[Actions]\nCreateDatabase:Name=b,Directory=/vol-data/b\n\
                DeleteDatabase:Name=B,Directory=/vol-data/b\nDeleteNamespace:n\nCreateNamespace:Name=M,Globals=A\n";
    let cpf = Cpf::read(text);
    assert_eq!((cpf.databases(), cpf.namespaces()), (vec!["A".to_owned()], vec!["M".to_owned()]));
}

#[test]
fn memory_is_counted_as_the_reference_says() {
    let of = |text: &str| Cpf::read(text).memory(Some(16_384)).to_string();
    for (text, said) in [
        (
            "[config]\nglobals=0,0,32,0,0,0\nroutines=32\ngmheap=65536\n",
            "366 MiB (globals 32, routines 80, heap 64, journal 64, its processes 126)",
        ),
        (
            "[config]\njrnbufs=128\n",
            "5059 MiB (globals 4096, which is a quarter of the host's memory, routines 409, heap 300, journal 128, its processes 126)",
        ),
        (
            "[config]\nglobals=0,0,64,0,0,0 ; small\nroutines=0,0,10,90,0,50\n",
            "704 MiB (globals 64, routines 150, heap 300, journal 64, its processes 126)",
        ),
        (
            "[Actions]\nModifyConfig:globals=\"0,0,64,0,0,0\",gmheap=1048576\n",
            "1358 MiB (globals 64, routines 80, heap 1024, journal 64, its processes 126)",
        ),
    ] {
        assert_eq!(of(text), said, "{text}");
    }
    let absurd = Cpf::read("[config]\nglobals=18446744073709551615,1,1,1,1,1\ngmheap=9\n").memory(None).total();
    assert!(absurd > 1 << 60, "{absurd}");
}

/// A line of a CPF, without comments.
fn line() -> impl Strategy<Value = String> {
    let name = "[A-Z][A-Z0-9-]{0,8}";
    let value = prop_oneof!["[a-zA-Z0-9/^.:]{0,12}", "\"[a-zA-Z0-9 ;#/,=*]{0,12}\"", Just("http://host/#a".to_owned())];
    prop_oneof![
        Just("[Startup]".to_owned()),
        Just("[config]".to_owned()),
        Just("[Actions]".to_owned()),
        (name, value.clone()).prop_map(|(name, value)| format!("{name}={value}")),
        name.prop_map(|name| format!("CreateDatabase:Name={name},Directory=/vol-data/{name}")),
        (name, value).prop_map(|(name, value)| format!("CreateNamespace:Name={name},Globals={value}")),
    ]
}

/// What people write into comments, the worst of it too.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("see [Startup]".to_owned()),
        Just("PasswordHash=x".to_owned()),
        Just("CreateDatabase:Name=OLD,Directory=/tmp/OLD".to_owned()),
        "[a-zA-Z\"';#=\\[\\], ]{0,20}",
    ]
}

/// A comment in the place of a line, before a line, or behind one.
#[derive(Clone, Debug)]
enum Comment {
    Own(String),
    Before(String),
    Behind(String),
}

fn comment() -> impl Strategy<Value = Comment> {
    let to_the_end = (prop_oneof![Just(";"), Just("#"), Just("//")], words())
        .prop_map(|(sign, words)| format!("{sign}{words}"))
        .boxed();
    let block = (words(), prop_oneof![Just(" "), Just("\n"), Just("\n[Actions]\n\n")], words())
        .prop_map(|(a, between, b)| format!("/*{a}{between}{b}*/"))
        .boxed();
    prop_oneof![
        prop_oneof![to_the_end.clone(), block.clone()].prop_map(Comment::Own),
        block.clone().prop_map(Comment::Before),
        prop_oneof![to_the_end, block].prop_map(Comment::Behind),
    ]
}

fn with_comments(lines: &[String], comments: &[(prop::sample::Index, Comment)]) -> String {
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let here: Vec<&Comment> =
            comments.iter().filter(|(index, _)| index.index(lines.len()) == at).map(|(_, c)| c).collect();
        let of = |kind: fn(&Comment) -> Option<&String>| here.iter().find_map(|c| kind(c)).cloned();
        let own = of(|c| if let Comment::Own(text) = c { Some(text) } else { None });
        let before = of(|c| if let Comment::Before(text) = c { Some(text) } else { None });
        let behind = of(|c| if let Comment::Behind(text) = c { Some(text) } else { None });
        text.push_str(&own.map(|own| format!("{own}\n")).unwrap_or_default());
        text.push_str(&before.map(|before| format!("{before} ")).unwrap_or_default());
        text.push_str(line);
        text.push_str(&behind.map(|behind| format!(" {behind}")).unwrap_or_default());
        text.push('\n');
    }
    text
}

proptest! {
    #[test]
    fn comments_anywhere_change_nothing(
        lines in prop::collection::vec(line(), 1..12),
        comments in prop::collection::vec((any::<prop::sample::Index>(), comment()), 0..8),
    ) {
        let lines = [vec!["[Startup]".to_owned()], lines].concat();
        let plain = cpf::normalise(&lines.join("\n"));
        let commented = cpf::normalise(&with_comments(&lines, &comments));
        let (a, b) = (Cpf::read(&plain), Cpf::read(&commented));
        prop_assert_eq!(a.databases(), b.databases());
        prop_assert_eq!(a.namespaces(), b.namespaces());
        prop_assert_eq!(a.memory(None), b.memory(None));
        let whys = |found: Vec<cpf::Mistake>| found.into_iter().map(|mistake| mistake.why).collect::<Vec<_>>();
        prop_assert_eq!(whys(a.mistakes()), whys(b.mistakes()));
        prop_assert_eq!(cpf::essence(&plain), cpf::essence(&commented));
        let merged = b.with_password("hash", &["SuperUser"]);
        let again = Cpf::read(&merged);
        prop_assert_eq!(again.setting("Startup", "PasswordHash"), Some("hash"));
        prop_assert_eq!(again.databases(), b.databases());
        prop_assert!(again.decides("SuperUser"));
    }
}
